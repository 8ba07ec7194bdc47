"""The characters a byte can be written with in normalized text.

SentencePiece merges whatever neighbors form a piece; GPT-2's regex first cuts the text. Where a piece could
lie across a cut, a byte is written with another character, a *plane* of its own, so that no piece fits.

Mode raw-bytes: ASCII stands for itself, every other byte for a private-use character. Mode byte-mapped: the text
arrives already mapped to GPT-2's byte alphabet (MediaPipe's BYTES_TO_UNICODE), and the planes lie above that alphabet.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Hashable, Sequence

from tokenizer_tools.errors import TokenizerError
from tokenizer_tools.vocabulary import BYTE_SYMBOLS

# What a model reads: text as it is, in UTF-8, or with every byte as a character of GPT-2's alphabet.
MODES = RAW_BYTES, BYTE_MAPPED = "raw-bytes", "byte-mapped"
# What manifests call them; taken wherever a mode is asked for.
MODE_LETTERS = {"T": RAW_BYTES, "F": BYTE_MAPPED}

PLAIN, OTHER_PLANE, NUMBER_PLANE, WHITE_PLANE = range(4)

# Where the private characters of mode raw-bytes lie: (bytes 0x80-0xFF of each plane, then the rest). Text of icon fonts
# also uses this area, so the first choice are two stretches that the common ones (Powerline, Nerd Fonts, Font Awesome)
# leave free. The second, for a vocabulary with tokens there, is the end of plane 15.
_PRIVATE_AREAS = ((0xE400, 0xE900), (0xFF000, 0xFF400))
_PLANE_SIZE = 0x80
# Where the symbols of added tokens lie in both modes, one for each: plane 16, private too.
_ADDED = range(0x100000, 0x10FFFE)


@dataclass(frozen=True)
class Symbols:
    """Chooses the character for (byte, plane), for a space inside white space, and for a locked token."""

    mode: str
    area: tuple[int, int] = _PRIVATE_AREAS[0]

    def byte(self, byte: int, plane: int = PLAIN) -> str:
        if self.mode == BYTE_MAPPED:
            return BYTE_SYMBOLS[byte] if plane == PLAIN else chr(0x100 + 0x100 * plane + byte)
        if byte < 0x80 and plane == PLAIN:
            return chr(byte)
        if byte < 0x80:
            raise ValueError(f"byte {byte:#x} is ASCII and has no other plane")
        return chr(self.area[0] + _PLANE_SIZE * plane + byte - 0x80)

    def plain(self, data: bytes) -> str:
        return "".join(map(self.byte, data))

    @property
    def inner_space(self) -> str:
        """A space that is followed by white space or by the end of the text."""
        return chr(0x500 if self.mode == BYTE_MAPPED else self.area[1])

    def locked(self, number: int) -> str:
        """A character that merges with nothing and stands for one whole token."""
        return chr((0x501 if self.mode == BYTE_MAPPED else self.area[1] + 1) + number)


def added_symbols(items: Sequence[Hashable]) -> dict[Hashable, str]:
    """A symbol of its own for each item, an added token's text or an id."""
    if len(items) > len(_ADDED):
        raise TokenizerError(
            f"{len(items)} added tokens; expected at most {len(_ADDED)}, one for each private character of plane 16"
        )
    return dict(zip(items, map(chr, _ADDED)))


def choose_symbols(mode: str, tokens: list[bytes]) -> Symbols:
    """The symbols of a mode that no token's own text collides with."""
    if mode == BYTE_MAPPED:
        return Symbols(mode)
    used = {
        ord(character)
        for token in tokens
        if token[-1] >= 0x80
        for character in token.decode(errors="ignore")
        if character >= "\ue000"
    }
    if any(code in _ADDED for code in used):
        raise TokenizerError(
            "the vocabulary has tokens in the private characters of plane 16, where the model's own symbols lie; use "
            "mode byte-mapped"
        )
    for area in _PRIVATE_AREAS:
        if not any(area[0] <= code < area[0] + 4 * _PLANE_SIZE or area[1] <= code < area[1] + 0x100 for code in used):
            return Symbols(mode, area)
    raise TokenizerError(
        "the vocabulary has tokens in every private-use area that could hold the model's own symbols; use "
        "mode byte-mapped"
    )
