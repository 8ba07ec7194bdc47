"""The written-out backward pass against PyTorch's automatic one with PEFT, and the update against torch.optim.AdamW."""

import pytest
import torch
from tiny_gpt2 import VOCABULARY, write_tiny_checkpoint
from whole_model import load_exportable

from bundler.checkpoints.architecture import ACTIVATIONS
from bundler.checkpoints.checkpoint import open_checkpoint
from bundler.conversion.exported_weights import TokenRows
from bundler.conversion.training_step import (
    WITH_DERIVATIVE,
    Gradient,
    Losses,
    Moments,
    Schedule,
    Sequence,
    update,
)
from lora_weights.fine_tune import FineTuneConfig
from lora_weights.train import with_adapter

LENGTH, RANK, SCALING = 24, 4, 2.0


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_derivatives(name):
    x = torch.linspace(-4, 4, 99, dtype=torch.float64, requires_grad=True)
    from transformers.activations import ACT2FN

    expected = ACT2FN[name](x)
    expected.sum().backward()
    value, derivative = WITH_DERIVATIVE[name](x.detach())
    assert torch.allclose(value, expected, atol=1e-6) and torch.allclose(derivative.double(), x.grad, atol=1e-6)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"activation_function": "relu", "scale_attn_by_inverse_layer_idx": True},
        {"tie_word_embeddings": False, "n_inner": 48, "activation_function": "gelu"},
        {"scale_attn_weights": False, "n_layer": 1},
    ],
)
def test_the_gradient_is_pytorchs_with_peft(tmp_path, fields):
    checkpoint = open_checkpoint(write_tiny_checkpoint(tmp_path / "tiny", **fields))
    gradient = Gradient(load_exportable(checkpoint, LENGTH, TokenRows(VOCABULARY, (3, 5))), LENGTH, RANK)
    torch.manual_seed(0)
    adapter, weights = torch.randn(gradient.layout.count) * 0.1, torch.rand(1, LENGTH)
    tokens, targets = torch.randint(0, VOCABULARY, (2, 1, LENGTH), dtype=torch.int)
    found, loss = gradient(Sequence(tokens, targets, weights), torch.tensor([SCALING]), adapter)

    peft = with_adapter(checkpoint.reference_model(), FineTuneConfig(rank=RANK)).eval()
    parameters = {n.replace(".default.", "."): p for n, p in peft.named_parameters() if p.requires_grad}
    matrices = gradient.layout.matrices(adapter.numpy())
    assert list(parameters) == list(matrices)
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(torch.from_numpy(matrices[name]))
    losses = torch.nn.functional.cross_entropy(peft(tokens.long()).logits[0], targets[0].long(), reduction="none")
    expected = (losses * weights[0]).sum()
    expected.backward()
    flat = torch.cat([parameter.grad.reshape(-1) for parameter in parameters.values()])
    assert abs(loss.item() - expected.item()) < 1e-5 * expected.item()
    assert (found - flat).abs().max() < 1e-5 * flat.abs().max()
    evaluated = Losses(gradient.model, LENGTH, RANK)(tokens, targets, torch.tensor([SCALING]), adapter)
    assert torch.allclose(evaluated[0], losses, atol=1e-5)


def test_the_update_is_adam_w_after_clipping():
    torch.manual_seed(0)
    parameter = torch.nn.Parameter(torch.randn(50))
    adapter, moments = parameter.detach().clone(), Moments(torch.zeros(50), torch.zeros(50))
    optimizer = torch.optim.AdamW([parameter], lr=0.01, betas=(0.9, 0.95), weight_decay=0.1)
    for step in range(1, 30):
        gradient = torch.randn(50) * (0.01 if step % 2 else 1)  # below the largest norm, and above it
        parameter.grad = gradient.clone()
        torch.nn.utils.clip_grad_norm_([parameter], 1.0)
        optimizer.step()
        schedule = Schedule(torch.tensor([float(step)]), torch.tensor([0.01]), torch.tensor([0.1]))
        adapter, moments = update(adapter, moments, gradient, schedule)
    assert torch.allclose(adapter, parameter, atol=1e-6)
