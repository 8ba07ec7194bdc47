"""Checkpoint and converted model -> what the bundle says about LoRA: its base, the ranks, where its attention weights
lie.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from bundler.checkpoints.checkpoint import Checkpoint
from bundler.containers.lora_manifest import FORMAT, UNMERGED
from bundler.conversion.exported_weights import query_scale
from bundler.conversion.recipes import RECIPES
from bundler.lora.find_tensors import find_tensors
from bundler.system.file_section import FileSection
from bundler.tflite.model import open_model
from lora_weights.adapter import Base
from lora_weights.tensor_map import map_to_json


def weights_fingerprint(checkpoint: Checkpoint) -> str:
    """SHA-256 over every tensor's canonical name and its float32 values, in the model's order; reads all weights."""
    digest = hashlib.sha256()
    for name in checkpoint.names():
        digest.update(f"{name}\0".encode())
        digest.update(memoryview(checkpoint.view(name).numpy()).cast("B"))
    return digest.hexdigest()


def base_of(checkpoint: Checkpoint) -> Base:
    """What adapters have to fit, from the checkpoint."""
    architecture = checkpoint.architecture
    return Base(
        architecture.layers,
        architecture.width,
        tuple(query_scale(architecture, layer) for layer in range(architecture.layers)),
        weights_fingerprint(checkpoint),
    )


def lora_facts(base: Base, model: Path, recipe: str, ranks: tuple[int, ...]) -> dict:
    """The manifest's entry `lora` for a .task whose TFLite part is `model`; docs/LORA.md specifies it.

    A model into which nothing can be merged has `unmergeable`, the reason, in the place of `tensors`.
    """
    facts = {
        "format": FORMAT,
        "base_fingerprint": base.fingerprint,
        "layers": base.layers,
        "width": base.width,
        "query_scale": list(base.query_scale),
        "ranks": list(ranks),
        "merged_adapter": UNMERGED,
    }
    if RECIPES[recipe].calibrated:
        return {**facts, "unmergeable": f"{recipe} ties biases to the scales of the weights; build with another recipe"}

    tensors = find_tensors(open_model(FileSection.whole(model)), base.layers)
    return {**facts, "tensors": map_to_json(tensors)}
