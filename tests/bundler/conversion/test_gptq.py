"""GPTQ against its paper's algorithm, and against plain rounding."""

import numpy as np
import pytest
import torch

from bundler.conversion.gptq import DAMPING, best_scales, dequantize, gptq
from bundler.conversion.recipes import INT8, Storage
from bundler.conversion.rounding import nearest
from lora_weights.rounding import RANGES

FORMATS = {"int8": INT8, "int4-block32": Storage(4, 32), "int4-block128": Storage(4, 128)}


def codes_with(matrix: np.ndarray, scales: np.ndarray, storage: Storage) -> np.ndarray:
    """What plain rounding gives with given scales."""
    scales = scales.astype(np.float32).reshape(len(matrix), -1)
    groups = matrix.reshape(*scales.shape, -1)
    return np.clip(np.rint(groups / scales[:, :, None]), *RANGES[storage.bits]).reshape(matrix.shape)


def layer(outputs: int = 96, inputs: int = 256, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A matrix [outputs, inputs] and correlated inputs [tokens, inputs] for it, of unequal sizes."""
    random = np.random.default_rng(seed)
    mixed = random.normal(size=(1000, inputs // 4)) @ random.normal(size=(inputs // 4, inputs))
    values = (mixed + random.normal(size=mixed.shape)) * random.lognormal(size=inputs)
    return random.normal(size=(outputs, inputs)).astype(np.float32) * 0.02, values.astype(np.float32)


def output_error(values: np.ndarray, matrix: np.ndarray, stored: np.ndarray) -> float:
    return float(np.square(values @ (matrix - stored).T, dtype=np.float64).sum())


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("seed", range(3))
def test_outputs_are_closer_than_with_plain_rounding(name, seed):
    matrix, values = layer(seed=seed)
    error = output_error(values, matrix, dequantize(gptq(matrix, values.T @ values, FORMATS[name])))
    assert error < 0.6 * output_error(values, matrix, dequantize(nearest("", matrix, FORMATS[name])))


@pytest.mark.parametrize("name", FORMATS)
def test_independent_inputs_are_rounded_plainly(name):
    matrix, values = layer()
    mass = np.square(values).sum(axis=0)
    rounded = gptq(matrix, np.diag(mass), FORMATS[name])
    np.testing.assert_array_equal(rounded.values, codes_with(matrix, rounded.scales, FORMATS[name]))
    block = FORMATS[name].block or matrix.shape[1]
    for start in range(0, matrix.shape[1], block):
        part = slice(start, start + block)
        np.testing.assert_array_equal(
            rounded.scales.reshape(len(matrix), -1)[:, start // block],
            best_scales(np.ascontiguousarray(matrix[:, part].T), FORMATS[name], (mass + DAMPING * mass.mean())[part]),
        )


def by_the_paper(matrix: np.ndarray, hessian: np.ndarray, scales: np.ndarray, storage: Storage) -> np.ndarray:
    """The codes that algorithm 1 of arXiv 2210.17323 gives with these scales, in float64, without its lazy blocks."""
    weights, hessian = torch.tensor(matrix, dtype=torch.float64), torch.tensor(hessian, dtype=torch.float64)
    hessian.diagonal().add_(0.01 * hessian.diagonal().mean())
    upper = torch.linalg.cholesky(torch.linalg.inv(hessian), upper=True)
    scales = torch.tensor(scales).double().reshape(len(matrix), -1)
    codes = torch.zeros_like(weights)
    for column in range(weights.shape[1]):
        scale = scales[:, column * scales.shape[1] // weights.shape[1]]
        codes[:, column] = (weights[:, column] / scale).round().clamp(*RANGES[storage.bits])
        error = (weights[:, column] - codes[:, column] * scale) / upper[column, column]
        weights[:, column:] -= error[:, None] * upper[column, column:]
    return codes.numpy()


@pytest.mark.parametrize("name", FORMATS)
def test_codes_are_those_of_the_papers_algorithm(name):
    matrix, values = layer(outputs=24)
    rounded = gptq(matrix, values.T @ values, FORMATS[name])
    expected = by_the_paper(matrix, values.T @ values, rounded.scales, FORMATS[name])
    # A value in the middle of two steps goes either way, and what follows in its row goes with it.
    same_rows = (rounded.values == expected).all(axis=1).mean()
    assert same_rows > 0.8


@pytest.mark.parametrize("name", FORMATS)
def test_codes_and_scales_are_what_a_file_holds(name):
    matrix, values = layer()
    matrix[3] *= 50
    matrix[5, 7] = 4.0
    storage, (codes, scales) = FORMATS[name], gptq(matrix, values.T @ values, FORMATS[name])
    assert codes.dtype == np.int8 and codes.shape == matrix.shape
    least, largest = RANGES[storage.bits]
    assert codes.min() >= least and codes.max() <= largest and (scales > 0).all()
    if storage.block:
        assert scales.dtype == np.float16 and scales.shape == (96, 256 // storage.block)
        np.testing.assert_array_equal(scales, torch.tensor(scales).bfloat16().to(torch.float16).numpy())
    else:
        assert scales.dtype == np.float32 and scales.shape == (96,)


@pytest.mark.parametrize("name", FORMATS)
def test_inputs_that_are_never_met_and_weights_of_zero(name):
    matrix, values = layer()
    values[:, 32:200] = 0
    matrix[:, :128] = 0
    matrix[9] = 0
    rounded = gptq(matrix, values.T @ values, FORMATS[name])
    stored = dequantize(rounded)
    assert np.isfinite(stored).all() and (rounded.scales > 0).all()
    assert not stored[9].any() and not stored[:, :128].any()
    # Met or not, every weight keeps about its value.
    assert np.square(stored - matrix)[:, 128:].mean() < np.square(matrix)[:, 128:].mean() / 10
    nothing = gptq(matrix, np.zeros((256, 256), np.float32), FORMATS[name])
    np.testing.assert_array_equal(nothing.values, codes_with(matrix, nothing.scales, FORMATS[name]))


def test_tiny_weights_keep_a_scale_that_fp16_has():
    matrix, values = layer()
    rounded = gptq(matrix * np.float32(1e-9), values.T @ values, Storage(4, 32))
    assert rounded.scales.min() == 2.0**-24 and not rounded.values.any()


def test_blocks_that_do_not_divide_the_inputs_are_refused():
    matrix, values = layer(inputs=160)
    with pytest.raises(ValueError, match="blocks of 128 do not divide 160 inputs"):
        gptq(matrix, values.T @ values, Storage(4, 128))
