"""A TFLite file of any maker, read with every offset checked, as plain dataclasses.

Slots are those of TFLite's schema (tensorflow/lite/schema/schema.fbs, version 3); names of types and operators are its
enums'.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cache
from typing import Iterable

import numpy as np

from bundler.errors import BundleError
from bundler.system.file_section import FileSection
from bundler.tflite.flatbuffer import Damaged, Flatbuffer, Table

IDENTIFIER, AT = b"TFL3", slice(4, 8)
_MOST_DIMENSIONS = 16  # TFLite's kernels end at 8
_MOST_SIGNATURES = 256  # real models have a dozen
_SHOWN = 3  # examples of one kind of defect

_BLOCKWISE = 2  # BlockwiseQuantization in the union QuantizationDetails
_COMPOSITE = 21  # StableHLOCompositeOptions in the union BuiltinOptions2

# Bits of a value of the types whose buffers have a fixed size.
BITS = {
    "FLOAT32": 32,
    "FLOAT16": 16,
    "INT32": 32,
    "UINT8": 8,
    "INT64": 64,
    "BOOL": 8,
    "INT16": 16,
    "COMPLEX64": 64,
    "INT8": 8,
    "FLOAT64": 64,
    "COMPLEX128": 128,
    "UINT64": 64,
    "UINT32": 32,
    "UINT16": 16,
    "INT4": 4,
    "BFLOAT16": 16,
    "INT2": 2,
    "UINT4": 4,
    "FLOAT8E4M3FN": 8,
    "FLOAT8E5M2": 8,
}


@dataclass(frozen=True)
class Quantization:
    """`scales` float32, along `dimension`, which begin at byte `scales_offset` of the file; or `block` > 0 values share
    one of the float16 scales in the tensor `scales_tensor`.
    """

    scales: np.ndarray
    dimension: int = 0
    scales_offset: int = 0
    block: int = 0
    scales_tensor: int = -1


@dataclass(frozen=True)
class Tensor:
    """`shape` is empty for a scalar and for one without a shape; `buffer` is the index of its buffer, 0: none."""

    name: str
    type: str
    shape: tuple[int, ...]
    buffer: int
    quantization: Quantization | None

    @property
    def values(self) -> int:
        return math.prod(self.shape)

    @property
    def bytes(self) -> int | None:
        """What its values take; None for types whose buffers say so themselves (strings) and for shapes not known
        beforehand.
        """
        if self.type not in BITS or any(size < 0 for size in self.shape):
            return None
        return -(-self.values * BITS[self.type] // 8)

    def __str__(self) -> str:
        return f"{self.type.lower()} {list(self.shape)}"


@dataclass(frozen=True)
class Operator:
    """`name`: the builtin operator's, a composite's own such as odml.rms_norm, or that of a custom one with `custom`.
    An input of -1
    is left out."""

    name: str
    custom: bool
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class OperatorKind:
    """One kind of operator that the file declares, used or not; `name` as in Operator, but STABLEHLO_COMPOSITE for all
    composites.
    """

    name: str
    custom: bool
    version: int


@dataclass(frozen=True)
class Graph:
    name: str
    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class Signature:
    """`inputs` and `outputs`: the names callers use -> the tensor's index in the graph."""

    key: str
    graph: int
    inputs: dict[str, int]
    outputs: dict[str, int]


@dataclass(frozen=True)
class Buffer:
    """Where a constant lies: bytes from the start of the TFLite file. `outside`: given as offset and size, after the
    flatbuffer.
    """

    offset: int
    size: int
    outside: bool


@dataclass
class Model:
    """`damage`: what points to something that is not there, although the rest can be read. `missized`: constants with
    more or
    fewer bytes than their shape takes. `inside` and `outside`: every buffer as the flatbuffer's data, and as a place in
    the file."""

    description: str
    graphs: tuple[Graph, ...]
    signatures: tuple[Signature, ...]
    buffers: tuple[Buffer, ...]
    metadata: dict[str, int]
    operator_kinds: tuple[OperatorKind, ...] = ()
    inside: tuple[Buffer, ...] = ()
    outside: tuple[Buffer, ...] = ()
    damage: list[str] = field(default_factory=list)
    missized: list[str] = field(default_factory=list)

    def tensor(self, signature: Signature, index: int) -> Tensor:
        return self.graphs[signature.graph].tensors[index]

    def inputs(self, signature: Signature) -> dict[str, Tensor]:
        return {name: self.tensor(signature, index) for name, index in signature.inputs.items()}

    def outputs(self, signature: Signature) -> dict[str, Tensor]:
        return {name: self.tensor(signature, index) for name, index in signature.outputs.items()}


