"""SentencePiece's compiled character map (`precompiled_charsmap`): what replaces the longest key at each place.

Layout (google/sentencepiece, src/normalizer.cc, EncodePrecompiledCharsMap): uint32 length of the trie,
the trie (a double array whose values are offsets), then the replacement strings, each ended by a NUL.
It works on bytes: a key may begin or end inside a character.
"""

from __future__ import annotations

import struct
from typing import Mapping

from tokenizer_tools.double_array import DoubleArrayReader, build_double_array

# Normalizer::kMaxTrieResultsSize: with more nested keys the matcher writes past a fixed buffer in old versions.
MAX_NESTED_KEYS = 32


def compile_charsmap(replacements: Mapping[bytes, bytes]) -> bytes:
    """The character map that replaces each key by its value. Raises ValueError when it cannot be written."""
    nested = deepest_nesting(replacements)
    if nested > MAX_NESTED_KEYS:
        raise ValueError(f"{nested} keys begin one another; SentencePiece looks at {MAX_NESTED_KEYS} at most")
    offsets: dict[bytes, int] = {}
    strings = bytearray()
    # Longest first, so that a string that ends another one shares its storage.
    for text in sorted(set(replacements.values()), key=lambda value: (-len(value), value)):
        if text in offsets:
            continue
        if 0 in text:
            raise ValueError("a replacement holds a NUL byte, which ends it in this format")
        start = len(strings)
        strings += text + b"\0"
        for skipped in range(len(text) + 1):
            offsets.setdefault(text[skipped:], start + skipped)
    trie = build_double_array({key: offsets[value] for key, value in replacements.items()})
    return struct.pack("<I", len(trie)) + trie + bytes(strings)


def deepest_nesting(keys) -> int:
    """The largest number of keys that are prefixes of one key, itself included."""
    deepest, chain = 0, []
    for key in sorted(keys):
        while chain and not key.startswith(chain[-1]):
            chain.pop()
        chain.append(key)
        deepest = max(deepest, len(chain))
    return deepest


class Charsmap:
    """Reads a compiled character map and normalizes bytes as SentencePiece does.

    Raises ValueError when the bytes are no character map.
    """

    def __init__(self, data: bytes) -> None:
        size = struct.unpack_from("<I", data)[0] if len(data) >= 4 else -1
        if not 0 < size <= len(data) - 4:
            raise ValueError(f"a character map of {len(data)} bytes says its trie has {size}")
        self.trie = DoubleArrayReader(data[4 : 4 + size])
        self.strings = data[4 + size :]

    def replacements(self) -> dict[bytes, bytes]:
        """Every key and what replaces it."""
        return {key: self._string(offset) for key, offset in self.trie.items().items()}

    def normalize(self, text: bytes) -> bytes:
        """Replace the longest key at each place; a byte that begins no key stays."""
        pieces, index = [], 0
        while index < len(text):
            matches = self.trie.prefixes(text, index)
            length = matches[-1][0] if matches else 1
            pieces.append(self._string(matches[-1][1]) if matches else text[index : index + 1])
            index += length
        return b"".join(pieces)

    def _string(self, offset: int) -> bytes:
        end = self.strings.find(b"\0", offset)
        if not 0 <= offset < len(self.strings) or end < 0:
            raise ValueError(f"a replacement at {offset} lies outside the {len(self.strings)} bytes of strings")
        return self.strings[offset:end]
