"""The tokenizer inside a bundle, beside the reference it has to agree with."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Callable, Sequence

from bundler.containers.bundle import Bundle
from bundler.errors import BundleError
from tokenizer_tools.piece_vocabulary import PieceVocabulary
from tokenizer_tools.vocabulary import BytePairVocabulary, bytes_to_symbols, reference_tokenizer

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
    them. `start` stands before every prompt, and a token of `stop` ends what is written. `byte_mapped`: MediaPipe maps
    text to GPT-2's byte alphabet before SentencePiece; LiteRT-LM does not, and would read unknown tokens. `text`: what
    engines write for ids, where the reference would write it otherwise.
    """

    reference: Tokenizer
    pieces: Callable[[str], list[int]]
    alias_of: tuple[int, ...] = ()
    typed: tuple[str, ...] = ()
    start: int | None = None
    stop: frozenset[int] = frozenset()
    byte_mapped: bool = False
    text: Callable[[Sequence[int]], str] | None = None

    @property
    def vocabulary(self) -> int:
        return self.reference.get_vocab_size(with_added_tokens=True)

    def encode(self, text: str) -> Ids:
        return Ids(self.reference.encode(text, add_special_tokens=False).ids, self.pieces(text))

    def prompt(self, text: str) -> list[int]:
        """The reference's ids of a prompt, after the start token if there is one."""
        ids = self.encode(text).reference
        return ids if self.start is None else [self.start, *ids]

    def original(self, ids: Sequence[int]) -> list[int]:
        """Alias ids turned into the tokens they stand for; an id beyond them is -1."""
        last = self.vocabulary + len(self.alias_of)
        return [
            id_ if id_ < self.vocabulary else self.alias_of[id_ - self.vocabulary] if id_ < last else -1 for id_ in ids
        ]

    def decode(self, ids: Sequence[int]) -> str:
        return self.text(ids) if self.text else self.reference.decode(list(ids), skip_special_tokens=False)


def written_text(vocabulary: BytePairVocabulary) -> Callable[[Sequence[int]], str] | None:
    """`text` of a BundleTokenizer: with a checkpoint's own pieces, engines keep the space before the first word."""
    if not isinstance(vocabulary, PieceVocabulary):
        return None
    return lambda ids: vocabulary.decode(list(ids)).decode(errors="replace")


def typed_texts(vocabulary: BytePairVocabulary) -> tuple[str, ...]:
    """Prompts with special and added tokens in them: at the beginning and end, after white space, before a contraction,
    side by side.
    """
    tokens = [*vocabulary.special_tokens, *vocabulary.added_words][:_MOST_TYPED]
    return tuple(
        f"{token}user\n\n{token}'s {token} it{token}{neighbor}\n{token}"
        for token, neighbor in zip(tokens, tokens[::-1])
    )


def sentencepiece_encoder(proto: bytes, byte_mapped: bool = False) -> Callable[[str], list[int]]:
    """Text to a SentencePiece model's ids; `byte_mapped` if MediaPipe maps text to GPT-2's byte alphabet first."""
    from sentencepiece import SentencePieceProcessor

    pieces = SentencePieceProcessor(model_proto=proto)
    return (lambda text: pieces.encode(bytes_to_symbols(text.encode()))) if byte_mapped else pieces.encode


def bundle_tokenizer(bundle: Bundle, vocabulary: BytePairVocabulary) -> BundleTokenizer:
    """The tokenizer inside the bundle beside the vocabulary's own, with the bundle's start and stop tokens.

    Raises BundleError for a start or stop token that is none of the vocabulary.
    """
    return replace(
        read_by_bundle(bundle, vocabulary).tokenizer,
        start=None if bundle.start_token is None else _token_id(bundle, bundle.start_token, vocabulary),
        stop=frozenset(_token_id(bundle, token, vocabulary) for token in bundle.stop_tokens),
    )


@dataclass(frozen=True)
class ReadByBundle:
    """The tokenizer inside a bundle, without start and stop tokens, and the vocabulary as the bundle reads it."""

    tokenizer: BundleTokenizer
    vocabulary: BytePairVocabulary


def read_by_bundle(bundle: Bundle, vocabulary: BytePairVocabulary) -> ReadByBundle:
    """The tokenizer inside the bundle beside the vocabulary's own, and the vocabulary: with typed special tokens taken
    for text, if that is what the bundle's own tokenizer does with all of them.
    """
    pieces = _own_tokenizer(bundle)

    def beside(vocabulary: BytePairVocabulary) -> ReadByBundle:
        reference, typed = reference_tokenizer(vocabulary), typed_texts(vocabulary)
        tokenizer = BundleTokenizer(
            reference, pieces, bundle.alias_of, typed, byte_mapped=bundle.byte_mapped, text=written_text(vocabulary)
        )
        return ReadByBundle(tokenizer, vocabulary)

    as_text = beside(replace(vocabulary, parse_special=False))
    pairs = [as_text.tokenizer.encode(token) for token in vocabulary.special_tokens]
    if all(as_text.tokenizer.original(ids.bundle) == ids.reference for ids in pairs):
        return as_text
    return beside(vocabulary)


def _token_id(bundle: Bundle, token: str | int, vocabulary: BytePairVocabulary) -> int:
    """The id of a start or stop token. Raises BundleError for one that is none of the vocabulary."""
    id_ = vocabulary.id_of_text(token) if isinstance(token, str) else token
    if id_ is None or not 0 <= id_ < len(vocabulary):
        raise BundleError(
            f"{bundle.path}: its start or stop token {token!r} is no token of the checkpoint's vocabulary; "
            "the engine would take it for text. Build the bundle again with a token that is one"
        )
    return id_


def _own_tokenizer(bundle: Bundle) -> Callable[[str], list[int]]:
    if bundle.sentencepiece is not None:
        return sentencepiece_encoder(bundle.sentencepiece, bundle.byte_mapped)
    from tokenizers import Tokenizer

    try:
        own = Tokenizer.from_str(bundle.tokenizer_json.decode())
    except Exception as error:  # tokenizers raises no other kind
        raise BundleError(
            f"{bundle.path}: its tokenizer.json cannot be read ({error}); build the bundle again"
        ) from error
    return lambda text: own.encode(text, add_special_tokens=False).ids
