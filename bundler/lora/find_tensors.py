"""A converted model -> where the attention weights lie in its file.

The conversion names every constant after the parameter it is, so the names alone say which is which. That merging into
them does what it should is a gate of its own.
"""

from __future__ import annotations

from typing import Iterable

from bundler.conversion.constant_names import matrix_name, parameter_of
from bundler.tflite.model import Graph, Model, Tensor
from lora_weights.adapter import PROJECTIONS
from lora_weights.tensor_map import MappedTensor


def find_tensors(model: Model, layers: int) -> list[MappedTensor]:
    """Find each layer's q, k, v and o in a `model` that this package converted; KeyError where one is missing."""
    return find_matrices(model, [(layer, projection) for layer in range(layers) for projection in PROJECTIONS])


def find_matrices(model: Model, places: Iterable[tuple[int, str]]) -> list[MappedTensor]:
    """Find these matrices of layers, by the names of exported_weights.matrix_name; KeyError where one is missing."""
    constants = {
        parameter_of(tensor.name): (graph, tensor)
        for graph in model.graphs
        for tensor in graph.tensors
        if model.buffers[tensor.buffer].size
    }
    return [
        _mapped(model, *constants[matrix_name(layer, projection)], layer, projection) for layer, projection in places
    ]


def _mapped(model: Model, graph: Graph, tensor: Tensor, layer: int, projection: str) -> MappedTensor:
    quantization, scales, block = tensor.quantization, None, 0
    if quantization:
        scales, block = quantization.scales_offset, quantization.block
    if block:
        scales = model.buffers[graph.tensors[quantization.scales_tensor].buffer].offset
    shape, data = tensor.shape, model.buffers[tensor.buffer].offset
    return MappedTensor(layer, projection, tensor.type.lower(), shape, data, scales, block)
