"""Second ids: a token met in a second spelling needs a second piece, an *alias* of the original id.

Alias rows come after the vocabulary's own ids. In the model, an alias's embedding row is a copy of the original's,
and its logit is never the largest.
"""

from __future__ import annotations

from dataclasses import dataclass

from tokenizer_tools.keys import CONTRACTIONS
from tokenizer_tools.spellings import Spellings, split_token
from tokenizer_tools.symbols import RAW_BYTES, Symbols
from tokenizer_tools.vocabulary import BYTE_SYMBOLS, BytePairVocabulary


@dataclass(frozen=True)
class Alias:
    """One alias row: its piece, the original id, and the id's bytes."""

    piece: str
    original: int
    data: bytes


class LockedTokens:
    """Pre-tokens whose bytes are known beforehand (contractions, final white space), with a symbol for each token.

    The symbols merge with nothing, so neither the pre-token nor its neighbors can be cut differently. A last
    token of one byte stays plain where no piece begins with that byte: its left neighbor is locked already.
    `apostrophe`: the symbol of one that begins a contraction, where the letters behind it are not locked.
    """

    def __init__(self, vocabulary: BytePairVocabulary, spellings: Spellings, forms: dict[bytes, set[str]]) -> None:
        symbols = spellings.symbols
        # With a space before the text, a contraction's letters may be those of a word.
        contractions = () if vocabulary.prefix_space else CONTRACTIONS
        openings = {form[0] for token, spelled in forms.items() if _continues_after_one_byte(token) for form in spelled}
        pre_tokens = [*contractions, *(chr(code).encode() for code in sorted(spellings.final))]
        parts: dict[bytes, list[str | int]] = {}
        for word in pre_tokens:
            ids: list[str | int] = [vocabulary.ids[part] for part in vocabulary.apply_merges(word).parts]
            last = symbols.byte(word[-1])
            if (
                word[-1] >= 0x80
                and len(ids) > 1
                and ids[-1] == vocabulary.ids[BYTE_SYMBOLS[word[-1]]]
                and last not in openings
            ):
                ids[-1] = last
            parts[word] = ids
        numbers = sorted({index for ids in parts.values() for index in ids if isinstance(index, int)})
        self.symbols = {index: symbols.locked(number) for number, index in enumerate(numbers)}
        self.apostrophe = symbols.locked(len(numbers))
        self._written = {
            word: "".join(part if isinstance(part, str) else self.symbols[part] for part in ids)
            for word, ids in parts.items()
        } | {word: self.apostrophe + word[1:].decode() for word in CONTRACTIONS if word not in parts}

    def write(self, pre_token: bytes) -> str:
        return self._written[pre_token]


def _continues_after_one_byte(token: bytes) -> bool:
    parts = split_token(token)
    return parts is not None and len(parts.tail) == 1 and bool(parts.characters or parts.head)


def added_aliases(vocabulary: BytePairVocabulary, symbols: dict[str, str]) -> list[Alias]:
    """The aliases that the added tokens' texts become, in the order of the ids."""
    return [
        Alias(symbols[text], index, text.encode())
        for text, index in sorted(vocabulary.typed.items(), key=lambda item: item[1])
    ]


def alias_table(
    vocabulary: BytePairVocabulary,
    spellings: Spellings,
    forms: dict[bytes, set[str]],
    locked: LockedTokens,
    reachable: dict[int, int],
    pieces: list[bytes],
) -> list[Alias]:
    """The aliases of ordinary tokens in the order of their rows: by original id, then by piece.

    `pieces[id]` is the id's own piece, `forms[bytes]` the spellings of these bytes; only ids in `reachable` get any.
    """
    table = []
    for index in sorted(reachable):
        data = vocabulary.token_bytes(index)
        if 0 in data:
            continue  # SentencePiece refuses a NUL in a piece
        spelled = set(forms[data])
        if len(data) == 1 and 0x80 <= data[0] < 0xF5:
            # So that no byte of a text can become unknown, whatever character it belongs to.
            spelled.add(spellings.symbols.byte(data[0]))
        if index in locked.symbols:
            spelled.add(locked.symbols[index])
        table.extend(Alias(piece, index, data) for piece in sorted(spelled) if piece.encode() != pieces[index])
    return table


def symbol_bytes(table: list[Alias], locked: LockedTokens, symbols: Symbols) -> dict[str, bytes]:
    """What each private symbol in the aliases' pieces stands for, for the denormalizer."""
    locked_ids = {symbol: index for index, symbol in locked.symbols.items()}
    meaning: dict[str, bytes] = {}
    for alias in table:
        if alias.piece in locked_ids:
            meaning[alias.piece] = alias.data
            continue
        at = 0
        for character in alias.piece:
            itself = character.encode()
            if symbols.mode == RAW_BYTES and alias.data.startswith(itself, at):
                at += len(itself)  # ASCII, or a character that stands for itself
                continue
            byte = alias.data[at]
            if symbols.mode == RAW_BYTES or character != symbols.byte(byte):
                meaning[character] = bytes([byte])
            at += 1
    return meaning
