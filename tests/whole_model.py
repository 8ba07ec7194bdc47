"""Small models: converted in one call, and as the module that is converted, with its weights."""

from pathlib import Path

import torch

from bundler.checkpoints.checkpoint import Checkpoint
from bundler.conversion.convert import Signatures, convert_graph, fill_graph
from bundler.conversion.exported_weights import ExportedWeight, TokenRows, exported_weights
from bundler.conversion.gpt2 import ExportableGPT2, weightless
from bundler.conversion.recipes import RECIPES
from bundler.system.temporary_folder import temporary_folder


def convert(checkpoint: Checkpoint, rows: TokenRows, signatures: Signatures, recipe: str, output: Path) -> None:
    """Write the checkpoint's TFLite model in a recipe that is not calibrated, in this process."""
    with temporary_folder("graph") as folder:
        graph = Path(folder) / "graph.tflite"
        convert_graph(checkpoint.architecture, rows, signatures, graph)
        fill_graph(graph, exported_weights(checkpoint, signatures.context, rows), RECIPES[recipe], output)


def load_exportable(checkpoint: Checkpoint, context: int, rows: TokenRows) -> ExportableGPT2:
    """The module with the checkpoint's weights in fp32."""
    model = weightless(checkpoint.architecture, context, rows)
    weights = {name: read(weight) for name, weight in exported_weights(checkpoint, context, rows).items()}
    if checkpoint.architecture.tied_head:
        weights["head.weight"] = weights["wte.weight"]
    model.load_state_dict(weights, strict=True, assign=True)
    if checkpoint.architecture.tied_head:
        model.head.weight = model.wte.weight
    return model.requires_grad_(False).eval()


def read(weight: ExportedWeight) -> torch.Tensor:
    """All of a weight."""
    return torch.cat(list(weight.blocks()))
