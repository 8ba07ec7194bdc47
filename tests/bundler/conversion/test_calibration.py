"""Calibration against transformers' own model: the text it would write, and what its layers meet."""

import numpy as np
import pytest
import torch
from tiny_checkpoint import write_model

from bundler.checkpoints.checkpoint import open_checkpoint
from bundler.conversion import calibration
from bundler.conversion.calibration import Inputs, cut_text, layer_hessians, write_text

TOKENS = torch.randint(97, (5, 20), generator=torch.Generator().manual_seed(1))


def hooked_hessians(model, tokens):
    """X^T X of what the linear layers of transformers' model meet, by layer and name, in float64."""
    hessians = {}

    def collect(key):
        def hook(module, arguments):
            rows = arguments[0].flatten(0, 1).double()
            hessians[key] = (rows.T @ rows).numpy()

        return hook

    for index, block in enumerate(model.transformer.h):
        modules = (block.attn.c_attn, block.attn.c_proj, block.mlp.c_fc, block.mlp.c_proj)
        for name, module in zip(Inputs._fields, modules):
            module.register_forward_pre_hook(collect((index, name)))
    with torch.no_grad():
        model(tokens)
    return hessians


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"dtype": torch.float16},
        {"activation_function": "relu", "n_inner": 20, "layer_norm_epsilon": 0.1},
        {"scale_attn_by_inverse_layer_idx": True, "n_layer": 3},
        {"scale_attn_weights": False, "tie_word_embeddings": False},
    ],
    ids=str,
)
def test_hessians_are_those_of_transformers_layers(tmp_path, monkeypatch, fields):
    monkeypatch.setattr(calibration, "TOKENS_AT_ONCE", 45)  # two sequences at once, and one that is left
    checkpoint = open_checkpoint(write_model(tmp_path / "model", **fields))
    expected = hooked_hessians(checkpoint.reference_model(), TOKENS)
    layers = list(layer_hessians(checkpoint, TOKENS))
    assert len(layers) * 4 == len(expected)
    for index, hessians in enumerate(layers):
        for name, hessian in zip(Inputs._fields, hessians):
            scale = np.abs(expected[index, name]).max()
            np.testing.assert_allclose(hessian, expected[index, name], rtol=0, atol=1e-5 * scale)


def drawn_with_transformers(model, shape, vocabulary):
    """What write_text has to write when all sequences are written at the same time: the whole text anew each step."""
    generator = torch.Generator().manual_seed(calibration.SEED)
    text = torch.full((shape[0], 1), 96)
    with torch.no_grad():
        while text.shape[1] < shape[1]:
            likely = model(text).logits[:, -1, :vocabulary].softmax(dim=-1)
            text = torch.cat([text, torch.multinomial(likely, 1, generator=generator)], dim=1)
    return text


@pytest.mark.parametrize("fields", [{}, {"tie_word_embeddings": False, "dtype": torch.float16}], ids=str)
def test_the_text_is_drawn_from_transformers_distribution(tmp_path, fields):
    checkpoint = open_checkpoint(write_model(tmp_path / "model", **fields))
    counts = []
    text = write_text(checkpoint, 96, 90, (6, 24), counts.append)
    assert torch.equal(text, drawn_with_transformers(checkpoint.reference_model(), (6, 24), 90))
    assert torch.equal(text, write_text(checkpoint, 96, 90, (6, 24)))
    assert (text[:, 0] == 96).all() and text[:, 1:].max() < 90 and len(text[:, 1:].unique()) > 50
    assert sum(counts) == 6 * 23


def test_sequences_are_written_in_parts_where_memory_is_short(tmp_path, monkeypatch):
    checkpoint = open_checkpoint(write_model(tmp_path / "model"))
    batches = []
    monkeypatch.setattr(calibration, "CACHE", 2 * 4 * 10 * 12 * 2 * 3)  # three sequences of 10 tokens
    text = write_text(checkpoint, 96, 97, (7, 10), batches.append)
    assert text.shape == (7, 10) and set(batches) == {3, 2} and len({*map(tuple, text.tolist())}) == 7


def test_a_text_is_cut_into_sequences_of_one_length():
    ids = list(range(1, 24))
    assert cut_text(ids, 0, 6).tolist() == [[0, *ids[start : start + 5]] for start in (0, 5, 10, 15)]
    assert cut_text(ids, 0, 6, tokens=12).shape == (2, 6)
    assert cut_text(ids[:3], 0, 6).tolist() == [[0, 1, 2, 3]]
    assert cut_text(ids[:5], 0, 6, tokens=1).tolist() == [[0, 1, 2, 3, 4, 5]]
