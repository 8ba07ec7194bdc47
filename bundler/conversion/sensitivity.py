"""How much each part of a model loses in each recipe, by itself: what a mix of recipes is chosen by."""

from __future__ import annotations

from typing import Callable, Mapping, NamedTuple

import numpy as np
import torch
from torch import Tensor

from bundler.checkpoints.checkpoint import Checkpoint
from bundler.conversion.calibration import Inputs, Layer, embed, layer_hessians, next_token_logits
from bundler.conversion.gptq import dequantize
from bundler.conversion.rounding import Rounded

# The matrices of a layer by the inputs they share, as `Inputs` has them, and their name in a checkpoint.
PARTS = Inputs("attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")

# A matrix float32 [out, in] and the Hessian of its inputs [in, in], to the matrix as it will be stored.
Rounding = Callable[[np.ndarray, np.ndarray], Rounded]


class Sensitivity(NamedTuple):
    """The mean KL divergence, in nats, when nothing but this part of this layer is stored in `recipe`."""

    layer: int
    part: str
    recipe: str
    kl: float


@torch.inference_mode()
def sensitivities(
    checkpoint: Checkpoint,
    calibration: Tensor,
    measured: Tensor,
    recipes: Mapping[str, Rounding],
    advance: Callable[[], None] = lambda: None,
) -> list[Sensitivity]:
    """Of every part of every layer in every recipe, over the tokens `measured` [sequences, length].

    In memory are one layer, and what every choice so far has made of `measured`. `advance` is called after each layer.
    """
    exact = embed(checkpoint, measured)
    changed: dict[tuple[int, str, str], Tensor] = {}
    for index, hessians in enumerate(layer_hessians(checkpoint, calibration)):
        layer = Layer(checkpoint, index)
        changed = {key: layer(x)[0] for key, x in changed.items()}
        for part, name, hessian in zip(Inputs._fields, PARTS, hessians):
            matrix = layer.weight(name).T.numpy()
            for recipe, rounding in recipes.items():
                stored = torch.from_numpy(dequantize(rounding(matrix, hessian))).T
                changed[index, part, recipe] = layer.with_weight(name, stored)(exact)[0]
        exact = layer(exact)[0]
        advance()
    expected = next_token_logits(checkpoint, exact).log_softmax(dim=-1)
    return [
        Sensitivity(*key, divergence(expected, next_token_logits(checkpoint, x).log_softmax(dim=-1)))
        for key, x in changed.items()
    ]


def divergence(expected: Tensor, found: Tensor) -> float:
    """The mean KL divergence of log-probabilities [..., vocabulary], in nats."""
    return float((expected.exp() * (expected - found)).sum(dim=-1).mean(dtype=torch.float64))
