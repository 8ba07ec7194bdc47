"""Perplexity of a model on held-out text, with its standard error."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from gpt2_training.errors import TrainingError


@dataclass(frozen=True)
class Perplexity:
    """`value` = exp(mean negative log-likelihood per token); `standard_error` is that of `value`."""

    value: float
    standard_error: float
    tokens: int

    @property
    def loss(self) -> float:
        """The mean negative log-likelihood of a token, in nats."""
        return math.log(self.value)

    def __str__(self) -> str:
        return f"{self.value:.3f} ± {self.standard_error:.3f}"


def perplexity_of(token_losses: torch.Tensor) -> Perplexity:
    """From per-token negative log-likelihoods in nats. The error is the delta method's: ppl * s / sqrt(n)."""
    losses = token_losses.double()
    mean = losses.mean().item()
    value = math.exp(mean) if mean < 700 or math.isnan(mean) else math.inf  # e ** 710 is no double
    return Perplexity(value, value * losses.std().item() / math.sqrt(len(losses)), len(losses))


@torch.inference_mode()
def held_out_perplexity(model: torch.nn.Module, ids: torch.Tensor, block: int, batch: int = 8) -> Perplexity:
    """Perplexity of a Hugging Face causal model on `ids` (1-D), in non-overlapping blocks of `block` tokens.

    The first token of a block is context only, so every scored token has between 1 and `block - 1` tokens before it.
    """
    device = next(model.parameters()).device
    blocks = ids[: len(ids) // block * block].view(-1, block)
    if not len(blocks):
        raise TrainingError(f"held-out text of {len(ids)} tokens; at least one block of {block} is needed")
    losses = []
    for start in range(0, len(blocks), batch):
        tokens = blocks[start : start + batch].long().to(device)
        logits = model(tokens).logits[:, :-1].float()
        losses.append(
            torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="none").cpu()
        )
    return perplexity_of(torch.cat(losses))
