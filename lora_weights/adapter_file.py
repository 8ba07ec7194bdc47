"""The adapter file: a TFLite flatbuffer without a graph, which MediaPipe and LiteRT-LM both load.

MediaPipe reads the data inside the flatbuffer's buffers, LiteRT-LM reads `offset` and `size` bytes of the file: here
both are the same bytes. LiteRT-LM also wants the rank as metadata `lora_rank`, whose "buffer" is the rank itself, and
maps the file by pages. docs/LORA.md explains the bytes; the schema is TFLite's (tensorflow/lite/schema/schema.fbs).
"""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import asdict, dataclass, field
from types import ModuleType
from typing import Callable

import flatbuffers
import numpy as np

from lora_weights.adapter import Adapter, Base, bundle_tensors, check_base, tensor_shapes
from lora_weights.errors import LoraError

FORMAT = 1
DESCRIPTION = "lora_params"
RANK_METADATA, OWN_METADATA = "lora_rank", "task_bundler_adapter"
PAGE = 16384  # bytes; the largest page size of Android devices, to a multiple of which LiteRT-LM maps
ALIGNMENT = 16  # bytes; the schema's force_align of Buffer.data


@dataclass(frozen=True)
class AdapterHeader:
    """What the file says about itself. `query_scale` (per layer) is already inside the tensors of q."""

    name: str
    layers: int
    width: int
    rank: int
    query_scale: tuple[float, ...]
    alpha: float | None = None
    licence: str | None = None
    base_fingerprint: str | None = None


@dataclass(frozen=True)
class AdapterFile:
    """A header and every tensor, float32, by name and in the order of `tensor_shapes`.

    `read_sha256`: of the file it was read from, if it was. Another maker's file may have the same content in other
    bytes.
    """

    header: AdapterHeader
    tensors: dict[str, np.ndarray]
    read_sha256: str | None = field(default=None, compare=False)

    @property
    def sha256(self) -> str:
        """In small letters, of the file it was read from, or else of the one it would be written as."""
        return self.read_sha256 or hashlib.sha256(encode_adapter(self)).hexdigest()

    def check_base(self, base: Base) -> None:
        """Raise LoraError unless the adapter fits `base`."""
        header = self.header
        check_base(header.name, header.layers, header.width, header.base_fingerprint, base)
        if header.query_scale != base.query_scale:
            raise LoraError(
                f"adapter {header.name} was exported for attention scores scaled by {header.query_scale[0]:g}, this "
                f"base scales them by {base.query_scale[0]:g}; export it again for this base"
            )


def adapter_file(adapter: Adapter, base: Base, rank: int) -> AdapterFile:
    """The file's content for an adapter at `rank`. Raises LoraError if it does not fit the base or the rank."""
    header = AdapterHeader(
        adapter.name, base.layers, base.width, rank, base.query_scale, adapter.alpha, adapter.licence, base.fingerprint
    )
    return AdapterFile(header, bundle_tensors(adapter, base, rank))


def zero_adapter(base: Base, rank: int) -> AdapterFile:
    """The adapter that changes nothing: what a session of LiteRT-LM has to be given for the base's own behavior."""
    header = AdapterHeader("zero", base.layers, base.width, rank, base.query_scale, base_fingerprint=base.fingerprint)
    return AdapterFile(
        header,
        {name: np.zeros(shape, np.float32) for name, shape in tensor_shapes(base.layers, base.width, rank).items()},
    )


