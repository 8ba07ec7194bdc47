"""TFLite -> the same TFLite in which equal vectors are stored once.

The converter shares the weights between signatures, but not what describes them: every signature has its own copy
of each scale, zero point, shape and name, and some recipes even copy the embedding. With LoRA signatures beside the
plain ones that adds up to several percent of a file. A flatbuffer may point to one vector from many places, so all
of it can be stored once; the model is the same to any reader. Names of inner tensors lose the Python modules in them.
"""

from __future__ import annotations

import hashlib
import mmap
import re
from pathlib import Path
from typing import TYPE_CHECKING, Callable

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from bundler.system.atomic_file import replacing

if TYPE_CHECKING:
    from ai_edge_litert import schema_py_generated as schema

ALIGNMENT = 16  # bytes; the schema's force_align of Buffer.data, which SIMD kernels rely on
# Offsets in a flatbuffer are 32 bits, signed in Python's builder. Larger models keep their data outside of it.
LARGEST = (1 << 31) - (1 << 24)
# What the converter puts into a tensor's name and says nothing: where Python found the classes, and the outermost two.
NOISE = re.compile(rb"bundler\.([a-z0-9_]+\.)+(_Signature/?|ExportableGPT2_model/?)?|torch\.nn\.modules\.\w+\.")


class SharingBuilder(flatbuffers.Builder):
    """A builder that stores equal vectors and strings only once."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._stored: dict[tuple, int] = {}

    def CreateString(self, s: str | bytes, encoding: str = "utf-8", errors: str = "strict") -> int:
        return self._once(("string", s), lambda: super(SharingBuilder, self).CreateString(s, encoding, errors))

    def CreateNumpyVector(self, x: np.ndarray) -> int:
        key = (x.dtype.str, x.size, hashlib.sha256(np.ascontiguousarray(x)).digest())
        return self._once(
            key, lambda: self._bytes(x) if x.itemsize == 1 else super(SharingBuilder, self).CreateNumpyVector(x)
        )

    def _bytes(self, x: np.ndarray) -> int:
        self.StartVector(1, x.size, ALIGNMENT)
        self.head -= x.size
        self.Bytes[self.head : self.head + x.size] = memoryview(np.ascontiguousarray(x)).cast("B")
        self.vectorNumElems = x.size
        return self.EndVector()

    def _once(self, key: tuple, create: Callable[[], int]) -> int:
        if key not in self._stored:
            self._stored[key] = create()
        return self._stored[key]


def shorten_names(model: schema.ModelT) -> None:
    """Take the names of Python modules out of the names of a model's tensors."""
    for tensor in (tensor for subgraph in model.subgraphs for tensor in subgraph.tensors):
        tensor.name = NOISE.sub(b"", tensor.name)


def compact_tflite(path: Path, change: Callable[[schema.ModelT], None] | None = None) -> None:
    """Rewrite the TFLite file at `path`, changed by `change` if that is given. A model too large to lie inside one
    flatbuffer is left as it is.
    """
    if (size := path.stat().st_size) > LARGEST:
        return
    with open(path, "rb") as source, mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ) as data:
        model = schema.ModelT.InitFromPackedBuf(data)
        shorten_names(model)
        for buffer in model.buffers:
            if buffer.offset > 1:  # data after the flatbuffer, which some recipes write; inside it can be shared
                buffer.data = np.frombuffer(data, np.uint8, buffer.size, buffer.offset)
                buffer.offset = buffer.size = 0
        if change:
            change(model)
        # Larger than the result can be, so the builder never doubles its memory.
        builder = SharingBuilder(size + size // 16 + (1 << 20))
        builder.Finish(model.Pack(builder), b"TFL3")
        del model, buffer  # their arrays lie in the map, which cannot be closed under them
    with replacing(path) as output:
        output.write(memoryview(builder.Bytes)[builder.Head() :])
