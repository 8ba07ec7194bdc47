"""A random adapter in PEFT's format: it changes everything a little, so a runtime that ignores it is found out."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lora_weights.peft_config import ATTENTION
from lora_weights.peft_folder import write_peft_tensors


def write_random_adapter(folder: Path, layers: int, width: int, rank: int, strength: float, seed: int) -> None:
    """Write an adapter of all attention projections whose deltas have the standard deviation `strength`."""
    generator = np.random.default_rng(seed)
    deviation = np.sqrt(strength / np.sqrt(rank))
    tensors = {}
    for layer in range(layers):
        for module, outputs in zip(ATTENTION, (3 * width, width)):
            for factor, shape in (("A", (rank, width)), ("B", (outputs, rank))):
                values = generator.standard_normal(shape) * deviation
                tensors[f"base_model.model.transformer.h.{layer}.{module}.lora_{factor}.weight"] = values.astype(
                    np.float32
                )
    write_peft_tensors(folder, tensors, rank, rank)
