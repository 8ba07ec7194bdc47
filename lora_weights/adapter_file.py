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
from pathlib import Path
from typing import Mapping

import flatbuffers
import numpy as np

from lora_weights.adapter import Adapter, Base, bundle_tensors, check_base, check_finite, tensor_shapes
from lora_weights.errors import LoraError

FORMAT = 1
DESCRIPTION = "lora_params"
RANK_METADATA, OWN_METADATA = "lora_rank", "task_bundler_adapter"
PAGE = 16384  # bytes; the largest page size of Android devices, to a multiple of which LiteRT-LM maps
ALIGNMENT = 16  # bytes; the schema's force_align of Buffer.data
_LARGEST = 1 << 31  # bytes; a flatbuffer's limit. GPT-2 XL at rank 32 takes 79 MB
_HEADER_LIMIT = 1 << 20  # bytes of our own metadata; real ones take half a kilobyte


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


def _buffer(schema, builder, data: np.ndarray | None, outside: bool = True) -> int:
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


def _tensor(schema, builder, name: str, shape: tuple[int, ...], buffer: int) -> int:
    name_at = builder.CreateString(name)
    shape_at = builder.CreateNumpyVector(np.array(shape, "<i4"))
    schema.TensorStart(builder)
    schema.TensorAddShape(builder, shape_at)
    schema.TensorAddType(builder, schema.TensorType.FLOAT32)
    schema.TensorAddBuffer(builder, buffer)
    schema.TensorAddName(builder, name_at)
    return schema.TensorEnd(builder)


def _metadata(schema, builder, name: str, buffer: int) -> int:
    name_at = builder.CreateString(name)
    schema.MetadataStart(builder)
    schema.MetadataAddName(builder, name_at)
    schema.MetadataAddBuffer(builder, buffer)
    return schema.MetadataEnd(builder)


def _offsets(builder, start, items: list[int]) -> int:
    start(builder, len(items))
    for item in reversed(items):
        builder.PrependUOffsetTRelative(item)
    return builder.EndVector()


def _point_inside(schema, data: bytearray, count: int) -> None:
    """Set the `offset` of the tensors' buffers to where their data lies in the file."""
    model = schema.Model.GetRootAs(data, 0)
    for index in range(1, count + 1):
        table = model.Buffers(index)._tab
        # 4 and 6: the places of `data` and `offset` in the table Buffer's vtable.
        struct.pack_into("<Q", data, table.Pos + table.Offset(6), table.Vector(table.Offset(4)))


def read_adapter_file(path: Path) -> AdapterFile:
    """Read and check an adapter file. Raises LoraError for anything that `encode_adapter` would not have written."""
    try:
        with open(path, "rb") as stream:
            size = stream.seek(0, 2)
            if size > _LARGEST:
                raise LoraError(
                    f"{path}: {size} bytes; an adapter file has at most {_LARGEST}; check that this is the right file"
                )
            stream.seek(0)
            data = stream.read()
    except OSError as error:
        raise LoraError(
            f"{path}: cannot be read ({error.strerror or error}); expected an adapter file; check the path"
        ) from error
    return decode_adapter(data, str(path))


def decode_adapter(data: bytes, where: str = "adapter") -> AdapterFile:
    """The content of an adapter file. `where` names it in errors; see `read_adapter_file`."""
    if data[4:8] != b"TFL3":
        raise LoraError(
            f"{where}: begins with {data[:8]!r}; an adapter file is a TFLite flatbuffer; give what `task-bundler lora "
            "export` wrote"
        )
    try:
        header, rank, found = _parse(data, where)
    # The flatbuffers reader does not check what it follows; these are what hostile offsets make it raise.
    except (
        struct.error,
        ValueError,
        TypeError,
        IndexError,
        AttributeError,
        OverflowError,
        KeyError,
        RecursionError,
    ) as error:
        raise _damaged(where, f"cannot be read ({error or type(error).__name__})") from error
    if len(data) % PAGE:
        raise _damaged(where, f"has {len(data)} bytes, no multiple of {PAGE}")
    if rank != header.rank:
        raise _damaged(where, f"says rank {rank} in its metadata and {header.rank} in its header")
    expected = tensor_shapes(header.layers, header.width, header.rank)
    if missing := [name for name in expected if name not in found]:
        raise LoraError(
            f"{where}: lacks {len(missing)} of {len(expected)} tensors, first {missing[0]}; an engine would use "
            "undefined memory in their place; export the adapter again"
        )
    if extra := [name for name in found if name not in expected]:
        raise LoraError(
            f"{where}: holds {extra[0]}, which an adapter of {header.layers} layers does not have; export it again"
        )
    for name, shape in expected.items():
        if found[name].shape != shape:
            raise LoraError(
                f"{where}: {name} has the shape {list(found[name].shape)}, expected {list(shape)}; export the adapter "
                "again"
            )
        check_finite(name, found[name], where)
    return AdapterFile(header, {name: found[name] for name in expected}, hashlib.sha256(data).hexdigest())