def open_model(section: FileSection) -> Model:
    """The model that lies in a file, whole or in a container. Raises BundleError for what no engine could follow."""
    with section.map() as data:
        try:
            model = read_model(data)
            damage = "; ".join(model.damage)
        except Damaged as error:
            damage = str(error)
    if damage:
        raise BundleError(
            f"{section.path}: {section.name} is no readable TFLite model ({damage}); build the bundle again"
        )
    return model


@cache
def _names() -> tuple[dict[int, str], dict[int, str]]:
    from ai_edge_litert import schema_py_generated as schema

    return tuple(
        {number: name for name, number in vars(enum).items() if isinstance(number, int)}
        for enum in (schema.TensorType, schema.BuiltinOperator)
    )


def read_model(data: bytes | memoryview) -> Model:
    """The model in `data`, bytes or a view of them. Raises Damaged for what cannot be read at all.

    What points to something that is not there is told in `damage`, and signatures that do are left out.
    """
    if bytes(data[AT]) != IDENTIFIER:
        raise Damaged(f"bytes 4 to 7 are {bytes(data[AT])!r}, not {IDENTIFIER!r}")
    buffer = Flatbuffer(data)
    root = buffer.root()
    if (version := root.number(0, "I")) != 3:
        raise Damaged(f"schema version {version}, not 3")
    codes = [_operator_kind(code) for code in root.tables(1)]
    graphs = tuple(_graph(graph, codes) for graph in root.tables(2))
    inside, outside = [], []
    for entry in root.tables(4):
        inside.append(Buffer(*entry.vector(0, 1), False))
        outside.append(Buffer(entry.number(1, "Q"), entry.number(2, "Q"), True))
    # TFLite's rule: an offset of 0 or 1 means that the data, if any, is in the buffer itself.
    buffers = tuple(within if beyond.offset <= 1 else beyond for within, beyond in zip(inside, outside))
    places = {(place.offset, place.size) for place in (*inside, *outside) if place.size}
    if sum(size for _, size in places) > buffer.size and all(offset + size <= buffer.size for offset, size in places):
        raise Damaged("buffers that share their bytes and are together longer than the file")
    metadata = {entry.text(0): entry.number(1, "I") for entry in root.tables(6)}
    signatures = [
        Signature(entry.text(2), entry.number(4, "I"), _tensor_map(entry.tables(0)), _tensor_map(entry.tables(1)))
        for entry in root.tables(7)
    ]
    if len(signatures) > _MOST_SIGNATURES:
        raise Damaged(f"{len(signatures)} signatures")
    model = Model(
        root.text(3), graphs, tuple(signatures), buffers, metadata, tuple(codes), tuple(inside), tuple(outside)
    )
    model.damage = _misplaced_buffers(model, buffer.size) + _bad_indices(model)
    model.missized = _missized(model)
    model.signatures = tuple(signature for signature in signatures if _is_sound(model, signature))
    return model


def _operator_kind(code: Table) -> OperatorKind:
    # Numbers up to 126 stood in a byte before there were more; the larger of the two fields counts.
    number = max(code.number(0, "b"), code.number(3, "i"))
    name = _names()[1].get(number, f"operator {number}")
    return OperatorKind(
        code.text(1) or "CUSTOM" if name == "CUSTOM" else name, name == "CUSTOM", code.number(2, "i", 1)
    )


