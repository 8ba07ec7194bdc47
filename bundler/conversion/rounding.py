"""Weights -> what the file holds of them: the numbers of ai-edge-quantizer 0.10 bit by bit, in blocks of rows."""

from __future__ import annotations

from typing import Callable, NamedTuple

import ml_dtypes
import numpy as np

from bundler.conversion.recipes import Storage

# A row of zeros has no range; its scale is that of this one.
SMALLEST_RANGE = np.float32(1e-9)
# The smallest positive float16.
_LEAST_BLOCK_SCALE = np.float16(2.0**-24)


class Rounded(NamedTuple):
    """`values`: [out, in] in the storage's own type, int4 as int8 from -8 to 7. `scales`: float32 [out] for int8,
    float16 [out, in / block] for int4, None for floats.
    """

    values: np.ndarray
    scales: np.ndarray | None = None


# (name of the matrix, float32 [out, in], how it is stored) -> what is stored.
Rounding = Callable[[str, np.ndarray, Storage], Rounded]


def nearest(name: str, matrix: np.ndarray, storage: Storage) -> Rounded:
    """Round every weight to the nearest value there is. `matrix`: float32, whole rows of any number."""
    if storage.bits == 32:
        return Rounded(matrix)
    if storage.bits == 16:
        return Rounded(matrix.astype(np.float16))
    if storage.bits == 8:
        scales = _largest(matrix) / np.float32(127)
        return Rounded(_codes(matrix, scales, -127, 127), scales[:, 0])
    blocks = matrix.reshape(len(matrix), -1, storage.block)
    scales = block_scales(_largest(blocks) / np.float32(7))
    return Rounded(_codes(blocks, scales.astype(np.float32), -8, 7).reshape(matrix.shape), scales[..., 0])


def block_scales(scales: np.ndarray) -> np.ndarray:
    """Scales as a file can hold them for blocks: float16 with a significand of bfloat16's 8 bits, which is what
    XNNPACK's kernels read them as. None is zero: a block of zeros would be divided by it.
    """
    return np.maximum(scales.astype(ml_dtypes.bfloat16).astype(np.float16), _LEAST_BLOCK_SCALE)


def packed(values: np.ndarray, bits: int) -> bytes:
    """The bytes of a matrix in the file: two int4 values to a byte, the first in its lower half."""
    if bits != 4:
        return values.tobytes()
    nibbles = values.reshape(-1).view(np.uint8) & 15
    return (nibbles[0::2] | nibbles[1::2] << 4).tobytes()


def _largest(values: np.ndarray) -> np.ndarray:
    """The largest magnitude along the last axis, which stays, with length 1."""
    return np.maximum(np.maximum(-values.min(-1, keepdims=True), values.max(-1, keepdims=True)), SMALLEST_RANGE)


def _codes(values: np.ndarray, scales: np.ndarray, lowest: int, highest: int) -> np.ndarray:
    codes = np.divide(values, scales)
    np.rint(codes, out=codes)
    return np.clip(codes, lowest, highest, out=codes).astype(np.int8)
