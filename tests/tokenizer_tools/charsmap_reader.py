"""Readers of the double array and of the compiled character map, by which tests hold what was written."""

import struct

_LEAF = 1 << 31
_HAS_LEAF = 1 << 8


class DoubleArrayReader:
    """Looks keys up the way SentencePiece does. Raises ValueError when the bytes are no double array."""

    def __init__(self, data: bytes) -> None:
        if not data or len(data) % 1024:
            raise ValueError(f"a double array of {len(data)} bytes; expected a positive multiple of 1,024")
        self.units = struct.unpack(f"<{len(data) // 4}I", data)

    def prefixes(self, text: bytes, start: int = 0) -> list[tuple[int, int]]:
        """(length, value) of every key that `text[start:]` begins with, the shortest first."""
        keys: list[tuple[int, int]] = []
        node = _children(self.units[0])
        for index in range(start, len(text)):
            node ^= text[index]
            unit = self.units[node] if node < len(self.units) else 0
            if unit & (_LEAF | 0xFF) != text[index]:
                break
            node ^= _children(unit)
            if unit & _HAS_LEAF:
                keys.append((index + 1 - start, self.units[node] & ~_LEAF))
        return keys

    def items(self) -> dict[bytes, int]:
        """Every key and its value. Raises ValueError when nodes lead back to one another."""
        keys, waiting = {}, [(b"", _children(self.units[0]), False)]
        visited = 0
        while waiting:
            visited += 1
            if visited > len(self.units):
                raise ValueError("the nodes of this double array form a circle")
            prefix, base, has_leaf = waiting.pop()
            if has_leaf:
                keys[prefix] = self.units[base] & ~_LEAF
            for label in range(1, 256):
                child = base ^ label
                unit = self.units[child] if child < len(self.units) else 0
                if unit & (_LEAF | 0xFF) == label:
                    waiting.append((prefix + bytes([label]), child ^ _children(unit), bool(unit & _HAS_LEAF)))
        return keys


def _children(unit: int) -> int:
    return unit >> 10 << ((unit & 1 << 9) >> 6)


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
