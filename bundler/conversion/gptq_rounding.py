"""How a model's matrices are rounded as they are written: in int4 by GPTQ, else to the nearest value."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from torch import Tensor

from bundler.checkpoints.checkpoint import Checkpoint
from bundler.conversion.calibration import Inputs, layer_hessians
from bundler.conversion.constant_names import parameter_of
from bundler.conversion.gptq import gptq
from bundler.conversion.recipes import Storage
from bundler.conversion.rounding import Rounded, nearest
from bundler.system.file_section import FileSection
from bundler.tflite.model import open_model
from lora_weights.rounding import unpack_int4

_MATRIX = re.compile(r"blocks\.(\d+)\.(\w+)\.weight")


def place_of(name: str) -> tuple[int, str]:
    """The layer of an exported matrix, and which of its `Inputs` the matrix meets."""
    layer, matrix = _MATRIX.fullmatch(name).groups()
    return int(layer), matrix if matrix in Inputs._fields else "qkv"


class GptqRounding:
    """A Rounding by the Hessians of `tokens` [sequences, length]. The layers have to come in their order."""

    def __init__(self, checkpoint: Checkpoint, tokens: Tensor) -> None:
        self._layers = enumerate(layer_hessians(checkpoint, tokens))
        self._layer, self._hessians = next(self._layers)

    def __call__(self, name: str, matrix: np.ndarray, storage: Storage) -> Rounded:
        if storage.bits != 4:
            return nearest(name, matrix, storage)
        layer, part = place_of(name)
        while self._layer < layer:
            self._layer, self._hessians = next(self._layers)
        return gptq(matrix, getattr(self._hessians, part), storage)


class CopiedRounding:
    """A Rounding that takes int4 matrices from a file with the same weights in the same recipe: GPTQ takes its time."""

    def __init__(self, file: Path) -> None:
        model = open_model(FileSection.whole(file))
        self._constants = {
            parameter_of(tensor.name): (model.buffers[tensor.buffer], model.buffers[scales.buffer])
            for graph in model.graphs
            for tensor in graph.tensors
            if tensor.quantization and tensor.quantization.block
            for scales in [graph.tensors[tensor.quantization.scales_tensor]]
        }
        self._data = np.memmap(file, np.uint8, "r")

    def __call__(self, name: str, matrix: np.ndarray, storage: Storage) -> Rounded:
        if storage.bits != 4:
            return nearest(name, matrix, storage)
        values, scales = (self._data[buffer.offset : buffer.offset + buffer.size] for buffer in self._constants[name])
        return Rounded(unpack_int4(values).reshape(matrix.shape), scales.view(np.float16).reshape(len(matrix), -1))
