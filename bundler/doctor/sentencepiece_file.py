"""A SentencePiece model of any maker: what is in it, and whether its library would load it.

It is not given to the library, whose native code is not made for hostile files: the conditions under which that refuses
a model (sentencepiece 0.2.3: model_interface.cc, unigram_model.cc, normalizer.cc, darts.h) are checked here, and tests
hold the two against each other. Pieces are read as bytes, because those of a byte-level vocabulary need not be UTF-8.
"""

from __future__ import annotations

import math
from collections import Counter
from functools import cache

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError, Message

from bundler.doctor.report import Finding
from bundler.doctor.tokenizer_facts import TokenizerFacts

LIMIT = 1 << 24  # bytes; the largest known models have 5 MB
_MOST_PIECES = 1 << 19  # the largest known have 262,144
_LONGEST_REPLACEMENT = 256  # bytes; ours have 4
TYPES = {1: "NORMAL", 2: "UNKNOWN", 3: "CONTROL", 4: "USER_DEFINED", 5: "UNUSED", 6: "BYTE"}
_ALGORITHMS = {1: "unigram", 2: "BPE", 3: "word", 4: "char"}
_UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED, _BYTE = 2, 3, 4, 5, 6
_ORDINARY, _UNIGRAM = (1, 4, 5), 1
_PLACEHOLDER = b"\0", 5  # an UNUSED NUL is passed over
_LONGEST_PIECE = 8000  # bytes
_MAPPED_SPACE = "Ġ".encode()  # byte 0x20 in GPT-2's alphabet
_TRIE_BLOCK = 1024  # bytes, a multiple of which a compiled character map's trie takes
_END_NAMES = (b"<|endoftext|>", b"</s>", b"<eos>", b"<|end_of_text|>")


@cache
def _message() -> type[Message]:
    """ModelProto with its strings as bytes: in Python a string has to be UTF-8."""
    from sentencepiece import sentencepiece_model_pb2

    file = descriptor_pb2.FileDescriptorProto()
    sentencepiece_model_pb2.DESCRIPTOR.CopyToProto(file)
    waiting = list(file.message_type)
    while waiting:
        message = waiting.pop()
        waiting += message.nested_type
        for entry in message.field:
            if entry.type == entry.TYPE_STRING:
                entry.type = entry.TYPE_BYTES
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{file.package}.ModelProto"))


def read_sentencepiece(data: bytes, where: str = "") -> TokenizerFacts | Finding:
    """The facts with findings in them, or the one finding that nothing can be read. `where`: the entry it is from."""
    if len(data) > LIMIT:
        return Finding("tokenizer-unreadable", where, f"{len(data)} bytes; expected at most {LIMIT}")
    try:
        model = _message().FromString(data)
    except DecodeError:
        return Finding("tokenizer-unreadable", where, "no SentencePiece ModelProto: its protobuf cannot be parsed")
    if not model.pieces:
        return Finding("tokenizer-unreadable", where, f"{len(data)} bytes without a single piece")
    if len(model.pieces) > _MOST_PIECES:
        return Finding("tokenizer-unreadable", where, f"{len(model.pieces)} pieces; expected at most {_MOST_PIECES}")
    pieces = [(piece.piece, piece.type) for piece in model.pieces]
    facts = _facts(model, pieces)
    facts.findings += [Finding("tokenizer-unreadable", where, defect) for defect in _refusals(model, pieces)]
    unknown = [index for index, (_, type) in enumerate(pieces) if type == _UNKNOWN]
    if len(unknown) != 1:
        facts.findings.append(
            Finding(
                "unknown-piece-missing",
                where,
                f"{len(unknown)} pieces of type UNKNOWN among {len(pieces)}; expected one",
            )
        )
    elif pieces[unknown[0]][0] in _END_NAMES or unknown[0] == _declared(model.trainer_spec, "eos_id"):
        facts.findings.append(
            Finding("unknown-piece-ends-text", where, f"the unknown piece is {unknown[0]}, {pieces[unknown[0]][0]!r}")
        )
    return facts


