"""SentencePiece's compiled character map (`precompiled_charsmap`): what replaces the longest key at each place.

Layout (google/sentencepiece, src/normalizer.cc, EncodePrecompiledCharsMap): uint32 length of the trie,
the trie (a double array whose values are offsets), then the replacement strings, each ended by a NUL.
It works on bytes: a key may begin or end inside a character.
"""

from __future__ import annotations

import struct
from typing import Iterable, Mapping

from tokenizer_tools.double_array import build_double_array

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


def deepest_nesting(keys: Iterable[bytes]) -> int:
    """The largest number of keys that are prefixes of one key, itself included."""
    deepest, chain = 0, []
    for key in sorted(keys):
        while chain and not key.startswith(chain[-1]):
            chain.pop()
        chain.append(key)
        deepest = max(deepest, len(chain))
    return deepest
