"""Merging arithmetic: against a plain loop that follows docs/LORA.md line by line, and on every way of storing
weights.
"""

import struct

import numpy as np
import pytest

from lora_weights.errors import LoraError
from lora_weights.merge import delta, merge_tensor
from lora_weights.tensor_map import MappedTensor, dequantize, map_from_json, map_to_json

OUT, IN, RANK = 6, 64, 5
TYPES = [("float32", 0), ("float16", 0), ("int8", 0), ("int4", 32)]


def stored(type_, block, weights):
    """The tensor, its bytes and its scales' bytes, as ai-edge-quantizer would have stored `weights`."""
    tensor = MappedTensor(0, "q", type_, weights.shape, 0, None if type_.startswith("float") else 100_000, block)
    if type_.startswith("float"):
        return tensor, weights.astype(type_).tobytes(), b""
    groups = weights.reshape(len(weights), -1, block or weights.shape[1])
    steps = np.abs(groups).max(axis=2) / np.float32(127 if type_ == "int8" else 7)
    if block:
        steps = (steps.view(np.uint32) + 0x8000 & 0xFFFF0000).view(np.float32)
    values = np.clip(
        np.rint(groups / steps[:, :, None]), -127 if type_ == "int8" else -8, 127 if type_ == "int8" else 7
    ).astype(np.int8)
    flat = values.reshape(-1)
    data = (
        flat.tobytes()
        if type_ == "int8"
        else bytes((low & 15) | (high & 15) << 4 for low, high in zip(flat[::2].tolist(), flat[1::2].tolist()))
    )
    return tensor, data, steps.astype("<f2" if block else "<f4").tobytes()


