"""The normalizer's keys: the only place where SentencePiece sees context, so all context must be inside a key.

The longest key at each place is replaced, and nothing is remembered. Hence three kinds of keys:

* single bytes and characters, to their spelling;
* contractions ('s, 't, 're, 've, 'm, 'll, 'd), to locked symbols. The regex only cuts one out where a pre-token
  starts, so every context that puts the apostrophe inside a pre-token (a space, punctuation or an apostrophe
  before it) is a longer key that swallows the apostrophe;
* white space and the first bytes of the text after it: the last white-space character of a run has another
  spelling than the others. White space that no text follows stays one pre-token, so a text's end is exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Iterator

from tokenizer_tools import code_points
from tokenizer_tools.code_points import NUMBER, OTHER, WHITE_SPACE
from tokenizer_tools.spellings import SPACE, Spellings
from tokenizer_tools.symbols import BYTE_MAPPED
from tokenizer_tools.vocabulary import bytes_to_symbols

CONTRACTIONS = (b"'s", b"'t", b"'re", b"'ve", b"'m", b"'ll", b"'d")
_APOSTROPHE = b"'"


@dataclass(frozen=True)
class Detail:
    """How many apostrophes in a row are swallowed by what stands before them.

    run: by nothing or white space; ascii, punctuation, common, symbol: by such a character (0: it gets no key).
    All the keys for one run begin one another, and SentencePiece looks at 32 nested keys at most.
    """

    run: int = 20
    ascii: int = 5
    punctuation: int = 4
    common: int = 2
    symbol: int = 1

    def after(self, code: int) -> int:
        """The number swallowed by this code point of class "other"."""
        if code < 0x80:
            return self.ascii
        if code in code_points.punctuation():
            return self.punctuation
        return self.common if code in code_points.common_symbols() else self.symbol

    def tells_apart(self, code: int) -> bool:
        """Whether this non-ASCII code point of class "other" or "number" has a key of its own."""
        if code_points.classes()[code] == NUMBER:
            return self.symbol > 0 or (self.common > 0 and code < 0x10000)
        return code in code_points.symbol_set() and self.after(code) > 0


# After the white space that begins words, lines and paragraphs the text is told apart as finely as anywhere; the
# keys are needed once more for every kind of white space, so the rarer kinds do with fewer.
_FULL = Detail()
_FREQUENT = Detail(common=1, symbol=0)
_RARE = Detail(run=3, ascii=1, punctuation=1, common=0, symbol=0)


def detail_after(white_space: int) -> Detail:
    """The detail of the keys that begin with this white space."""
    if white_space in (SPACE, 0x0A):
        return _FULL
    return _FREQUENT if white_space < 0x80 or white_space in (0xA0, 0x3000) else _RARE


Locked = Callable[[bytes], str]


@dataclass
class KeyTable:
    """Collects keys (as text bytes) and their replacements, encoded for the mode."""

    spellings: Spellings
    locked: Locked

    def __post_init__(self) -> None:
        self.keys: dict[bytes, bytes] = {}
        self.by_bytes = self.spellings.symbols.mode == BYTE_MAPPED

    def put(self, key: bytes, replacement: str) -> None:
        """Add a key; the first replacement given to a key stays."""
        encoded = bytes_to_symbols(key).encode() if self.by_bytes else key
        self.keys.setdefault(encoded, replacement.encode())


def normalizer_keys(spellings: Spellings, locked: Locked) -> dict[bytes, bytes]:
    """Every key of the normalizer. `locked` writes a pre-token of known bytes as locked symbols."""
    table = KeyTable(spellings, locked)
    _put_apostrophes(table, b"", "", _FULL)
    _put_characters(table, b"", "", _FULL)
    for code in sorted(spellings.final | {SPACE}):
        _put_white_space(table, code)
    if spellings.inner_space:
        table.put(b" ", spellings.inner_text(SPACE))
    if not table.by_bytes:
        for byte in range(0x80, 0x100):
            table.put(bytes([byte]), spellings.symbols.byte(byte))
    return table.keys


def _put_white_space(table: KeyTable, code: int) -> None:
    """Keys for this white-space character before text."""
    spellings, space, detail = table.spellings, chr(code).encode(), detail_after(code)
    written = spellings.text(SPACE) if code == SPACE else table.locked(space)
    _put_apostrophes(table, space, written, detail)
    if code == SPACE and not spellings.inner_space:
        return
    _put_characters(table, space, written, detail)
    for byte in range(1, 0x80):
        if spellings.classes[byte] != WHITE_SPACE and byte != 0x27:
            table.put(space + bytes([byte]), written + spellings.symbols.byte(byte))
    for prefix in _text_prefixes():
        table.put(space + prefix, written + spellings.symbols.plain(prefix))


def _put_apostrophes(table: KeyTable, before: bytes, written: str, detail: Detail) -> None:
    """Keys for contractions and runs of apostrophes after `before`: white space or nothing."""
    apostrophe = table.spellings.symbols.plain(_APOSTROPHE)
    if before != b" ":  # a space takes the apostrophe into its own pre-token
        for contraction in CONTRACTIONS:
            table.put(before + contraction, written + table.locked(contraction))
    for count in range(1 if before else 2, detail.run + 1):
        table.put(before + _APOSTROPHE * count, written + apostrophe * count)


def _put_characters(table: KeyTable, before: bytes, written: str, detail: Detail) -> None:
    """Keys after `before` for respelled characters, and for punctuation and symbols with apostrophes behind them."""
    spellings = table.spellings
    apostrophe = spellings.symbols.plain(_APOSTROPHE)
    for code in sorted(spellings.whole | spellings.planes.keys()):
        if before and spellings.classes[code] == WHITE_SPACE:
            continue  # more white space, not text
        if (
            not before
            or code in spellings.whole
            or detail.tells_apart(code)
            or (detail.common and code in spellings.met)
        ):
            table.put(before + chr(code).encode(), written + spellings.text(code))
    for code, count in _swallowed_apostrophes(detail):
        key, text = before + chr(code).encode(), written + spellings.text(code)
        if code in spellings.planes:
            table.put(key, text)
        for repeat in range(1, count + 1):
            table.put(key + _APOSTROPHE * repeat, text + apostrophe * repeat)


def _swallowed_apostrophes(detail: Detail) -> Iterator[tuple[int, int]]:
    """Punctuation and symbols, each with the number of apostrophes it swallows."""
    names = code_points.classes()
    ascii_punctuation = (code for code in range(1, 0x80) if names[code] == OTHER and code != 0x27)
    for code in (*ascii_punctuation, *code_points.symbols()):
        if count := detail.after(code):
            yield code, count


def _text_prefixes() -> Iterator[bytes]:
    """The shortest beginnings of non-ASCII characters that tell them from white space."""
    shared = {chr(code).encode()[:end] for code in code_points.white_space() if code >= 0x80 for end in (1, 2, 3)}
    white = {chr(code).encode() for code in code_points.white_space()}
    second = {0xE0: range(0xA0, 0xC0), 0xED: range(0x80, 0xA0), 0xF0: range(0x90, 0xC0), 0xF4: range(0x80, 0x90)}

    def extend(prefix: bytes) -> Iterator[bytes]:
        if prefix not in shared:
            yield prefix
        elif prefix not in white:
            for byte in second.get(prefix[0], range(0x80, 0xC0)) if len(prefix) == 1 else range(0x80, 0xC0):
                yield from extend(prefix + bytes([byte]))

    for lead in range(0xC2, 0xF5):
        yield from extend(bytes([lead]))
