"""An adapter into the weights of a finished TFLite file: dequantize, add, requantize, byte for byte as specified.

The arithmetic is specified in docs/LORA.md ("Merging into a bundle") so that another implementation, such as an
app's, writes the same bytes; tests/lora_weights/vectors holds examples. What runs here at a time is one matrix.
"""

from __future__ import annotations

from typing import Callable, Iterator, Sequence

import numpy as np

from lora_weights.adapter import tensor_name
from lora_weights.adapter_file import AdapterFile
from lora_weights.errors import LoraError
from lora_weights.rounding import pack_int4, round_weights
from lora_weights.tensor_map import BITS, MappedTensor, dequantize, step_sizes, unpack

# Few enough rows that the float64 sums stay in a core's cache.
ROWS_AT_ONCE = 64


def merge_patches(
    tensors: Sequence[MappedTensor], read: Callable[[int, int], bytes], adapter: AdapterFile
) -> Iterator[tuple[int, bytes]]:
    """Yield (offset, bytes) for everything an adapter changes in a TFLite file.

    `read(offset, size)` gives the file's bytes. Raises LoraError if a merged weight does not fit its type.
    """
    for tensor in tensors:
        a, b = (adapter.tensors[tensor_name(tensor.projection, factor, tensor.layer)] for factor in "ab")
        if a.any() and b.any():
            yield from tensor_patches(tensor, read, a, b)


def tensor_patches(
    tensor: MappedTensor, read: Callable[[int, int], bytes], a: np.ndarray, b: np.ndarray
) -> Iterator[tuple[int, bytes]]:
    """What x @ a @ b changes in the file, as `merge_patches` yields it."""
    data = read(tensor.data, tensor.data_bytes)
    scales = b"" if tensor.scales is None else read(tensor.scales, tensor.scales_bytes)
    merged, merged_scales = merge_tensor(tensor, data, scales, a, b)
    yield tensor.data, merged
    if tensor.scales is not None:
        yield tensor.scales, merged_scales


def merge_tensor(tensor: MappedTensor, data: bytes, scales: bytes, a: np.ndarray, b: np.ndarray) -> tuple[bytes, bytes]:
    """The bytes of a matrix and of its scales after adding x @ a @ b; a [in, rank] and b [rank, out], float32."""
    change = delta(a, b)
    with np.errstate(over="ignore"):
        weights = dequantize(tensor, data, scales) + change
        values, steps = _store(tensor, weights)
    if not all(np.isfinite(numbers).all() for numbers in (weights, values, steps) if numbers is not None):
        raise LoraError(
            f"layer {tensor.layer}, {tensor.projection}: a merged weight exceeds what {tensor.type} can hold; the "
            "adapter is too strong for this bundle: build one with float32 weights, or train the adapter with a "
            "smaller alpha"
        )
    # What shares a scale and is not changed keeps its bytes: an adapter of zeros changes nothing at all.
    groups = (tensor.shape[0], tensor.shape[1] // tensor.block if tensor.block else 1, -1)
    same = ~change.reshape(groups).any(axis=2)
    values = np.where(same[:, :, None], unpack(tensor, data).reshape(groups), values.reshape(groups)).reshape(
        tensor.shape
    )
    if steps is not None:
        steps = np.where(same, step_sizes(tensor, scales), steps).astype("<f2" if tensor.block else "<f4")
    packed = pack_int4(values) if tensor.type == "int4" else values.tobytes()
    return packed, b"" if steps is None else steps.tobytes()


def delta(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """float32 [out, in]: sum over k of b[k, o] * a[i, k], k ascending, in float64, rounded once."""
    # A product of two float32 is exact in float64, so only the order of the additions matters: no matrix product here.
    left, right = np.ascontiguousarray(b.T, np.float64), np.ascontiguousarray(a.T, np.float64)
    result = np.empty((len(left), right.shape[1]), np.float32)
    for start in range(0, len(left), ROWS_AT_ONCE):
        rows = left[start : start + ROWS_AT_ONCE]
        total = np.zeros((len(rows), right.shape[1]))
        for k in range(len(right)):
            total += rows[:, k : k + 1] * right[k]
        result[start : start + len(rows)] = total
    return result


def _store(tensor: MappedTensor, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """The values of the tensor's type nearest to `weights`, and their scales [out, groups]."""
    if tensor.scales is None:
        return weights.astype({"float32": "<f4", "float16": "<f2"}[tensor.type]), None
    return round_weights(weights, BITS[tensor.type], tensor.block)