def by_the_book(tensor, data, scales, a, b):
    """docs/LORA.md with Python's floats (float64) and explicit roundings, one value at a time."""

    def f32(x):
        return struct.unpack("<f", struct.pack("<f", x))[0]

    out, width = tensor.shape
    group = tensor.block or width
    steps = [f32(x) for x in np.frombuffer(scales, "<f2" if tensor.block else "<f4").tolist()]
    if tensor.type == "int4":
        values = [((byte >> shift & 15) ^ 8) - 8 for byte in data for shift in (0, 4)]
    else:
        values = np.frombuffer(data, {"float32": "<f4", "float16": "<f2", "int8": "i1"}[tensor.type]).tolist()
    for row in range(out):
        for first in range(0, width, group):
            change = []
            for column in range(first, first + group):
                total = 0.0
                for k in range(len(b)):
                    total += float(b[k, row]) * float(a[column, k])
                change.append(f32(total))
            if not any(change):
                continue
            index = row * (width // group) + first // group
            at = row * width + first
            weights = [
                f32(f32(values[at + i] * steps[index]) + change[i]) if steps else f32(values[at + i] + change[i])
                for i in range(group)
            ]
            if not steps:
                values[at : at + group] = weights
                continue
            bound, largest, smallest = (
                max(1e-9, *map(abs, weights)),
                *((127, -127) if tensor.type == "int8" else (7, -8)),
            )
            steps[index] = f32(f32(bound) / largest)
            if tensor.block:
                bits = struct.unpack("<I", struct.pack("<f", steps[index]))[0]
                bits = bits + 0x7FFF + (bits >> 16 & 1) & 0xFFFF0000
                steps[index] = float(np.float16(struct.unpack("<f", struct.pack("<I", bits))[0]))
            values[at : at + group] = [
                min(largest, max(smallest, round(f32(weight / steps[index])))) for weight in weights
            ]
    if tensor.type == "int4":
        packed = bytes((low & 15) | (high & 15) << 4 for low, high in zip(values[::2], values[1::2]))
    else:
        packed = np.array(values).astype({"float32": "<f4", "float16": "<f2", "int8": "i1"}[tensor.type]).tobytes()
    return packed, np.array(steps).astype("<f2" if tensor.block else "<f4").tobytes()


@pytest.fixture
def factors():
    generator = np.random.default_rng(7)
    a, b = (
        generator.standard_normal((IN, RANK)).astype(np.float32),
        generator.standard_normal((RANK, OUT)).astype(np.float32),
    )
    b[:, 2] = 0  # an output that the adapter leaves alone
    return a, b * np.float32(0.1)


@pytest.mark.parametrize("type_, block", TYPES)
@pytest.mark.parametrize("seed", range(3))
def test_the_bytes_are_those_of_the_specification(type_, block, seed, factors):
    weights = np.random.default_rng(seed).standard_normal((OUT, IN)).astype(np.float32)
    tensor, data, scales = stored(type_, block, weights)
    assert merge_tensor(tensor, data, scales, *factors) == by_the_book(tensor, data, scales, *factors)


@pytest.mark.parametrize("type_, block", TYPES)
def test_merged_weights_are_the_sum_up_to_half_a_step(type_, block, factors):
    weights = np.random.default_rng(1).standard_normal((OUT, IN)).astype(np.float32)
    tensor, data, scales = stored(type_, block, weights)
    a, b = factors
    sums = dequantize(tensor, data, scales) + (a @ b).T
    merged = dequantize(tensor, *merge_tensor(tensor, data, scales, a, b))
    bound = {
        "float32": 1e-6,
        "float16": 4e-3,
        "int8": np.abs(sums).max() / 127 * 0.51,
        "int4": np.abs(sums).max() / 7 * 0.53,
    }[type_]
    assert np.abs(merged - sums).max() <= bound


@pytest.mark.parametrize("type_, block", TYPES)
def test_zeros_change_no_byte(type_, block, factors):
    """Also where requantizing would: a scale that is not the row's largest over 127, a negative zero."""
    weights = np.random.default_rng(2).standard_normal((OUT, IN)).astype(np.float32)
    weights[0, 0] = -0.0
    tensor, data, scales = stored(type_, block, weights)
    if scales:
        scales = (np.frombuffer(scales, "<f2" if block else "<f4") * 3).astype("<f2" if block else "<f4").tobytes()
    a, b = factors
    assert merge_tensor(tensor, data, scales, a, b * 0) == (data, scales)
    changed, changed_scales = merge_tensor(tensor, data, scales, a, b)
    row = len(data) // OUT
    assert changed[2 * row : 3 * row] == data[2 * row : 3 * row] and (changed, changed_scales) != (data, scales)


def test_the_sum_is_taken_in_order_and_in_float64():
    a = np.array([[1.0, 2.0**60, -(2.0**60)]], np.float32)
    b = np.ones((3, 1), np.float32)
    assert delta(a, b)[0, 0] == 0  # the 1 is lost in the first sum; from the other end it would be left
    a = np.array([[2.0**25, 1.0, -(2.0**25)]], np.float32)  # float32 would lose the 1
    assert delta(a, b)[0, 0] == 1


def test_a_weight_too_large_for_its_type_is_refused(factors):
    weights = np.full((OUT, IN), 60000, np.float32)
    tensor, data, scales = stored("float16", 0, weights)
    a, b = factors
    with pytest.raises(LoraError, match="layer 0, q: .*float16"):
        merge_tensor(tensor, data, scales, a * 1000, b * 1000)


def test_rows_of_zeros_get_an_adapter_too(factors):
    tensor, data, scales = (
        MappedTensor(0, "q", "int8", (OUT, IN), 0, 9),
        bytes(OUT * IN),
        np.zeros(OUT, "<f4").tobytes(),
    )
    a, b = factors
    merged = dequantize(tensor, *merge_tensor(tensor, data, scales, a, b))
    np.testing.assert_allclose(merged, (a @ b).T, atol=np.abs(a @ b).max() / 127)


def entries(**changes):
    tensors = [
        MappedTensor(0, projection, "int8", (32, 32), 1000 + 2000 * index, 100 + 128 * index)
        for index, projection in enumerate("qkvo")
    ]
    return [{**entry, **(changes if index == 1 else {})} for index, entry in enumerate(map_to_json(tensors))]


def test_a_map_survives_the_manifest():
    assert map_to_json(map_from_json(entries(), 1, 32, 10_000)) == entries()


@pytest.mark.parametrize(
    "changes",
    [
        {"data": 1000},
        {"data": 9_500},
        {"data": -5},
        {"scales": 100},
        {"scales": None},
        {"projection": "q"},
        {"layer": 1},
        {"shape": [32, 64]},
        {"type": "int2"},
        {"block": 7},
        {"extra": 1},
        {"data": "x"},
    ],
)
def test_a_map_that_leads_elsewhere_is_refused(changes):
    with pytest.raises(LoraError, match="map of tensors"):
        map_from_json(entries(**changes), 1, 32, 10_000)
