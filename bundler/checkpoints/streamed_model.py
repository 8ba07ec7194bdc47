"""transformers' GPT-2 that holds one layer at a time: the others' weights stay in the checkpoint's files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable

from torch import nn

from bundler.checkpoints.checkpoint import Checkpoint

if TYPE_CHECKING:
    from transformers import GPT2LMHeadModel


def streamed_model(checkpoint: Checkpoint) -> GPT2LMHeadModel:
    """The model of `Checkpoint.reference_model`, with the same results. Every call reads all layers, so it pays to give
    it many tokens at once.

    What is outside of the layers, above all the embedding, stays in memory.
    """
    model = checkpoint.empty_model()
    outside = {name: checkpoint.view(name) for name in checkpoint.names() if not name.startswith("h.")}
    head = outside.pop("lm_head.weight", outside["wte.weight"])
    model.load_state_dict(
        {"lm_head.weight": head, **{f"transformer.{name}": weight for name, weight in outside.items()}},
        strict=False,
        assign=True,
    )
    for layer, block in enumerate(model.transformer.h):
        block.register_forward_pre_hook(_load(checkpoint, f"h.{layer}."))
        block.register_forward_hook(_unload)
    return model.requires_grad_(False)


def _load(checkpoint: Checkpoint, prefix: str) -> Callable[[nn.Module, tuple], None]:
    names = [name for name in checkpoint.names() if name.startswith(prefix)]

    def load(block: nn.Module, arguments: tuple) -> None:
        weights = {name.removeprefix(prefix): checkpoint.view(name) for name in names}
        block.load_state_dict(weights, strict=True, assign=True)
        block.requires_grad_(False)

    return load


def _unload(block: nn.Module, arguments: tuple, output: object) -> None:
    block.to("meta")