def _parse(data: bytes, where: str) -> tuple[AdapterHeader, int | None, dict[str, np.ndarray]]:
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(data, 0)
    metadata = {
        entry.Name(): entry.Buffer() for entry in map(model.Metadata, range(_count(model.MetadataLength(), data)))
    }
    _count(model.BuffersLength(), data)
    if OWN_METADATA.encode() not in metadata:
        raise LoraError(
            f"{where}: a TFLite file without the metadata {OWN_METADATA}; give what `task-bundler lora export` wrote"
        )
    header = _header(bytes(_data(model.Buffers(metadata[OWN_METADATA.encode()]), data)[:_HEADER_LIMIT]), where)
    graph = model.Subgraphs(0)
    tensors = {}
    for index in range(_count(graph.TensorsLength(), data)):
        tensor = graph.Tensors(index)
        name, shape = tensor.Name().decode(), tuple(int(size) for size in tensor.ShapeAsNumpy())
        buffer = model.Buffers(tensor.Buffer())
        raw = _data(buffer, data)
        if (
            name in tensors
            or tensor.Type() != schema.TensorType.FLOAT32
            or len(raw) != 4 * int(np.prod(shape, dtype=object))
        ):
            raise ValueError(
                f"{name} is there twice, is not float32, or has {len(raw)} bytes for the shape {list(shape)}"
            )
        at = buffer._tab.Vector(buffer._tab.Offset(4))
        if (buffer.Offset(), buffer.Size()) != (at, len(raw)):
            raise ValueError(
                f"{name} lies at byte {at}, but LiteRT-LM is told {buffer.Size()} bytes at {buffer.Offset()}"
            )
        tensors[name] = np.frombuffer(raw, "<f4").reshape(shape)
    return header, metadata.get(RANK_METADATA.encode()), tensors


def _header(text: bytes, where: str) -> AdapterHeader:
    fields = json.loads(text)
    if (version := fields.pop("format", None)) != FORMAT:
        raise LoraError(
            f"{where}: format {version!r} of the adapter's header, expected {FORMAT}; use a release of task-bundler "
            "made for it"
        )
    header = AdapterHeader(**{**fields, "query_scale": tuple(fields["query_scale"])})
    limits: Mapping[str, int] = {"layers": 1 << 16, "width": 1 << 20, "rank": 1 << 16}
    for name, limit in limits.items():
        if type(getattr(header, name)) is not int or not 0 < getattr(header, name) < limit:
            raise ValueError(f"{name} {getattr(header, name)!r} in its header")
    if len(header.query_scale) != header.layers:
        raise ValueError(f"{len(header.query_scale)} query scales for {header.layers} layers")
    return header


def _data(buffer, data: bytes) -> memoryview:
    at, size = buffer._tab.Vector(buffer._tab.Offset(4)), buffer.DataLength()
    if not size or at + size > len(data):
        raise ValueError(f"{size} bytes of data at {at} in a file of {len(data)}")
    return memoryview(data)[at : at + size]


def _count(length: int, data: bytes) -> int:
    # Every element takes four bytes at least: a larger count is a lie that would keep us busy for hours.
    if length > len(data) // 4:
        raise ValueError(f"a list of {length} elements in {len(data)} bytes")
    return length


def _damaged(where: str, found: str) -> LoraError:
    return LoraError(f"{where}: {found}; expected a sound adapter file; copy it again, or export it again")
