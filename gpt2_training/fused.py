"""GPT-2 in PyTorch's fused operators, which training takes."""

from __future__ import annotations

from torch import nn
from transformers import GPT2LMHeadModel
from transformers.activations import NewGELUActivation


def fuse(model: GPT2LMHeadModel) -> GPT2LMHeadModel:
    """Let `model` compute attention, and GELU in its tanh form, by one operator each; returns it.

    The functions are the same, and round differently. Checkpoints are opened with the composed ones, as the reference:
    their GELU alone keeps six tensors for the backward pass.
    """
    model.set_attn_implementation("sdpa")
    for block in model.transformer.h:
        if isinstance(block.mlp.act, NewGELUActivation):
            block.mlp.act = nn.GELU(approximate="tanh")
    return model
