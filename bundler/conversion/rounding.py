"""Weights -> what the file holds of them: how a matrix is rounded to its storage, and the plain way to do it."""

from __future__ import annotations

from typing import Callable, NamedTuple

import numpy as np

from bundler.conversion.recipes import Storage
from lora_weights.rounding import pack_int4, round_weights


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
    values, scales = round_weights(matrix, storage.bits, storage.block)
    return Rounded(values, scales if storage.block else scales[:, 0])


def packed(values: np.ndarray, bits: int) -> bytes:
    """The bytes of a matrix in the file."""
    return pack_int4(values) if bits == 4 else values.tobytes()
