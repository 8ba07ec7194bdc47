"""transformers' GPT-2 that holds one layer at a time: the others' weights stay in the checkpoint's files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable

from torch import Tensor, nn
from torch.nn import functional

from bundler.checkpoints.checkpoint import Checkpoint
from bundler.system.heap import trim_heap

if TYPE_CHECKING:
    from transformers import GPT2LMHeadModel

HEAD_ROWS = 8192  # 25 MB of GPT-2 124M
# What layers leave in malloc's heap is given back after so many of them: 256 tokens of GPT-2 124M left 70 MB in twelve.
_LAYERS_A_TRIM = 2


def streamed_model(checkpoint: Checkpoint) -> GPT2LMHeadModel:
    """The model of `Checkpoint.reference_model`, with the same results. Every call reads all layers, so it pays to give
    it many tokens at once.
    """
    model = checkpoint.empty_model()
    model.transformer.wte, model.lm_head = _Embedding(checkpoint), _Head(checkpoint)
    for layer, block in enumerate(model.transformer.h):
        block.register_forward_pre_hook(_load(checkpoint, f"h.{layer}."))
        block.register_forward_hook(_unload)
        if layer % _LAYERS_A_TRIM == 0:
            block.register_forward_hook(_trim)
    outside = [name for name in checkpoint.names() if not name.startswith(("h.", "wte.", "lm_head."))]
    model.transformer.load_state_dict({name: checkpoint.view(name) for name in outside}, strict=False, assign=True)
    return model.requires_grad_(False)


class _Embedding(nn.Module):
    """The rows of tokens."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__()
        self._checkpoint = checkpoint

    def forward(self, ids: Tensor) -> Tensor:
        return self._checkpoint.view("wte.weight", ids)


class _Head(nn.Module):
    """The product with the head's matrix, some rows of it at a time."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__()
        self._checkpoint, self._rows = checkpoint, checkpoint.architecture.vocabulary

    def forward(self, hidden: Tensor) -> Tensor:
        logits = hidden.new_empty(*hidden.shape[:-1], self._rows)
        for begin in range(0, self._rows, HEAD_ROWS):
            rows = slice(begin, begin + HEAD_ROWS)
            logits[..., rows] = functional.linear(hidden, self._checkpoint.view(self._checkpoint.head, rows))
        return logits


def _load(checkpoint: Checkpoint, prefix: str) -> Callable[[nn.Module, tuple], None]:
    names = [name for name in checkpoint.names() if name.startswith(prefix)]

    def load(block: nn.Module, arguments: tuple) -> None:
        weights = {name.removeprefix(prefix): checkpoint.view(name) for name in names}
        block.load_state_dict(weights, strict=True, assign=True)
        block.requires_grad_(False)

    return load


def _unload(block: nn.Module, arguments: tuple, output: object) -> None:
    block.to("meta")


def _trim(block: nn.Module, arguments: tuple, output: object) -> None:
    trim_heap()
