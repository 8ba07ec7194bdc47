"""An adapter as one vector: what a trainer on a device holds, in place of four matrices for each layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Mapping

import numpy as np

from lora_weights.peft_config import ATTENTION

FACTORS = "AB"


@dataclass(frozen=True)
class FlatAdapter:
    """Where PEFT's matrices lie in the vector, for all layers: lora_A [rank, width] and lora_B [outputs, rank] of
    attn.c_attn (3 * width outputs), then of attn.c_proj (width), layer by layer, row after row.
    """

    layers: int
    width: int
    rank: int

    def shapes(self) -> dict[str, tuple[int, int]]:
        """Every matrix by PEFT's name for it, in order."""
        return {
            f"base_model.model.transformer.h.{layer}.{module}.lora_{factor}.weight": shape
            for layer in range(self.layers)
            for module, outputs in zip(ATTENTION, (3 * self.width, self.width))
            for factor, shape in zip(FACTORS, ((self.rank, self.width), (outputs, self.rank)))
        }

    @property
    def count(self) -> int:
        """How many numbers the vector has."""
        return sum(rows * columns for rows, columns in self.shapes().values())

    def places(self) -> list[tuple[int, tuple[int, int]]]:
        """(start, shape) of each matrix."""
        places, start = [], 0
        for rows, columns in self.shapes().values():
            places.append((start, (rows, columns)))
            start += rows * columns
        return places

    def matrices(self, vector: np.ndarray) -> dict[str, np.ndarray]:
        """The matrices in `vector`, float32 [count], by PEFT's names."""
        return {
            name: vector[start : start + shape[0] * shape[1]].reshape(shape)
            for name, (start, shape) in zip(self.shapes(), self.places())
        }

    def vector(self, matrices: Mapping[str, np.ndarray]) -> np.ndarray:
        """float32 [count], of matrices by PEFT's names."""
        return np.concatenate([np.asarray(matrices[name], np.float32).reshape(-1) for name in self.shapes()])

    def start(self, seed: int) -> np.ndarray:
        """Where a training begins: A uniform within 1 / sqrt(width), as in PEFT, and B zero. All layers begin alike, so
        that a file can hold what they begin with.
        """
        generator = np.random.default_rng(seed)
        bound = self.width**-0.5
        of_layer = np.concatenate(
            [
                generator.uniform(-bound, bound, rows * columns) if ".lora_A." in name else np.zeros(rows * columns)
                for name, (rows, columns) in FlatAdapter(1, self.width, self.rank).shapes().items()
            ]
        )
        return np.tile(of_layer.astype(np.float32), self.layers)