def _declared(trainer: Message, name: str) -> int | None:
    return getattr(trainer, name) if trainer.HasField(name) else None


def _facts(model: Message, pieces: list[tuple[bytes, int]]) -> TokenizerFacts:
    types = Counter(TYPES.get(type, str(type)) for _, type in pieces)
    mapped = sum(_MAPPED_SPACE in piece for piece, _ in pieces) > sum(
        b" " in piece or "▁".encode() in piece for piece, _ in pieces
    )
    mapped = mapped and replacement(model.normalizer_spec.precompiled_charsmap, b" ") != _MAPPED_SPACE
    aliases = _aliases(model, pieces)
    first_alias = len(pieces) - aliases if aliases else None
    unknown = next((index for index, (_, type) in enumerate(pieces) if type == _UNKNOWN), None)
    normalizer = model.normalizer_spec
    shown = {
        "kind": "SentencePiece",
        "algorithm": _ALGORITHMS.get(model.trainer_spec.model_type, "?"),
        "pieces": len(pieces),
        "types": dict(types),
        "unknown": None if unknown is None else {"id": unknown, "piece": _shown(pieces[unknown][0])},
        "control": {_shown(piece): index for index, (piece, type) in enumerate(pieces) if type == _CONTROL}
        if types["CONTROL"] <= 32
        else f"{types['CONTROL']} pieces",
        "byte_alphabet": mapped,
        "byte_fallback": model.trainer_spec.byte_fallback,
        "alias_ids": aliases,
        "character_map_bytes": len(normalizer.precompiled_charsmap),
        "dummy_prefix": normalizer.add_dummy_prefix,
        "escapes_spaces": normalizer.escape_whitespaces,
        "normalizer": _shown(normalizer.name),
    }
    ids = {piece: index for index, (piece, _) in reversed(list(enumerate(pieces)))}
    # Our models replace a special token's text by a character of its own, the piece of another id.
    untyped = frozenset(
        index
        for index, (piece, type) in enumerate(pieces)
        if type in (_CONTROL, _UNUSED) and replacement(normalizer.precompiled_charsmap, piece) not in ids
    )
    return TokenizerFacts(
        "SentencePiece",
        len(pieces),
        ids,
        shown,
        mapped,
        first_alias,
        unknown,
        frozenset(index for index, (_, type) in enumerate(pieces) if type == _USER_DEFINED),
        untyped,
    )


def _shown(piece: bytes) -> str:
    return piece[:100].decode("utf-8", "backslashreplace")


def _aliases(model: Message, pieces: list[tuple[bytes, int]]) -> int:
    """How many of the last ids are aliases, in a model of tokenizer_tools.sentencepiece_model: spelled with characters
    that
    stand for something else, which is what its denormalizer turns back."""
    if model.normalizer_spec.name != b"gpt2" or model.denormalizer_spec.name != b"gpt2_inverse":
        return 0
    charsmap = model.denormalizer_spec.precompiled_charsmap
    respelled: dict[str, bool] = {}

    def is_respelled(character: str) -> bool:
        if character not in respelled:
            respelled[character] = replacement(charsmap, character.encode()) is not None
        return respelled[character]

    count = 0
    for piece, type in reversed(pieces):
        text = piece.decode("utf-8", "ignore")
        if type != 1 or not any(is_respelled(character) for character in text if character > "\x7f"):
            break
        count += 1
    return count


