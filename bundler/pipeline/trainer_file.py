"""A checkpoint -> NAME-trainer.tflite: the graph converted, and the weights written into it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from bundler.checkpoints.checkpoint import Checkpoint
from bundler.conversion.convert import Export, Signatures
from bundler.conversion.exported_weights import TokenRows
from bundler.conversion.recipes import DEFAULT, RECIPES, REFERENCE
from bundler.conversion.trainer import TrainerShape, export_trainer
from bundler.lora.facts import base_of
from bundler.pipeline.worker import Worker, write_weights


def trainer_recipe(recipe: str) -> str:
    """What a trainer's weights are stored in beside a bundle of `recipe`: int8, unless the bundle is exact. Nothing
    dequantizes int4 outside of a product.
    """
    return REFERENCE if RECIPES[recipe].exact else DEFAULT


def write_trainer(
    checkpoint: Checkpoint,
    rows: TokenRows,
    shape: TrainerShape,
    output: Path,
    recipe: str = DEFAULT,
    worker: Worker = Worker(),
) -> None:
    """Write a trainer file of the checkpoint to `output`, in a recipe of `trainer_recipe`."""
    graph = output.with_suffix(".graph")
    export = Export(checkpoint.source.path, checkpoint.folder, rows, Signatures(shape.length, ()))
    try:
        arguments = (export, shape, asdict(base_of(checkpoint)), graph)
        title = f"Converting the training step to TFLite ({output.stem})"
        worker.stage(title, "converting", export_trainer, *arguments)
        write_weights(export, graph, RECIPES[recipe], output, None, worker)
    finally:
        graph.unlink(missing_ok=True)
