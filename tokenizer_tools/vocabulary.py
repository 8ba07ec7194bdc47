"""A byte-level BPE vocabulary: the 256 bytes, the merges, the special tokens, and the reference encoder for them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Iterator, NamedTuple

from tokenizer_tools.errors import TokenizerError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

END_OF_TEXT = "<|endoftext|>"

# The pre-tokenizer regex of GPT-2 (openai/gpt-2, src/encoder.py); ByteLevel(use_regex=True) is the same.
GPT2_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


def _byte_alphabet() -> tuple[str, ...]:
    """GPT-2's `bytes_to_unicode` as a tuple: printable bytes stand for themselves, the rest for U+0100 and up."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    symbols, spare = [], 0x100
    for byte in range(256):
        symbols.append(chr(byte if byte in printable else spare))
        spare += byte not in printable
    return tuple(symbols)


BYTE_SYMBOLS = _byte_alphabet()
SYMBOL_BYTES = {symbol: byte for byte, symbol in enumerate(BYTE_SYMBOLS)}


class Merged(NamedTuple):
    """The parts of a pre-token after merges, and the rank of the last one (-1: there was none)."""

    parts: list[str]
    rank: int


@dataclass(frozen=True)
class BytePairVocabulary:
    """Tokens in id order, written in GPT-2's byte alphabet, and the merges in rank order.

    Three kinds of tokens are made by no merge, and written as they are instead of in the byte alphabet.
    `special_tokens` (`<|endoftext|>`) and `added_words` are cut out of a text before the merges; `unmade_tokens` no
    text becomes. With `parse_special` off, the text of a special token is text like any other.

    `bos` and `eos` are the ids of the tokens that the tokenizer calls so, `starts_with` the one that it puts before a
    text. With `prefix_space` it puts a space before a text, and behind an added token, where there is none.
    `deviations` says in what the files ask for something else than GPT-2's rules, `notes` what in them counts for
    nothing. `tokenizer_json` is the tokenizer as Hugging Face writes it, if it came so.
    """

    tokens: tuple[str, ...]
    merges: tuple[tuple[str, str], ...]
    special_tokens: tuple[str, ...] = ()
    deviations: tuple[str, ...] = ()
    tokenizer_json: bytes | None = field(default=None, repr=False, compare=False)
    added_words: tuple[str, ...] = ()
    unmade_tokens: tuple[str, ...] = ()
    parse_special: bool = True
    bos: int | None = field(default=None, compare=False)
    eos: int | None = field(default=None, compare=False)
    starts_with: int | None = None
    prefix_space: bool = False
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.tokens)

    @cached_property
    def ids(self) -> dict[str, int]:
        return {token: index for index, token in enumerate(self.tokens)}

    @cached_property
    def special_ids(self) -> frozenset[int]:
        return frozenset(self.ids[token] for token in self.special_tokens)

    @cached_property
    def ordinary(self) -> tuple[int, ...]:
        """The ids of the tokens that bytes and merges make, in order."""
        others = {*self.special_tokens, *self.added_words, *self.unmade_tokens}
        return tuple(index for index, token in enumerate(self.tokens) if token not in others)

    @cached_property
    def typed(self) -> dict[str, int]:
        """Text -> id of the tokens that are cut out of a text before the merges."""
        return {
            token: self.ids[token]
            for token in (*(self.special_tokens if self.parse_special else ()), *self.added_words)
        }

    @cached_property
    def ranks(self) -> dict[tuple[str, str], int]:
        return {pair: rank for rank, pair in enumerate(self.merges)}

    @property
    def end_of_text(self) -> int | None:
        """The id of `<|endoftext|>`, else of the first special token, else None."""
        if END_OF_TEXT in self.special_tokens:
            return self.ids[END_OF_TEXT]
        return self.ids[self.special_tokens[0]] if self.special_tokens else None

    def id_of_text(self, text: str) -> int | None:
        """The id of the token that is exactly `text`, special or not; None if there is none."""
        as_it_is = text in (*self.special_tokens, *self.added_words, *self.unmade_tokens)
        return self.ids.get(text if as_it_is else bytes_to_symbols(text.encode()))

    def name_of(self, token_id: int) -> str | None:
        """The text that is exactly this token, None if none is: half a character, or a NUL, which ends a text in the
        engines.
        """
        text = self.text_of(token_id)
        return text if text is not None and self.id_of_text(text) == token_id and "\0" not in text else None

    def text_of(self, token_id: int) -> str | None:
        """What this id decodes to, None if that is not text."""
        try:
            return self.token_bytes(token_id).decode()
        except UnicodeDecodeError:
            return None

    def token_bytes(self, token_id: int) -> bytes:
        """What this id decodes to: as in Hugging Face's decoder, its own text where that is not in the byte
        alphabet.
        """
        token = self.tokens[token_id]
        return symbols_to_bytes(token) if all(symbol in SYMBOL_BYTES for symbol in token) else token.encode()

    def decode(self, token_ids: list[int]) -> bytes:
        return b"".join(map(self.token_bytes, token_ids))

    def apply_merges(self, word: bytes) -> Merged:
        """BPE of one pre-token."""
        merged = Merged([BYTE_SYMBOLS[byte] for byte in word], -1)
        for merged in self.merge_steps(word):
            pass
        return merged

    def merge_steps(self, word: bytes) -> Iterator[Merged]:
        """Yield what each merge leaves, the lowest rank and the leftmost first."""
        parts, ranks = [BYTE_SYMBOLS[byte] for byte in word], self.ranks
        while len(parts) > 1:
            rank, where = min((ranks.get(pair, len(ranks)), index) for index, pair in enumerate(zip(parts, parts[1:])))
            if rank == len(ranks):
                return
            parts = [*parts[:where], parts[where] + parts[where + 1], *parts[where + 2 :]]
            yield Merged(parts, rank)


