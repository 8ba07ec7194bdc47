"""Where the attention weights lie in a finished TFLite file: what merging into a bundle, here or on a phone, goes by.

The map is made when a bundle is built, while the checkpoint's weights are at hand: a tensor of the file is taken for a
layer's matrix only if its every value is that matrix's, rounded. It is stored in the bundle; docs/LORA.md specifies it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Callable, Iterable

import numpy as np

from lora_weights.adapter import PROJECTIONS
from lora_weights.errors import LoraError

# Storage types of weights -> bits of a value.
BITS = {"float32": 32, "float16": 16, "int8": 8, "int4": 4}
# How far a stored value may be from the checkpoint's: half a step, and what rounding the step itself adds.
_HALF_STEP = 0.5 + 1 / 32


@dataclass(frozen=True)
class MappedTensor:
    """One weight matrix [out, in], row after row. Offsets are in bytes from the start of the TFLite file.

    `scales` is where the float32 scale of each row lies (`block` 0), or the float16 scale of each `block` values of a
    row; None for floats. There is one copy of each, whatever the number of signatures.
    """

    layer: int
    projection: str
    type: str
    shape: tuple[int, int]
    data: int
    scales: int | None = None
    block: int = 0

    @property
    def data_bytes(self) -> int:
        return self.shape[0] * self.shape[1] * BITS[self.type] // 8

    @property
    def scales_bytes(self) -> int:
        if self.scales is None:
            return 0
        return self.shape[0] * 4 if not self.block else self.shape[0] * self.shape[1] // self.block * 2


def map_to_json(tensors: Iterable[MappedTensor]) -> list[dict]:
    return [
        {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(tensor).items()}
        for tensor in tensors
    ]


def map_from_json(entries: list[dict], layers: int, width: int, file_bytes: int) -> list[MappedTensor]:
    """The map of a bundle. Raises LoraError unless it names each layer's four matrices once, apart, inside the file."""
    try:
        tensors = [MappedTensor(**{**entry, "shape": tuple(entry["shape"])}) for entry in entries]
        spans = sorted(
            span
            for tensor in tensors
            for span in ((tensor.data, tensor.data_bytes), (tensor.scales or 0, tensor.scales_bytes))
            if span[1]
        )
        sound = (
            len(tensors) <= layers * len(PROJECTIONS)
            and {(tensor.layer, tensor.projection) for tensor in tensors}
            == {(i, name) for i in range(layers) for name in PROJECTIONS}
            and all(
                tensor.shape == (width, width)
                and (not tensor.block or width % tensor.block == 0)
                and (tensor.scales is None) == (tensor.type in ("float32", "float16"))
                for tensor in tensors
            )
            and all(
                start >= 0 and start + size <= end
                for (start, size), end in zip(spans, [*(at for at, _ in spans[1:]), file_bytes])
            )
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise LoraError(f"the bundle's map of tensors is damaged ({error}); build the bundle again") from error
    if not sound:
        raise LoraError(
            f"the bundle's map of tensors does not describe {layers} layers of width {width} in a model of "
            f"{file_bytes} bytes; build the bundle again"
        )
    return tensors


def find_tensors(data, layers: int, weights: Callable[[int, str], np.ndarray]) -> list[MappedTensor]:
    """Find each layer's q, k, v and o in the TFLite file `data` (bytes or a map of it).

    `weights(layer, projection)`: float32 [out, in], as the model was converted with. Raises LoraError when a matrix is
    not in the file, or shares its bytes with another, so that changing one would change both.
    """
    width = weights(0, PROJECTIONS[0]).shape[0]
    candidates, owners = _candidates(data, width)
    rows = {candidate: dequantize(candidate, *_read(data, candidate), rows=1)[0] for candidate in candidates}
    found = []
    for layer in range(layers):
        for projection in PROJECTIONS:
            expected = weights(layer, projection)
            fitting = [
                candidate
                for candidate in candidates
                if _close(rows[candidate], expected[0], candidate, data, first=True)
                and _fits(data, candidate, expected)
            ]
            if len(fitting) != 1:
                raise LoraError(
                    f"the {projection} weights of layer {layer} are in the converted file {len(fitting) or 'no'} "
                    "times, expected once; adapters cannot be merged into this bundle"
                )
            found.append(MappedTensor(**{**asdict(fitting[0]), "layer": layer, "projection": projection}))
    if any(len(owners[place]) > 1 for tensor in found for place in (tensor.data, tensor.scales) if place is not None):
        raise LoraError(
            "two weight matrices share their bytes in the converted file; adapters cannot be merged into this bundle"
        )
    return found


def _candidates(data, width: int) -> tuple[list[MappedTensor], dict[int, set[int]]]:
    """Every constant [width, width], each place once; and for every place of data or scales, the places of the data
    using it.
    """
    from ai_edge_litert import schema_py_generated as schema

    types = {
        schema.TensorType.FLOAT32: "float32",
        schema.TensorType.FLOAT16: "float16",
        schema.TensorType.INT8: "int8",
        schema.TensorType.INT4: "int4",
    }
    model = schema.Model.GetRootAs(data, 0)

    def place(index: int) -> int | None:
        buffer = model.Buffers(index)
        if buffer.Offset() > 1:
            return buffer.Offset()
        return buffer._tab.Vector(buffer._tab.Offset(4)) if buffer.DataLength() else None

    candidates, owners = {}, {}
    for index in range(model.SubgraphsLength()):
        graph = model.Subgraphs(index)
        tensors = [graph.Tensors(number) for number in range(graph.TensorsLength())]
        blocks = {number: _blockwise(schema, tensor) for number, tensor in enumerate(tensors)}
        scale_tensors = {details.Scales() for details in blocks.values() if details}
        for number, tensor in enumerate(tensors):
            at, shape = (
                place(tensor.Buffer()),
                tuple(int(size) for size in tensor.ShapeAsNumpy()) if tensor.ShapeLength() else (),
            )
            if at is None or number in scale_tensors:
                continue
            scales, block = None, 0
            if details := blocks[number]:
                scales, block = place(tensors[details.Scales()].Buffer()), details.BlockSize()
            elif (quantization := tensor.Quantization()) and quantization.ScaleLength():
                scales = quantization._tab.Vector(
                    quantization._tab.Offset(8)
                )  # 8: the place of `scale` in the table's vtable
            owners.setdefault(at, set()).add(at)
            if scales is not None:
                owners.setdefault(scales, set()).add(at)
            if shape == (width, width) and tensor.Type() in types:
                found = MappedTensor(-1, "", types[tensor.Type()], shape, at, scales, block)
                if candidates.setdefault(at, found) != found:  # two signatures with scales of their own
                    owners[at].add(-1)
    return list(candidates.values()), owners


def _blockwise(schema, tensor):
    """A tensor's BlockwiseQuantization table, or None."""
    quantization = tensor.Quantization()
    if not quantization or quantization.DetailsType() != schema.QuantizationDetails.BlockwiseQuantization:
        return None
    details = schema.BlockwiseQuantization()
    details.Init(quantization.Details().Bytes, quantization.Details().Pos)
    return details


def _read(data, tensor: MappedTensor) -> tuple[bytes, bytes]:
    scales = b"" if tensor.scales is None else bytes(data[tensor.scales : tensor.scales + tensor.scales_bytes])
    return bytes(data[tensor.data : tensor.data + tensor.data_bytes]), scales


def step_sizes(tensor: MappedTensor, scales: bytes) -> np.ndarray:
    """float32 [out, in / block or 1]: the scales as numbers."""
    return np.frombuffer(scales, "<f2" if tensor.block else "<f4").astype(np.float32).reshape(tensor.shape[0], -1)


def unpack(tensor: MappedTensor, data: bytes) -> np.ndarray:
    """[out, in]: the stored values as they are; int4 as int8."""
    if tensor.type == "int4":  # the low four bits first
        packed = np.frombuffer(data, np.int8)
        return np.stack([packed << 4 >> 4, packed >> 4], axis=1).reshape(-1, tensor.shape[1])
    return np.frombuffer(data, {"float32": "<f4", "float16": "<f2", "int8": "i1"}[tensor.type]).reshape(
        -1, tensor.shape[1]
    )


def dequantize(tensor: MappedTensor, data: bytes, scales: bytes, rows: int | None = None) -> np.ndarray:
    """float32 [out, in]: the weights that the stored values mean; only the first `rows`, if given."""
    values = unpack(tensor, data)[:rows].astype(np.float32)
    if tensor.scales is None:
        return values
    steps = step_sizes(tensor, scales)[: len(values)]
    return (values.reshape(len(values), steps.shape[1], -1) * steps[:, :, None]).reshape(values.shape)


def _close(found: np.ndarray, expected: np.ndarray, tensor: MappedTensor, data, first: bool = False) -> bool:
    """Whether `expected` (the first row, or all) rounds to `found`."""
    if tensor.type == "float32":
        return np.array_equal(found, expected)
    if tensor.type == "float16":
        return bool((np.abs(found - expected) <= np.abs(expected) * 2.0**-10 + 2.0**-24).all())
    steps = step_sizes(tensor, _read(data, tensor)[1])[: 1 if first else None]
    difference = np.abs(found - expected).reshape(len(steps), steps.shape[1], -1)
    return bool((difference <= steps[:, :, None] * _HALF_STEP).all())


def _fits(data, tensor: MappedTensor, expected: np.ndarray) -> bool:
    return _close(dequantize(tensor, *_read(data, tensor)), expected, tensor, data)