def encode_adapter(file: AdapterFile) -> bytes:
    """The file's bytes, a function of the content alone."""
    from ai_edge_litert import schema_py_generated as schema

    header = json.dumps({"format": FORMAT, **asdict(file.header)}, ensure_ascii=False).encode()
    builder = flatbuffers.Builder(sum(tensor.nbytes for tensor in file.tensors.values()) + (1 << 16))
    arrays = [np.ascontiguousarray(tensor, "<f4").view(np.uint8).reshape(-1) for tensor in file.tensors.values()]
    # Buffer 0 is the empty one by convention; then one per tensor; then our metadata, whose place TFLite points to.
    buffers = [
        _buffer(schema, builder, None),
        *(_buffer(schema, builder, array) for array in arrays),
        _buffer(schema, builder, np.frombuffer(header, np.uint8), outside=False),
    ]
    tensors = [
        _tensor(schema, builder, name, tensor.shape, index)
        for index, (name, tensor) in enumerate(file.tensors.items(), 1)
    ]
    empty = {
        part: _offsets(builder, getattr(schema, f"{table}Start{part}Vector"), [])
        for table, part in (
            ("SubGraph", "Inputs"),
            ("SubGraph", "Outputs"),
            ("SubGraph", "Operators"),
            ("Model", "OperatorCodes"),
        )
    }
    tensor_list = _offsets(builder, schema.SubGraphStartTensorsVector, tensors)
    name = builder.CreateString(DESCRIPTION)
    schema.SubGraphStart(builder)
    schema.SubGraphAddTensors(builder, tensor_list)
    schema.SubGraphAddInputs(builder, empty["Inputs"])
    schema.SubGraphAddOutputs(builder, empty["Outputs"])
    schema.SubGraphAddOperators(builder, empty["Operators"])
    schema.SubGraphAddName(builder, name)
    subgraphs = _offsets(builder, schema.ModelStartSubgraphsVector, [schema.SubGraphEnd(builder)])
    metadata = _offsets(
        builder,
        schema.ModelStartMetadataVector,
        [
            _metadata(schema, builder, RANK_METADATA, file.header.rank),
            _metadata(schema, builder, OWN_METADATA, len(arrays) + 1),
        ],
    )
    buffer_list = _offsets(builder, schema.ModelStartBuffersVector, buffers)
    schema.ModelStart(builder)
    schema.ModelAddVersion(builder, 3)  # of TFLite's schema
    schema.ModelAddOperatorCodes(builder, empty["OperatorCodes"])
    schema.ModelAddSubgraphs(builder, subgraphs)
    schema.ModelAddDescription(builder, name)
    schema.ModelAddBuffers(builder, buffer_list)
    schema.ModelAddMetadata(builder, metadata)
    builder.Finish(schema.ModelEnd(builder), b"TFL3")
    data = bytearray(builder.Output())
    _point_inside(schema, data, len(arrays))
    data += bytes(-len(data) % PAGE)
    return bytes(data)


def _buffer(schema: ModuleType, builder: flatbuffers.Builder, data: np.ndarray | None, outside: bool = True) -> int:
    if data is not None:
        builder.StartVector(1, data.size, ALIGNMENT)
        builder.head -= data.size
        builder.Bytes[builder.head : builder.head + data.size] = data.tobytes()
        builder.vectorNumElems = data.size
        vector = builder.EndVector()
    schema.BufferStart(builder)
    if data is not None:
        schema.BufferAddData(builder, vector)
        if outside:  # where the data lies is known when everything is written; 1 keeps the place
            schema.BufferAddOffset(builder, 1)
            schema.BufferAddSize(builder, data.size)
    return schema.BufferEnd(builder)


def _tensor(schema: ModuleType, builder: flatbuffers.Builder, name: str, shape: tuple[int, ...], buffer: int) -> int:
    name_at = builder.CreateString(name)
    shape_at = builder.CreateNumpyVector(np.array(shape, "<i4"))
    schema.TensorStart(builder)
    schema.TensorAddShape(builder, shape_at)
    schema.TensorAddType(builder, schema.TensorType.FLOAT32)
    schema.TensorAddBuffer(builder, buffer)
    schema.TensorAddName(builder, name_at)
    return schema.TensorEnd(builder)


def _metadata(schema: ModuleType, builder: flatbuffers.Builder, name: str, buffer: int) -> int:
    name_at = builder.CreateString(name)
    schema.MetadataStart(builder)
    schema.MetadataAddName(builder, name_at)
    schema.MetadataAddBuffer(builder, buffer)
    return schema.MetadataEnd(builder)


def _offsets(builder: flatbuffers.Builder, start: Callable[..., int], items: list[int]) -> int:
    start(builder, len(items))
    for item in reversed(items):
        builder.PrependUOffsetTRelative(item)
    return builder.EndVector()


def _point_inside(schema: ModuleType, data: bytearray, count: int) -> None:
    """Set the `offset` of the tensors' buffers to where their data lies in the file."""
    model = schema.Model.GetRootAs(data, 0)
    for index in range(1, count + 1):
        table = model.Buffers(index)._tab
        # 4 and 6: the places of `data` and `offset` in the table Buffer's vtable.
        struct.pack_into("<Q", data, table.Pos + table.Offset(6), table.Vector(table.Offset(4)))
