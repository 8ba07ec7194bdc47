"""The tokenizer inside a bundle, beside the reference it has to agree with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Callable, Sequence

from tokenizer_tools.vocabulary import BytePairVocabulary, bytes_to_symbols

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_MOST_TYPED = 32  # tokens that gates type into prompts; the tokenizer's own comparison takes them all


@dataclass(frozen=True)
class Ids:
    """The same text as token ids twice: as the reference tokenizer gives it, and as the bundle's does (with alias
    ids).
    """

    reference: list[int]
    bundle: list[int]

    def repeated(self, length: int) -> Ids:
        """The text as often as it takes for at least `length` tokens."""
        copies = -(-length // len(self.reference))
        return Ids(self.reference * copies, self.bundle * copies)


@dataclass(frozen=True)
class BundleTokenizer:
    """The bundle's own tokenizer, `pieces`, beside the reference it must agree with.

    Id `vocabulary` + i is another name of the token alias_of[i]. `typed`: texts with special and added tokens typed in
    them.
    """

    reference: Tokenizer
    pieces: Callable[[str], list[int]]
    alias_of: tuple[int, ...] = ()
    typed: tuple[str, ...] = ()

    @property
    def vocabulary(self) -> int:
        return self.reference.get_vocab_size(with_added_tokens=True)

    def encode(self, text: str) -> Ids:
        return Ids(self.reference.encode(text, add_special_tokens=False).ids, self.pieces(text))

    def original(self, ids: Sequence[int]) -> list[int]:
        """Alias ids turned into the tokens they stand for; an id beyond them is -1."""
        last = self.vocabulary + len(self.alias_of)
        return [
            id_ if id_ < self.vocabulary else self.alias_of[id_ - self.vocabulary] if id_ < last else -1 for id_ in ids
        ]

    def decode(self, ids: Sequence[int]) -> str:
        return self.reference.decode(list(ids), skip_special_tokens=False)


def typed_texts(vocabulary: BytePairVocabulary) -> tuple[str, ...]:
    """Prompts with special and added tokens in them: at the beginning and end, after white space, before a contraction,
    side by side.
    """
    tokens = [*vocabulary.special_tokens, *vocabulary.added_words][:_MOST_TYPED]
    return tuple(
        f"{token}user\n\n{token}'s {token} it{token}{other}\n{token}" for token, other in zip(tokens, tokens[::-1])
    )


def sentencepiece_tokenizer(
    reference: Tokenizer,
    proto: bytes,
    alias_of: tuple[int, ...],
    byte_mapped: bool = False,
    typed: tuple[str, ...] = (),
) -> BundleTokenizer:
    """The tokenizer of a `.task`; see `sentencepiece_encoder`."""
    return BundleTokenizer(reference, sentencepiece_encoder(proto, byte_mapped), alias_of, typed)


def sentencepiece_encoder(proto: bytes, byte_mapped: bool = False) -> Callable[[str], list[int]]:
    """Text to a SentencePiece model's ids; `byte_mapped` if MediaPipe maps text to GPT-2's byte alphabet first."""
    from sentencepiece import SentencePieceProcessor

    pieces = SentencePieceProcessor(model_proto=proto)
    return (lambda text: pieces.encode(bytes_to_symbols(text.encode()))) if byte_mapped else pieces.encode
