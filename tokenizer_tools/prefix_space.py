"""add_prefix_space: the reference puts a space before a text, and behind an added token, unless a space stands there.

SentencePiece's dummy prefix is a space before every text. Its remove_extra_whitespaces takes away what a key writes as
a space at the beginning of a text, and behind a key that ends in one. Both see the written text, not the one that was
typed, so what is a space there is for the keys to choose:

* A space inside of white space is written as a space and the private symbol that stands for it elsewhere. At the
  beginning the space goes, and the dummy prefix takes its place: as if none had been added.
* Before text a space is written with the text, as " x": there, too, it goes, and the prefix takes its place.
* A contraction is cut out where a pre-token begins, which is no longer the text's beginning. So its apostrophe gets a
  symbol, that merges with the prefix before all else, and else with the rest of the contraction.
* An added token is its symbol and a space. Where another one follows, or the text ends, that space is of no use: with
  the next symbol it is a piece, and at the end SentencePiece takes it away.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Iterable, Iterator, Mapping, NamedTuple

from tokenizer_tools.aliases import Alias
from tokenizer_tools.keys import CONTRACTIONS
from tokenizer_tools.vocabulary import BytePairVocabulary

_SPACE = " "
# Above every merge, whose scores are ranks below 0: pieces that are there before anything is merged.
_FIRST, _SECOND = 2.0, 1.0
_NORMAL, _UNUSED = 1, 5  # ModelProto.SentencePiece.Type


class PrefixPiece(NamedTuple):
    """An alias row with a score and a type of its own."""

    alias: Alias
    score: float
    kind: int = _NORMAL


def lacking_tokens(vocabulary: BytePairVocabulary) -> str | None:
    """Why the prefix cannot be rebuilt for this vocabulary, None if it can: contractions have to be one token each."""
    several = [word for word in (*CONTRACTIONS, b" '") if len(vocabulary.apply_merges(word).parts) > 1]
    if not several:
        return None
    return (
        "the tokenizer puts a space before the text (add_prefix_space), which can be rebuilt where each contraction is "
        f"one token; {several[0].decode()!r} is several"
    )


def with_spaces(text: str, inner: str) -> str:
    """A piece or replacement with each space inside of white space, the symbol `inner`, as a space and the symbol."""
    return text.replace(inner, _SPACE + inner)


def after_prefix(aliases: Iterable[Alias], inner: str) -> Iterator[Alias]:
    """The aliases of tokens of white space that begin with a space, once more for the prefix, which is no inner one."""
    for alias in aliases:
        if alias.piece.startswith(inner) and alias.piece[1:2] not in ("", inner):
            yield replace(alias, piece=_SPACE + alias.piece[1:])


def prefix_pieces(vocabulary: BytePairVocabulary, apostrophe: str, added: Mapping[str, str]) -> Iterator[PrefixPiece]:
    """The pieces of the apostrophe that begins a contraction, and of added tokens that stand behind one, or the prefix.

    `added`: text -> symbol of each added token.
    """
    ids = {word: vocabulary.id_of_text(word.decode()) for word in (*CONTRACTIONS, b"'", b" '")}
    yield PrefixPiece(Alias(apostrophe, ids[b"'"], b"'"), 0.0)
    yield PrefixPiece(Alias(_SPACE + apostrophe, ids[b" '"], b" '"), _FIRST)
    written = {apostrophe + word[1:].decode(): word for word in CONTRACTIONS}
    for text, word in written.items():
        yield PrefixPiece(Alias(text, ids[word], word), _SECOND)
    # On the way to the longer ones; SentencePiece takes a piece of type UNUSED apart again.
    for text in sorted({text[:2] for text in written} - written.keys()):
        yield PrefixPiece(Alias(text, ids[b"'"], b"'"), _SECOND, _UNUSED)
    for text, index in sorted(vocabulary.typed.items(), key=lambda item: item[1]):
        yield PrefixPiece(Alias(_SPACE + added[text], index, text.encode()), _FIRST)
