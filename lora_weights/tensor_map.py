"""Where the attention weights lie in a finished TFLite file: the map by which an adapter is merged, here or on a phone.

It is made when a bundle is built, and stored in it; docs/LORA.md specifies it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Iterable

import numpy as np

from lora_weights.adapter import PROJECTIONS
from lora_weights.errors import LoraError
from lora_weights.rounding import unpack_int4

# Storage types of weights -> bits of a value.
BITS = {"float32": 32, "float16": 16, "int8": 8, "int4": 4}


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


def step_sizes(tensor: MappedTensor, scales: bytes) -> np.ndarray:
    """float32 [out, in / block or 1]: the scales as numbers."""
    return np.frombuffer(scales, "<f2" if tensor.block else "<f4").astype(np.float32).reshape(tensor.shape[0], -1)


def unpack(tensor: MappedTensor, data: bytes) -> np.ndarray:
    """[out, in]: the stored values as they are; int4 as int8."""
    if tensor.type == "int4":
        return unpack_int4(data).reshape(-1, tensor.shape[1])
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
