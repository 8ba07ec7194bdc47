"""Fused operators compute transformers' GPT-2."""

import copy

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from gpt2_training.fused import fuse


@pytest.mark.parametrize("activation", ["gelu_new", "relu"])
def test_logits_and_gradients_are_those_of_transformers(activation):
    torch.manual_seed(0)
    sizes = {"vocab_size": 64, "n_positions": 16, "n_embd": 32, "n_layer": 2, "n_head": 2}
    config = GPT2Config(**sizes, activation_function=activation, attn_implementation="eager")
    model = GPT2LMHeadModel(config).eval()
    fused = fuse(copy.deepcopy(model))
    gelu = [type(block.mlp.act) is torch.nn.GELU for block in fused.transformer.h]
    assert gelu == [activation == "gelu_new"] * 2 and fused.config._attn_implementation == "sdpa"
    ids = torch.randint(64, (3, 16))
    for either in (model, fused):
        either(ids, labels=ids).loss.backward()
    torch.testing.assert_close(fused(ids).logits, model(ids).logits, atol=1e-6, rtol=1e-5)
    for (name, gradient), (_, expected) in zip(fused.named_parameters(), model.named_parameters(), strict=True):
        torch.testing.assert_close(gradient.grad, expected.grad, atol=1e-6, rtol=1e-4, msg=name)
