"""Rebuilds a byte-level BPE vocabulary as a SentencePiece model with the same ids, plus alias rows.

With score = -rank SentencePiece's BPE equals GPT-2's inside a pre-token; spellings keep pieces from lying across
a cut of the pre-tokenizer, and the normalizer's keys choose the spelling. docs/TOKENIZER.md tells the whole story.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from typing import Mapping

from tokenizer_tools.added_tokens import cut_out
from tokenizer_tools.aliases import LockedTokens, added_aliases, alias_table, symbol_bytes
from tokenizer_tools.boundaries import remove_crossings
from tokenizer_tools.charsmap import compile_charsmap
from tokenizer_tools.errors import TokenizerError
from tokenizer_tools.keys import normalizer_keys
from tokenizer_tools.piece_vocabulary import PieceVocabulary
from tokenizer_tools.prefix_space import after_prefix, lacking_tokens, prefix_pieces, with_spaces
from tokenizer_tools.spellings import Spellings, whole_characters
from tokenizer_tools.symbols import BYTE_MAPPED, MODE_LETTERS, MODES, RAW_BYTES, added_symbols, choose_symbols
from tokenizer_tools.vocabulary import BYTE_SYMBOLS, BytePairVocabulary, bytes_to_symbols

# ModelProto.SentencePiece.Type
_NORMAL, _UNKNOWN, _UNUSED = 1, 2, 5
# A piece that is never wanted gets a score below every rank: it can only be merged last, and then
# SentencePiece takes pieces of type UNUSED apart again.
_NEVER = -1e9


@dataclass(frozen=True)
class SentencePieceModel:
    """A serialized ModelProto and what its ids mean.

    Ids below `vocabulary_size` are the vocabulary's own; id vocabulary_size + i is an alias of alias_of[i].
    Mode raw-bytes takes text as it is, mode byte-mapped text in GPT-2's byte alphabet. `crossings` counts pieces that
    can still lie across a cut (0 for a vocabulary trained with GPT-2's regex), `unreachable` the tokens that BPE never
    yields.
    """

    proto: bytes
    vocabulary_size: int
    alias_of: tuple[int, ...]
    mode: str
    keys: int
    crossings: int
    unreachable: int

    @property
    def rows(self) -> int:
        """Rows the embedding table needs."""
        return self.vocabulary_size + len(self.alias_of)


def build_sentencepiece(vocabulary: BytePairVocabulary, mode: str = RAW_BYTES) -> SentencePieceModel:
    """The SentencePiece model of `vocabulary`; the same vocabulary gives the same bytes.

    Raises TokenizerError for an unknown mode or a vocabulary the format cannot hold. A vocabulary whose
    `deviations` are not empty is built as if it followed GPT-2's rules: measure it with report.compare.
    """
    mode = MODE_LETTERS.get(mode, mode)
    if mode not in MODES:
        raise TokenizerError(f"tokenizer mode {mode!r}; expected {' or '.join(MODES)}")
    if isinstance(vocabulary, PieceVocabulary):
        if mode != RAW_BYTES:
            raise TokenizerError(
                f"mode {mode} with a SentencePiece model of the checkpoint's own, whose pieces are text and not in "
                f"GPT-2's byte alphabet. Take mode {RAW_BYTES}"
            )
        return SentencePieceModel(vocabulary.model, len(vocabulary), (), mode, 0, 0, 0)
    # What cannot be rebuilt is among the deviations, and built as if the text had no space before it.
    prefix = vocabulary.prefix_space and lacking_tokens(vocabulary) is None
    if vocabulary.prefix_space != prefix:
        vocabulary = replace(vocabulary, prefix_space=False)
    if prefix and mode == BYTE_MAPPED:
        raise TokenizerError(
            f"mode {mode} with a tokenizer that puts a space before the text (add_prefix_space): SentencePiece's own "
            f"space is none of GPT-2's byte alphabet. Take mode {RAW_BYTES}"
        )
    data = {index: vocabulary.token_bytes(index) for index in vocabulary.ordinary}
    tokens = list(data.values())
    whole = whole_characters(vocabulary) if mode == RAW_BYTES else frozenset()
    spellings = Spellings(choose_symbols(mode, tokens), whole, inner_space=prefix)
    settled = remove_crossings(spellings, tokens)
    # A token that the merges make of an added token's bytes: no text becomes it, and its piece must be another.
    hidden = [
        index
        for index in data
        if (text := vocabulary.text_of(index)) in vocabulary.typed and vocabulary.typed[text] != index
    ]
    private = added_symbols([*vocabulary.typed, *hidden])
    reachable = {index: rank for index, rank in _reachable(vocabulary, data).items() if index not in hidden}
    locked = LockedTokens(vocabulary, spellings, settled.forms)

    pieces = _own_pieces(vocabulary, mode, {index: private[index] for index in hidden})
    aliases = alias_table(vocabulary, spellings, settled.forms, locked, reachable, pieces)
    producible = spellings.whole if mode == RAW_BYTES else None
    inner = spellings.symbols.inner_space
    prefixed = {alias.piece.encode(): alias for alias in after_prefix(aliases, inner)} if prefix else {}
    rows = []
    for index, piece in enumerate(pieces):
        if index not in data:
            # Of type UNUSED an engine finds it by name as start or stop token, and shows it where a model writes it; a
            # CONTROL piece would be shown as nothing.
            rows.append(_piece(piece, _NEVER, _UNUSED))
        elif data[index] == b"\0":
            # The unknown piece must be some id; a NUL byte is the only one that cannot be a piece anyway.
            rows.append(_piece(piece, 0.0, _UNKNOWN))
        elif index in reachable and piece in {*prefixed, *(form.encode() for form in settled.forms[data[index]])}:
            rows.append(_piece(piece, -1.0 - reachable[index], _NORMAL))
        elif _can_be_met(piece, producible) or index not in reachable:
            rows.append(_piece(piece, _NEVER, _UNUSED))
        else:
            rows.append(_piece(piece, -1.0 - reachable[index], _NORMAL))
    known = {*pieces, *(alias.piece.encode() for alias in aliases)}
    aliases += [alias for piece, alias in prefixed.items() if piece not in known]
    spelled = [with_spaces(alias.piece, inner) if prefix else alias.piece for alias in aliases]
    rows += [
        _piece(piece.encode(), -1.0 - reachable[alias.original], _NORMAL) for piece, alias in zip(spelled, aliases)
    ]
    typed = added_aliases(vocabulary, private)
    rows += [_piece(alias.piece.encode(), 0.0, _NORMAL) for alias in typed]
    extra = [*prefix_pieces(vocabulary, locked.apostrophe, private)] if prefix else []
    rows += [_piece(alias.piece.encode(), score, kind) for alias, score, kind in extra]

    in_mode = bytes_to_symbols if mode == BYTE_MAPPED else bytes.decode
    keys = cut_out(
        normalizer_keys(spellings, locked.write),
        {in_mode(alias.data).encode(): alias.piece.encode() + b" " * prefix for alias in typed},
    )
    if prefix:
        keys = {key: with_spaces(written.decode(), inner).encode() for key, written in keys.items()}
    charsmap = compile_charsmap(keys)
    meaning = (
        symbol_bytes(aliases, locked, spellings.symbols)
        | {alias.piece: alias.data for alias in typed}
        | {private[index]: data[index] for index in hidden}
    )
    if prefix:
        meaning |= {f" {inner}": meaning.pop(inner), locked.apostrophe: b"'"}
        meaning |= {f" {alias.piece}": alias.data for alias in typed}
    aliases += [*typed, *(piece.alias for piece in extra)]
    specs = _specs(vocabulary, pieces, len(rows), charsmap, _denormalizer_keys(meaning, mode))
    return SentencePieceModel(
        b"".join(rows) + specs,
        len(vocabulary),
        tuple(alias.original for alias in aliases),
        mode,
        len(keys),
        settled.crossings,
        len(data) - len(reachable),
    )


def _reachable(vocabulary: BytePairVocabulary, data: dict[int, bytes]) -> dict[int, int]:
    """id -> rank of the merge that completes it, for the tokens that BPE of their own bytes yields.

    SentencePiece merges any two neighbors whose concatenation is a piece, so a token that is never yielded
    must not be mergeable. A single byte has rank -1.
    """
    ranks = {}
    for index, token in data.items():
        merged = vocabulary.apply_merges(token)
        if len(merged.parts) == 1:
            ranks[index] = merged.rank
    return ranks


def _own_pieces(vocabulary: BytePairVocabulary, mode: str, hidden: Mapping[int, str]) -> list[bytes]:
    """The pieces of the vocabulary's own ids: the token's bytes (mode raw-bytes) or its byte-alphabet spelling (mode
    byte-mapped), or its `hidden` symbol.
    """
    owner: dict[bytes, int] = {}
    for index, token in enumerate(vocabulary.tokens):
        piece = vocabulary.token_bytes(index)
        if mode == BYTE_MAPPED and index not in vocabulary.special_ids:
            piece = bytes_to_symbols(piece).encode()
        if index in hidden:
            piece = hidden[index].encode()
        if mode == RAW_BYTES and 0 in piece:
            piece = f"<nul:{index}>".encode()
        if (same := owner.setdefault(piece, index)) != index:
            raise TokenizerError(
                f"the tokens {vocabulary.tokens[same]!r} (id {same}) and {token!r} (id {index}) have the same bytes; "
                "SentencePiece needs distinct pieces. A model with two tokens for one text can be bundled where one "
                "of them is an added token that is cut out of a text"
            )
    return list(owner)


def _can_be_met(piece: bytes, whole: frozenset[int] | None) -> bool:
    """Whether normalized text can contain this piece's characters (whole is None in mode byte-mapped: always)."""
    if whole is None:
        return True
    try:
        return all(character < "\x80" or ord(character) in whole for character in piece.decode())
    except UnicodeDecodeError:
        return False


def _denormalizer_keys(meaning: dict[str, bytes], mode: str) -> dict[bytes, bytes]:
    """Private symbols back to bytes (mode raw-bytes) or to GPT-2's byte alphabet (mode byte-mapped)."""
    return {
        symbol.encode(): data if mode == RAW_BYTES else bytes_to_symbols(data).encode()
        for symbol, data in sorted(meaning.items())
        if data != b"\0"
    }


def _piece(piece: bytes, score: float, kind: int) -> bytes:
    """One `pieces` field of ModelProto, written at wire level: a token may be part of a character, which
    protobuf's Python strings cannot hold but C++ reads as it is."""
    message = b"\x0a" + _varint(len(piece)) + piece + b"\x15" + struct.pack("<f", score)
    if kind != _NORMAL:  # the field's default, which SentencePiece's trainer leaves out too
        message += b"\x18" + _varint(kind)
    return b"\x0a" + _varint(len(message)) + message


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def _specs(
    vocabulary: BytePairVocabulary, pieces: list[bytes], size: int, charsmap: bytes, denormalizer: dict[bytes, bytes]
) -> bytes:
    """The trainer, normalizer and denormalizer specs of ModelProto."""
    from sentencepiece import sentencepiece_model_pb2

    model = sentencepiece_model_pb2.ModelProto()
    trainer = model.trainer_spec
    trainer.model_type = trainer.BPE
    trainer.vocab_size = size
    trainer.unk_id = vocabulary.ids[BYTE_SYMBOLS[0]]
    trainer.unk_piece = pieces[trainer.unk_id].decode()
    trainer.unk_surface = "\0"
    end = vocabulary.end_of_text
    trainer.bos_id = trainer.eos_id = -1 if end is None else end
    if end is not None:
        trainer.bos_piece = trainer.eos_piece = vocabulary.tokens[end]
    trainer.pad_id = -1
    model.normalizer_spec.name = "gpt2"
    model.normalizer_spec.precompiled_charsmap = charsmap
    model.denormalizer_spec.name = "gpt2_inverse"
    model.denormalizer_spec.precompiled_charsmap = compile_charsmap(denormalizer)
    for spec in (model.normalizer_spec, model.denormalizer_spec):
        spec.add_dummy_prefix = spec.remove_extra_whitespaces = spec.escape_whitespaces = False
    if vocabulary.prefix_space:
        model.normalizer_spec.add_dummy_prefix = model.normalizer_spec.remove_extra_whitespaces = True
    return model.SerializeToString(deterministic=True)
