"""Where ExportableGPT2's parameters lie in a checkpoint: each is read by itself, in blocks of rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Iterator

import torch
from torch import Tensor

from bundler.checkpoints.architecture import GPT2Architecture
from bundler.checkpoints.checkpoint import Checkpoint
from bundler.checkpoints.tensor_names import ROWS_AT_ONCE

# Added to the logits of rows that must not be generated. Far below any real logit, and still a
# finite number in fp16, where GPUs compute.
NEVER = -1.0e4


@dataclass(frozen=True)
class TokenRows:
    """Which original token each row of the embedding stands for.

    `vocabulary` rows are the tokens themselves; then one row per entry of `alias_of`, a copy of the
    row it names; then padding to a multiple of 4.
    """

    vocabulary: int
    alias_of: tuple[int, ...] = ()

    @property
    def count(self) -> int:
        return -(-(self.vocabulary + len(self.alias_of)) // 4) * 4

    def sources(self) -> Tensor:
        """int64 [count]: the checkpoint row that each row copies. Padding copies row 0 (a zero row has no scale)."""
        rows = [*range(self.vocabulary), *self.alias_of]
        return torch.tensor(rows + [0] * (self.count - len(rows)))

    def bias(self) -> Tensor:
        """float32 [count]: 0 for the vocabulary, NEVER for aliases and padding."""
        bias = torch.full((self.count,), NEVER)
        bias[: self.vocabulary] = 0.0
        return bias


@dataclass(frozen=True)
class ExportedWeight:
    """One parameter. `blocks()`: float32, blocks of whole rows [n, …] from the first row to the last."""

    shape: tuple[int, ...]
    blocks: Callable[[], Iterator[Tensor]]


def exported_weights(checkpoint: Checkpoint, context: int, rows: TokenRows) -> dict[str, ExportedWeight]:
    """Every parameter of an ExportableGPT2 of that context by name, in the model's order.

    The head's matrix is left out where it is the embedding's. Checkpoints keep matrices as Conv1D does, [in, out]; a
    Linear wants [out, in]. The fused c_attn is cut along its outputs into q, k and v.
    """
    architecture = checkpoint.architecture
    width, inner = architecture.width, architecture.inner
    positions = min(context, architecture.positions)
    weights = {
        "wte.weight": _table(checkpoint, "wte.weight", rows),
        "wpe.weight": ExportedWeight(
            (positions, width), lambda: iter([checkpoint.part("wpe.weight", slice(positions))])
        ),
    }

    def norm(name: str, stored: str) -> None:
        for part in ("weight", "bias"):
            weights[f"{name}.{part}"] = _whole(checkpoint, f"{stored}.{part}", (1, 1, width))

    def linear(name: str, stored: str, shape: tuple[int, int], number: int = 0, scale: float = 1.0) -> None:
        """`number`: which of the matrices side by side in the stored one."""
        outputs = slice(number * shape[0], (number + 1) * shape[0])

        def matrix() -> Iterator[Tensor]:
            yield checkpoint.part(f"{stored}.weight", (slice(None), outputs)).T.contiguous().mul_(scale)

        def bias() -> Iterator[Tensor]:
            yield checkpoint.part(f"{stored}.bias", outputs).mul_(scale)

        weights[f"{name}.weight"] = ExportedWeight(shape, matrix)
        weights[f"{name}.bias"] = ExportedWeight(shape[:1], bias)

    for layer in range(architecture.layers):
        block, stored = f"blocks.{layer}", f"h.{layer}"
        norm(f"{block}.ln_1", f"{stored}.ln_1")
        norm(f"{block}.ln_2", f"{stored}.ln_2")
        linear(f"{block}.q", f"{stored}.attn.c_attn", (width, width), 0, query_scale(architecture, layer))
        linear(f"{block}.k", f"{stored}.attn.c_attn", (width, width), 1)
        linear(f"{block}.v", f"{stored}.attn.c_attn", (width, width), 2)
        linear(f"{block}.o", f"{stored}.attn.c_proj", (width, width))
        linear(f"{block}.c_fc", f"{stored}.mlp.c_fc", (inner, width))
        linear(f"{block}.c_proj", f"{stored}.mlp.c_proj", (width, inner))
    norm("ln_f", "ln_f")
    if not architecture.tied_head:
        weights["head.weight"] = _table(checkpoint, "lm_head.weight", rows)
    weights["head.bias"] = ExportedWeight((rows.count,), lambda: iter([rows.bias()]))
    return weights


def query_scale(architecture: GPT2Architecture, layer: int) -> float:
    """What q's weights and bias are multiplied by: the factor that attention scores have in the checkpoint.

    The converter folds a factor on q into the weights by itself, wherever nothing stands in between; done here,
    every signature has the same weights, and whoever adds a delta to them knows the factor.
    """
    scale = architecture.head_dim**-0.5 if architecture.scale_attention else 1.0
    return scale / (layer + 1) if architecture.scale_by_inverse_layer else scale


def _table(checkpoint: Checkpoint, stored: str, rows: TokenRows) -> ExportedWeight:
    """A matrix with a row for each token of `rows`."""

    def blocks() -> Iterator[Tensor]:
        for sources in rows.sources().split(ROWS_AT_ONCE):
            yield checkpoint.part(stored, sources)

    return ExportedWeight((rows.count, checkpoint.architecture.width), blocks)


def _whole(checkpoint: Checkpoint, stored: str, shape: tuple[int, ...]) -> ExportedWeight:
    return ExportedWeight(shape, lambda: iter([checkpoint.tensor(stored).view(shape)]))
