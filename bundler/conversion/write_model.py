"""A model with holes where its constants are -> a TFLite file, its constants read, rounded and written one by one.

No more than a block of one constant is ever in memory, so the size of a model does not matter. What a flatbuffer cannot
hold, because its offsets are 32 bits, lies behind it in the file.
"""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Callable, Iterator, Mapping, Sequence

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from bundler.conversion.compact import ALIGNMENT, LARGEST, SharingBuilder
from bundler.conversion.constants import Constant
from bundler.conversion.rounding import Rounding, packed
from bundler.system.atomic_file import replacing

# Room for the graph itself, which is some hundred KB for each signature; only what is used takes memory.
_GRAPH = 256 << 20
# Constants behind a flatbuffer begin at multiples of it: a page's worth of cache lines costs nothing there.
_BEHIND = 64
# Vectors below this stay inside, where the readers of small constants (shapes, for example) look for them.
_SMALL = 1 << 12

Blocks = Callable[[], Iterator[np.ndarray]]


def write_model(
    model: schema.ModelT,
    constants: Sequence[Constant],
    blocks: Mapping[str, Blocks],
    rounding: Rounding,
    output: Path,
    report: Callable[[int], None] = lambda written: None,
) -> None:
    """Write `model` to `output`, which appears whole or not at all.

    `blocks` names, for every constant, what yields its values: float32, whole rows from the first to the last.
    `report` is called with the number of bytes of constants written so far. Raises BundleError where the disk is full,
    before the first constant is read if the system can tell.
    """
    layout = lay_out(model, constants)
    with replacing(output) as file:
        _reserve(file, layout.size)
        for place, piece in layout.graph:
            file.seek(place)
            file.write(piece)
        written = 0
        for constant in constants:
            row = 0
            for values in blocks[constant.name]():
                rounded = rounding(constant.name, values, constant.storage)
                parts = [(constant.values, packed(rounded.values, constant.storage.bits))]
                if rounded.scales is not None:
                    parts.append((constant.scales, rounded.scales.tobytes()))
                for vector, data in parts:
                    file.seek(layout.places[id(vector)] + row * (vector.nbytes // constant.shape[0]))
                    file.write(data)
                row += len(values)
                written += constant.storage.bytes(values.shape)
                report(written)


@dataclass(frozen=True)
class Layout:
    """Where everything lies in a file of `size` bytes: the pieces of its graph, and each hole by its id."""

    size: int
    graph: list[tuple[int, memoryview]]
    places: dict[int, int]


def lay_out(model: schema.ModelT, constants: Sequence[Constant]) -> Layout:
    """Pack `model`, whose holes are those of `constants`. If all would be more than LARGEST bytes, the large
    vectors lie behind the flatbuffer, where Buffer.offset and size say.
    """
    holes = [hole for constant in constants for hole in (constant.values, constant.scales) if hole is not None]
    if sum(hole.nbytes for hole in holes) + _GRAPH <= LARGEST:
        return _packed(model, holes)
    large = {id(hole) for hole in holes if hole.nbytes >= _SMALL}
    behind = [(buffer, buffer.data) for buffer in model.buffers if id(buffer.data) in large]
    for buffer, hole in behind:
        buffer.data, buffer.size, buffer.offset = None, hole.nbytes, 1 << 62  # a number of the same length in the file
    inside = _packed(model, holes)
    end, places = inside.size, inside.places
    for buffer, hole in behind:
        buffer.offset = places[id(hole)] = -(-end // _BEHIND) * _BEHIND
        end = buffer.offset + hole.nbytes
    return replace(_packed(model, holes), size=end, places=places)


def _packed(model: schema.ModelT, holes: Sequence[np.ndarray]) -> Layout:
    builder = _SparseBuilder(_GRAPH + sum(hole.nbytes for hole in holes), holes)
    builder.Finish(model.Pack(builder), b"TFL3")
    data = memoryview(builder.Bytes)[builder.Head() :]
    size_of = {id(hole): hole.nbytes for hole in holes}
    places = {key: len(data) - from_end for key, from_end in builder.from_end.items()}
    graph, position = [], 0
    for key, place in sorted(places.items(), key=lambda item: item[1]):
        graph.append((position, data[position:place]))
        position = place + size_of[key]
    return Layout(len(data), [*graph, (position, data[position:])], places)


class _SparseBuilder(SharingBuilder):
    """A builder that leaves holes out: `from_end` says how far from its end each begins. A flatbuffer is built from
    its end to its start.
    """

    def __init__(self, size: int, holes: Sequence[np.ndarray]) -> None:
        super().__init__(0)
        # Pages of a private map take no memory until something is written to them; a bytearray's do.
        self.Bytes, self.head = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS), size
        self._holes, self.from_end = {id(hole) for hole in holes}, {}

    def CreateNumpyVector(self, x: np.ndarray) -> int:
        return (
            self._once(("hole", id(x)), lambda: self._hole(x)) if id(x) in self._holes else super().CreateNumpyVector(x)
        )

    def _hole(self, hole: np.ndarray) -> int:
        self.StartVector(hole.itemsize, hole.size, ALIGNMENT)
        self.head -= hole.nbytes
        self.vectorNumElems = hole.size
        self.from_end[id(hole)] = self.Offset()
        return self.EndVector()


def _reserve(file: BinaryIO, size: int) -> None:
    """Make room for the whole file, so that a disk too small for it is full now and not at the end."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
    else:
        file.truncate(size)
