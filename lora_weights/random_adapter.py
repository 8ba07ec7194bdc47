"""A random adapter in PEFT's format: it changes everything a little, so a runtime that ignores it is found out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from lora_weights.peft_adapter import SAFETENSORS
from lora_weights.peft_config import ATTENTION, CONFIG


def write_random_adapter(folder: Path, layers: int, width: int, rank: int, strength: float, seed: int) -> None:
    """Write an adapter of all attention projections whose deltas have the standard deviation `strength`."""
    from safetensors.numpy import save_file

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
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": rank,
        "lora_alpha": rank,
        "target_modules": list(ATTENTION),
        "fan_in_fan_out": True,
        "bias": "none",
        "inference_mode": True,
    }
    (folder / CONFIG).write_text(json.dumps(config))
    save_file(tensors, folder / SAFETENSORS, {"format": "pt"})