def _refusals(model: Message, pieces: list[tuple[bytes, int]]) -> list[str]:
    """Why sentencepiece would not load it."""
    defects = []
    if model.trainer_spec.model_type not in _ALGORITHMS:
        defects.append(f"algorithm {model.trainer_spec.model_type}")
    if empty := [index for index, (piece, _) in enumerate(pieces) if not piece]:
        defects.append(f"piece {empty[0]} is empty, of {len(empty)}")
    if nul := [index for index, (piece, type) in enumerate(pieces) if b"\0" in piece and (piece, type) != _PLACEHOLDER]:
        defects.append(f"piece {nul[0]} holds a NUL character, of {len(nul)}")
    if long := [index for index, (piece, _) in enumerate(pieces) if len(piece) >= _LONGEST_PIECE]:
        defects.append(f"piece {long[0]} has {len(pieces[long[0]][0])} bytes")
    # Ordinary pieces and the others are kept apart.
    counts = Counter((piece, type in _ORDINARY) for piece, type in pieces if (piece, type) != _PLACEHOLDER)
    if repeated := [piece for (piece, _), count in counts.items() if count > 1 and piece]:
        defects.append(f"piece {_shown(repeated[0])!r} is there more than once, of {len(repeated)} repeated ones")
    if model.trainer_spec.model_type == _UNIGRAM:
        if odd := [index for index, piece in enumerate(model.pieces) if not math.isfinite(piece.score)]:
            defects.append(f"piece {odd[0]} has the score {model.pieces[odd[0]].score}, of {len(odd)}")
        if not any(type in _ORDINARY for _, type in pieces):
            defects.append("no ordinary pieces")
    bytes_found = [piece for piece, type in pieces if type == _BYTE]
    wanted = {f"<0x{byte:02X}>".encode() for byte in range(256)}
    if model.trainer_spec.byte_fallback and set(bytes_found) != wanted:
        defects.append(f"it falls back on bytes, but has {len(wanted & set(bytes_found))} of 256 byte pieces")
    elif bytes_found and not model.trainer_spec.byte_fallback:
        defects.append(f"{len(bytes_found)} byte pieces, though it does not fall back on bytes")
    for spec, name in ((model.normalizer_spec, "normalizer"), (model.denormalizer_spec, "denormalizer")):
        if spec.precompiled_charsmap and (defect := _broken_charsmap(spec.precompiled_charsmap)):
            defects.append(f"the {name}'s character map {defect}")
    return defects


def _broken_charsmap(blob: bytes) -> str:
    """What is wrong with a compiled character map: the trie's size, the trie (a double array of darts-clone), the
    replacements.
    """
    if len(blob) <= 4:
        return f"has {len(blob)} bytes"
    size = int.from_bytes(blob[:4], "little")
    if size >= len(blob) - 4 or size < _TRIE_BLOCK or size % _TRIE_BLOCK:
        return f"says a trie of {size} bytes, of {len(blob) - 4}"
    if blob[-1]:
        return "has no end to its last replacement"
    units = np.frombuffer(blob, "<u4", size // 4, 4)
    leaf, ends = units >> 31 == 1, units >> 8 & 1 == 1
    children = np.arange(len(units), dtype=np.uint32) ^ _trie_offsets(units)
    if (children[~leaf] | 0xFF >= len(units)).any() or (units[leaf] & 0x7FFFFFFF >= len(blob) - 4 - size).any():
        return "points outside of itself"
    if units[0] & 0x800001FF or not _trie_offsets(units[0]) or not leaf[children[~leaf & ends]].all():
        return "is no tree"
    return ""


def _trie_offsets(units: np.ndarray) -> np.ndarray:
    """Where a unit's children are, to be combined with its own place by exclusive or."""
    return units >> 10 << ((units & 1 << 9) >> 6)


def replacement(blob: bytes, key: bytes) -> bytes | None:
    """What a compiled character map replaces exactly `key` with; None: nothing, or the map is damaged.

    The trie is a double array of darts-clone: https://github.com/s-yata/darts-clone/blob/master/include/darts.h.
    """
    if len(blob) < 8 or (size := int.from_bytes(blob[:4], "little")) > len(blob) - 4:
        return None

    def unit(position: int) -> int:
        return int.from_bytes(blob[4 + 4 * position : 8 + 4 * position], "little") if 4 * position < size else 0

    position = 0
    for byte in key:
        position ^= _trie_offsets(unit(position)) ^ byte
        if unit(position) & 0x800000FF != byte:
            return None
    if not unit(position) >> 8 & 1:  # the key goes on, and none ends here
        return None
    start = 4 + size + (unit(position ^ _trie_offsets(unit(position))) & 0x7FFFFFFF)
    end = blob.find(b"\0", start, start + _LONGEST_REPLACEMENT)
    return blob[start:end] if end >= 0 else None