def symbols_to_bytes(token: str) -> bytes:
    """A token in GPT-2's byte alphabet as the bytes it stands for."""
    return bytes(SYMBOL_BYTES[symbol] for symbol in token)


def bytes_to_symbols(data: bytes) -> str:
    """Bytes in GPT-2's byte alphabet, as MediaPipe's BYTES_TO_UNICODE does to a prompt."""
    return "".join(BYTE_SYMBOLS[byte] for byte in data)


def reference_tokenizer(vocabulary: BytePairVocabulary) -> "Tokenizer":
    """The Hugging Face tokenizer with these tokens: what every id is compared with.

    A tokenizer.json that deviates from GPT-2's rules is taken as it is. Raises TokenizerError when the library refuses
    it.
    """
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_str(tokenizer_json(vocabulary).decode())
    except BaseException as error:
        # What Rust calls a panic is no Exception in Python, and its class cannot be imported.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise TokenizerError(
            f"tokenizer.json is refused by the tokenizers library ({' '.join(str(error).split())[:200]}); fetch the "
            "file again"
        ) from None


def tokenizer_json(vocabulary: BytePairVocabulary) -> bytes:
    """A Hugging Face tokenizer.json for LiteRT-LM and transformers; the same vocabulary gives the same bytes."""
    document = (
        json.loads(vocabulary.tokenizer_json) if vocabulary.tokenizer_json is not None else _gpt2_document(vocabulary)
    )
    if not vocabulary.parse_special and document["added_tokens"]:
        # A token that is in the vocabulary and not among the added ones is never cut out of a text. The words are put
        # there too: the library gives an added token that is not there the next free number, whatever its "id" says.
        document["model"]["vocab"] |= {token["content"]: token["id"] for token in document["added_tokens"]}
        document["added_tokens"] = [token for token in document["added_tokens"] if not token["special"]]
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def _gpt2_document(vocabulary: BytePairVocabulary) -> dict:
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    added = {token: True for token in vocabulary.special_tokens} | {token: False for token in vocabulary.added_words}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": vocabulary.ids[token],
                "content": token,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": special,
            }
            for token, special in sorted(added.items(), key=lambda item: vocabulary.ids[item[0]])
        ],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": vocabulary.ids,
            "merges": [list(pair) for pair in vocabulary.merges],
        },
    }
