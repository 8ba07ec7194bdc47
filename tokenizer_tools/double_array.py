"""A double-array trie in the layout of Darts-clone, which SentencePiece embeds, is written here.

Each node is one uint32 (https://github.com/s-yata/darts-clone, src/darts.h, class DoubleArrayUnit):
bits 0-7 the label, bit 8 "has a leaf", bits 10-30 the offset to the children (shifted left by 8 when
bit 9 is set), bit 31 "is a leaf", and then bits 0-30 are the value. The child with label c of a node at p
is at p ^ offset ^ c, and the value of a key that ends at p is at p ^ offset.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from typing import Mapping

_LEAF = 1 << 31
_HAS_LEAF = 1 << 8
_BLOCK = 256
# So many of the free places are tried for a node, the first ones. Most of those that stay free fit nothing, so the
# search gives up early and takes a fresh block, which costs a few per cent in size.
_TRIES = 1500
# Where more than one place in so many is free, the first of them fit nothing that is still to be placed, and every
# further node would take a block for itself: they are given up.
_SPARSE = 4


class _Places:
    """The places of the growing array. `free` lists the free ones that a search tries, in order."""

    def __init__(self) -> None:
        self.units: list[int] = []
        self.taken = bytearray()
        self.is_base = bytearray()
        self.free: list[int] = []
        # Labels -> the place before which nothing fits them, and nothing will: places and bases are never given back.
        self.tried: dict[bytes, int] = {}

    def grow(self) -> None:
        size = len(self.units)
        self.free.extend(range(size, size + _BLOCK))
        self.units.extend([0] * _BLOCK)
        self.taken.extend(bytes(_BLOCK))
        self.is_base.extend(bytes(_BLOCK))

    def take(self, place: int) -> None:
        self.taken[place] = 1
        index = bisect_left(self.free, place)
        if self.free[index : index + 1] == [place]:  # else it was given up
            del self.free[index]

    def base_for(self, parent: int, labels: bytes) -> int:
        """A base whose places base ^ label are all free and whose offset from `parent` can be written."""
        size, taken, is_base, free = len(self.units), self.taken, self.is_base, self.free
        first_label, rest = labels[0], labels[1:]
        untried, fits_nothing = bisect_left(free, self.tried.get(labels, 0)), True
        for place in free[untried:_TRIES]:
            base = place ^ first_label
            if not is_base[base] and not any(taken[base ^ label] for label in rest):
                if fits_nothing:
                    self.tried[labels], fits_nothing = place, False
                if _offset_fits(parent ^ base):
                    return base
        if fits_nothing and untried < _TRIES:
            self.tried[labels] = free[_TRIES] if len(free) > _TRIES else size
        if len(free) > _TRIES and len(free) * _SPARSE > size:
            del free[:_TRIES]
        self.grow()
        # A fresh block at the same place within its block as the parent: the offset's low byte is 0, so the
        # long form of the offset can be used.
        return size | (parent & 0xFF)


def _offset_fits(offset: int) -> bool:
    return offset != 0 and (offset < 1 << 21 or offset & 0xFF == 0)


def build_double_array(values: Mapping[bytes, int]) -> bytes:
    """The trie of `values` as little-endian uint32 units, a multiple of 1,024 bytes.

    Keys are non-empty and hold no NUL byte (label 0 marks a key's end); values are in 0..2**31-1.
    Raises ValueError on a key or value that cannot be written.
    """
    keys = sorted(values)
    if not keys or not keys[0] or any(0 in key for key in keys):
        raise ValueError("a double array needs at least one key, and none that is empty or holds a NUL byte")
    places = _Places()
    places.grow()
    places.take(0)
    places.is_base[0] = 1
    # Each entry: keys[start:end] share their first `depth` bytes, and that prefix is the node at `node`.
    waiting = [(0, len(keys), 0, 0)]
    while waiting:
        start, end, depth, node = waiting.pop()
        labels, spans, index = [], [], start
        if len(keys[start]) == depth:
            labels.append(0)
            spans.append((start, start + 1))
            index += 1
        while index < end:
            label, first = keys[index][depth], index
            while index < end and keys[index][depth] == label:
                index += 1
            labels.append(label)
            spans.append((first, index))
        base = places.base_for(node, bytes(labels))
        places.is_base[base] = 1
        offset = node ^ base
        places.units[node] |= offset << 10 if offset < 1 << 21 else offset << 2 | 1 << 9
        if labels[0] == 0:
            places.units[node] |= _HAS_LEAF
        for label, (first, stop) in zip(labels, spans):
            child = base ^ label
            places.take(child)
            if label:
                places.units[child] = label
                waiting.append((first, stop, depth + 1, child))
            else:
                places.units[child] = _LEAF | _checked_value(values[keys[first]])
    _close_free_places(places)
    return struct.pack(f"<{len(places.units)}I", *places.units)


def _checked_value(value: int) -> int:
    if not 0 <= value < _LEAF:
        raise ValueError(f"value {value} does not fit the 31 bits of a double-array leaf")
    return value


def _close_free_places(places: _Places) -> None:
    """Give each free place the label it would have under a base no node uses, so that no lookup can end there."""
    for block in range(0, len(places.units), _BLOCK):
        unused = next((base for base in range(block, block + _BLOCK) if not places.is_base[base]), None)
        for index in range(block, block + _BLOCK):
            if not places.taken[index]:
                places.units[index] = (index ^ unused) & 0xFF if unused is not None else 0
