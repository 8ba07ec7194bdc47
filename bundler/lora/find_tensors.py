"""Converted model and checkpoint -> where the attention weights lie in the file.

A tensor of the file is taken for a layer's matrix only if its every value is that matrix's, rounded.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import Callable

import numpy as np

from bundler.tflite.model import Model
from lora_weights.adapter import PROJECTIONS
from lora_weights.errors import LoraError
from lora_weights.tensor_map import BITS, MappedTensor, dequantize, step_sizes

# How far a stored value may be from the checkpoint's: half a step, and what rounding the step itself adds.
_HALF_STEP = 0.5 + 1 / 32


def find_tensors(
    model: Model, data: bytes | memoryview, layers: int, weights: Callable[[int, str], np.ndarray]
) -> list[MappedTensor]:
    """Find each layer's q, k, v and o in `model`, read from the TFLite file `data` (bytes or a map of it).

    `weights(layer, projection)`: float32 [out, in], as the model was converted with. Raises LoraError when a matrix is
    not in the file, or shares its bytes with another, so that changing one would change both.
    """
    width = weights(0, PROJECTIONS[0]).shape[0]
    candidates, owners = _candidates(model, width)
    rows = {candidate: dequantize(candidate, *_read(data, candidate), rows=1)[0] for candidate in candidates}
    tensors = []
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
            tensors.append(replace(fitting[0], layer=layer, projection=projection))
    if any(len(owners[place]) > 1 for tensor in tensors for place in (tensor.data, tensor.scales) if place is not None):
        raise LoraError(
            "two weight matrices share their bytes in the converted file; adapters cannot be merged into this bundle"
        )
    return tensors


def _candidates(model: Model, width: int) -> tuple[list[MappedTensor], dict[int, set[int]]]:
    """Every constant [width, width], each place once; and for every place of data or scales, the places of the data
    using it.
    """
    candidates: dict[int, MappedTensor] = {}
    owners: defaultdict[int, set[int]] = defaultdict(set)
    for graph in model.graphs:
        scale_tensors = {tensor.quantization.scales_tensor for tensor in graph.tensors if tensor.quantization}
        for number, tensor in enumerate(graph.tensors):
            buffer, scales, block = model.buffers[tensor.buffer], None, 0
            if not buffer.size or number in scale_tensors:
                continue
            if tensor.quantization:
                scales, block = tensor.quantization.scales_offset, tensor.quantization.block
            if block:
                scales = model.buffers[graph.tensors[tensor.quantization.scales_tensor].buffer].offset
            for place in (buffer.offset, scales):
                if place is not None:
                    owners[place].add(buffer.offset)
            if tensor.shape == (width, width) and tensor.type.lower() in BITS:
                candidate = MappedTensor(-1, "", tensor.type.lower(), tensor.shape, buffer.offset, scales, block)
                if candidates.setdefault(buffer.offset, candidate) != candidate:  # signatures with scales of their own
                    owners[buffer.offset].add(-1)
    return list(candidates.values()), owners


def _read(data: bytes | memoryview, tensor: MappedTensor) -> tuple[bytes, bytes]:
    scales = b"" if tensor.scales is None else bytes(data[tensor.scales : tensor.scales + tensor.scales_bytes])
    return bytes(data[tensor.data : tensor.data + tensor.data_bytes]), scales


def _close(
    stored: np.ndarray, expected: np.ndarray, tensor: MappedTensor, data: bytes | memoryview, first: bool = False
) -> bool:
    """Whether `expected` (the first row, or all) rounds to `stored`."""
    if tensor.type == "float32":
        return np.array_equal(stored, expected)
    if tensor.type == "float16":
        return bool((np.abs(stored - expected) <= np.abs(expected) * 2.0**-10 + 2.0**-24).all())
    steps = step_sizes(tensor, _read(data, tensor)[1])[: 1 if first else None]
    difference = np.abs(stored - expected).reshape(len(steps), steps.shape[1], -1)
    return bool((difference <= steps[:, :, None] * _HALF_STEP).all())


def _fits(data: bytes | memoryview, tensor: MappedTensor, expected: np.ndarray) -> bool:
    return _close(dequantize(tensor, *_read(data, tensor)), expected, tensor, data)
