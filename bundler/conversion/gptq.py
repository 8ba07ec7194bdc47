"""GPTQ: a matrix rounded so that its products with the inputs that it meets change little.

Rounding to the nearest value treats every weight by itself. GPTQ (Frantar et al. 2022, arXiv 2210.17323) goes from
input to input, and lets the weights of later inputs make up for the errors of earlier ones, as far as the inputs vary
together. What it makes small is ||X (W - Ŵ)^T||² over the inputs X [tokens, in]. Of these it needs the Hessian X^T X.

Let the Hessian be R D R^T, with R upper triangular and a diagonal of ones. For errors E = W - Ŵ [out, in] the sum above
is Σ_j D_j |E_j + Σ_{i<j} E_i R_ij|². So column j is rounded to the nearest after Σ_{i<j} E_i R_ij was added to it. The
result is GPTQ's, and no inverse is needed (Chee et al. 2023, arXiv 2307.13304, theorem 6).
"""

from __future__ import annotations

import numpy as np

from bundler.conversion.recipes import Storage
from bundler.conversion.rounding import Rounded
from lora_weights.rounding import RANGES, SMALLEST_RANGE, block_scales

# Added to the diagonal of a Hessian, as a part of its mean: the paper's value.
DAMPING = 0.01
# The scales that are tried, as parts of the one that reaches a block's largest weight.
CANDIDATES = np.linspace(0.6, 1.05, 13, dtype=np.float32)
_COLUMNS_AT_ONCE = 128


def gptq(matrix: np.ndarray, hessian: np.ndarray, storage: Storage) -> Rounded:
    """Round `matrix` float32 [out, in], whose inputs have this Hessian [in, in], to int8 or int4.

    Raises ValueError where the blocks do not divide the inputs.
    """
    outputs, inputs = matrix.shape
    block = storage.block or inputs
    if inputs % block:
        raise ValueError(f"blocks of {block} do not divide {inputs} inputs")
    at_once = storage.block or _COLUMNS_AT_ONCE
    mass, feedback = _factors(hessian)
    # Inputs come first in all that follows, so that a column of the matrix lies in one piece.
    weights = np.ascontiguousarray(matrix.T)
    errors, codes = np.empty_like(weights), np.empty((inputs, outputs), np.int8)
    scales = np.empty((inputs // block, outputs), np.float32)
    if not storage.block:
        scales[0] = best_scales(weights, storage, mass)
    for start in range(0, inputs, at_once):
        part = slice(start, min(start + at_once, inputs))
        target = weights[part] + feedback[:start, part].T @ errors[:start]
        if storage.block:
            scales[start // block] = best_scales(target, storage, mass[part])
        scale = scales[start // block]
        for column, value in enumerate(target, start):
            value += feedback[start:column, column] @ errors[start:column]
            codes[column] = code = np.clip(np.rint(value / scale), *RANGES[storage.bits])
            errors[column] = weights[column] - code * scale
    values = np.ascontiguousarray(codes.T)
    return Rounded(values, np.ascontiguousarray(scales.T, np.float16) if storage.block else scales[0])


def best_scales(weights: np.ndarray, storage: Storage, mass: np.ndarray) -> np.ndarray:
    """The scale of each column of `weights` [in, out] with the least squared error, inputs counting by `mass` [in].

    float32 [out], of the kind that the file can hold.
    """
    largest = np.float32(RANGES[storage.bits][1])
    bound = np.maximum(np.abs(weights).max(axis=0), SMALLEST_RANGE) / largest
    best, smallest_error = np.empty_like(bound), np.full_like(bound, np.inf)
    for candidate in CANDIDATES:
        scale = bound * candidate
        if storage.block:
            scale = block_scales(scale).astype(np.float32)
        error = np.divide(weights, scale)
        np.clip(np.rint(error, out=error), *RANGES[storage.bits], out=error)
        error *= scale
        error -= weights
        error = mass @ np.square(error, out=error)
        better = error < smallest_error
        best[better], smallest_error[better] = scale[better], error[better]
    return best


def dequantize(rounded: Rounded) -> np.ndarray:
    """float32 [out, in]."""
    scales = rounded.scales.astype(np.float32).reshape(len(rounded.values), -1)
    return (rounded.values.reshape(*scales.shape, -1) * scales[:, :, None]).reshape(rounded.values.shape)


def _factors(hessian: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The diagonal [in] of the damped Hessian, and R [in, in] of its R D R^T."""
    # Turned around, R is the lower factor that there is a function for.
    damped = hessian[::-1, ::-1].astype(np.float64)
    mean = damped.diagonal().mean()
    damped[np.diag_indices_from(damped)] += DAMPING * mean if mean else 1.0
    mass = damped.diagonal()[::-1].astype(np.float32)
    factor = np.linalg.cholesky(damped)
    factor /= factor.diagonal().copy()
    return mass, np.ascontiguousarray(factor[::-1, ::-1], np.float32)
