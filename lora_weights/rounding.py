"""Weights -> the int8 and int4 values that a TFLite file holds of them, and their bytes: the numbers of
ai-edge-quantizer 0.10, bit by bit.
"""

from __future__ import annotations

import numpy as np

# The least and the largest value of as many bits; XNNPACK does without -128.
RANGES = {8: (-127, 127), 4: (-8, 7)}
# A row of zeros has no range; its scale is that of this one.
SMALLEST_RANGE = np.float32(1e-9)
# The smallest positive float16.
_LEAST_BLOCK_SCALE = np.float16(2.0**-24)


def round_weights(matrix: np.ndarray, bits: int, block: int) -> tuple[np.ndarray, np.ndarray]:
    """(the values nearest to a float32 matrix [out, in], as int8; the scale of each block of inputs [out, blocks]).

    Scales are float16 if there are blocks. `block` 0: a row has one scale, float32.
    """
    groups = matrix.reshape(len(matrix), -1, block or matrix.shape[1])
    largest = np.maximum(-groups.min(-1), groups.max(-1))
    scales = np.maximum(largest, SMALLEST_RANGE) / np.float32(RANGES[bits][1])
    if block:
        scales = block_scales(scales)
    values = np.divide(groups, scales.astype(np.float32)[:, :, None])
    np.clip(np.rint(values, out=values), *RANGES[bits], out=values)
    return values.astype(np.int8).reshape(matrix.shape), scales


def block_scales(scales: np.ndarray) -> np.ndarray:
    """float32 scales as a file can hold them for blocks: float16 with a significand of bfloat16's 8 bits, which is what
    XNNPACK's kernels read them as. None is zero: a block of zeros would be divided by it.
    """
    bits = scales.view(np.uint32)
    bfloat16 = ((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).view(np.float32)  # half to even
    return np.maximum(bfloat16.astype(np.float16), _LEAST_BLOCK_SCALE)


def pack_int4(values: np.ndarray) -> bytes:
    """The bytes of int8 values from -8 to 7: two to a byte, the first in its lower half."""
    halves = values.reshape(-1).view(np.uint8) & 15
    return (halves[0::2] | halves[1::2] << 4).tobytes()


def unpack_int4(data: bytes | np.ndarray) -> np.ndarray:
    """int8, flat: the values that `pack_int4` was given."""
    packed = np.frombuffer(data, np.int8)
    return np.stack([packed << 4 >> 4, packed >> 4], axis=1).reshape(-1)