def _graph(table: Table, codes: list[OperatorKind]) -> Graph:
    operators = []
    for operator in table.tables(3):
        index = operator.number(0, "I")
        if index >= len(codes):
            raise Damaged(f"an operator of kind {index} where {len(codes)} kinds are declared")
        name, custom = codes[index].name, codes[index].custom
        if name == "STABLEHLO_COMPOSITE" and operator.number(11, "B") == _COMPOSITE and (options := operator.table(12)):
            name = options.text(0) or name
        operators.append(Operator(name, custom, operator.integers(1), operator.integers(2)))
    return Graph(
        table.text(4),
        tuple(_tensor(tensor) for tensor in table.tables(0)),
        tuple(operators),
        table.integers(1),
        table.integers(2),
    )


def _tensor(table: Table) -> Tensor:
    shape = table.integers(0)
    if len(shape) > _MOST_DIMENSIONS:
        raise Damaged(f"a tensor of {len(shape)} dimensions")
    number = table.number(1, "b")
    return Tensor(
        table.text(3),
        _names()[0].get(number, f"type {number}"),
        shape,
        table.number(2, "I"),
        _quantization(table.table(4)),
    )


def _quantization(table: Table | None) -> Quantization | None:
    if table is None:
        return None
    dimension = table.number(6, "i")
    if table.number(4, "B") == _BLOCKWISE and (details := table.table(5)):
        none = np.zeros(0, "<f4")
        return Quantization(none, dimension, block=details.number(2, "i"), scales_tensor=details.number(0, "i"))
    scales = table.numbers(2, "<f4")
    return Quantization(scales, dimension, table.vector(2, 4)[0]) if scales.size else None


def _tensor_map(tables: Iterable[Table]) -> dict[str, int]:
    return {entry.text(0): entry.number(1, "I") for entry in tables}


def _misplaced_buffers(model: Model, size: int) -> list[str]:
    bad = [(index, buffer) for index, buffer in enumerate(model.buffers) if buffer.offset + buffer.size > size]
    return [
        f"buffer {index} with {buffer.size} bytes at byte {buffer.offset} of {size}" for index, buffer in bad[:_SHOWN]
    ]


def _bad_indices(model: Model) -> list[str]:
    """Indices that point to nothing."""
    defects = []
    for number, graph in enumerate(model.graphs):
        count, here = len(graph.tensors), f"graph {number}"
        bad = [
            index
            for operator in graph.operators
            for index in (*operator.inputs, *operator.outputs)
            if not -1 <= index < count
        ]
        bad += [index for index in (*graph.inputs, *graph.outputs) if not 0 <= index < count]
        defects += [f"{here} uses tensor {index} of {count}" for index in bad[:_SHOWN]]
        bad = [tensor for tensor in graph.tensors if tensor.buffer >= len(model.buffers)]
        defects += [
            f"{here}: tensor {tensor.name} has buffer {tensor.buffer} of {len(model.buffers)}"
            for tensor in bad[:_SHOWN]
        ]
        bad = [
            tensor
            for tensor in graph.tensors
            if (scheme := tensor.quantization) and scheme.block and not 0 <= scheme.scales_tensor < count
        ]
        defects += [
            f"{here}: the scales of {tensor.name} are tensor {tensor.quantization.scales_tensor} of {count}"
            for tensor in bad[:_SHOWN]
        ]
    bad = [signature for signature in model.signatures if not _is_sound(model, signature)]
    return defects + [
        f"signature {signature.key} names a graph or tensors that are not there" for signature in bad[:_SHOWN]
    ]


def _missized(model: Model) -> list[str]:
    constants = (
        (tensor, model.buffers[tensor.buffer].size)
        for graph in model.graphs
        for tensor in graph.tensors
        if tensor.buffer < len(model.buffers)
    )
    bad = [(tensor, size) for tensor, size in constants if size and tensor.bytes not in (None, size)]
    return [
        f"{tensor.name}, {tensor}, takes {tensor.bytes} bytes, its buffer has {size}" for tensor, size in bad[:_SHOWN]
    ]


def _is_sound(model: Model, signature: Signature) -> bool:
    if signature.graph >= len(model.graphs):
        return False
    count = len(model.graphs[signature.graph].tensors)
    return all(index < count for index in (*signature.inputs.values(), *signature.outputs.values()))
