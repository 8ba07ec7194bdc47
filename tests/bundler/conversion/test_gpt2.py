"""The exportable GPT-2 in PyTorch against transformers' GPT2LMHeadModel."""

import pytest
import torch
from tiny_gpt2 import VOCABULARY, write_tiny_checkpoint
from whole_model import load_exportable

from bundler.checkpoints.architecture import ACTIVATIONS
from bundler.checkpoints.checkpoint import open_checkpoint
from bundler.conversion.exported_weights import NEVER, TokenRows
from bundler.conversion.gpt2 import FUNCTIONS

IDS = [399, 5, 17, 300, 17, 64, 2, 91, 120, 7, 250, 9]


def causal_mask(start, length, context):
    """float32 [1, 1, length, context]: row i sees positions 0 to start + i."""
    seen = torch.arange(context)[None, :] <= torch.arange(start, start + length)[:, None]
    return torch.where(seen, 0.0, NEVER * 1e2)[None, None]


def run(model, ids, chunks):
    """Logits of every position, the ids given in chunks of these lengths."""
    cache, position, rows = model.empty_cache(), 0, []
    for length in chunks:
        tokens = torch.tensor([ids[position : position + length]], dtype=torch.int32)
        positions = torch.arange(position, position + length, dtype=torch.int32)
        result = model(tokens, positions, cache, causal_mask(position, length, model.context))
        cache, position = result["kv_cache"], position + length
        rows.append(result["logits"][0])
    return torch.cat(rows)


def expected(checkpoint, ids):
    return checkpoint.reference_model()(torch.tensor([ids])).logits[0]


@pytest.mark.parametrize("chunks", [(12,), (5, 4, 3), (1,) * 12], ids=str)
def test_same_logits_however_the_tokens_are_cut(tiny_checkpoint, chunks):
    checkpoint = open_checkpoint(tiny_checkpoint)
    model = load_exportable(checkpoint, 96, TokenRows(VOCABULARY))
    torch.testing.assert_close(run(model, IDS, chunks), expected(checkpoint, IDS), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    "fields",
    [
        *({"activation_function": name} for name in ACTIVATIONS),
        {"n_inner": 48},
        {"layer_norm_epsilon": 0.5},
        {"scale_attn_weights": False},
        {"scale_attn_by_inverse_layer_idx": True},
        {"reorder_and_upcast_attn": True},
        {"tie_word_embeddings": False},
        {"n_head": 4},
    ],
    ids=lambda fields: "-".join(f"{name}={value}" for name, value in fields.items()),
)
def test_every_architecture_field_is_honoured(tmp_path, fields):
    checkpoint = open_checkpoint(write_tiny_checkpoint(tmp_path / "model", **fields))
    model = load_exportable(checkpoint, 96, TokenRows(VOCABULARY))
    torch.testing.assert_close(run(model, IDS, (5, 7)), expected(checkpoint, IDS), atol=2e-4, rtol=0)


def test_activations_are_those_a_checkpoint_may_name():
    assert set(FUNCTIONS) == set(ACTIVATIONS)


@pytest.mark.parametrize("tied", [True, False])
def test_an_alias_reads_like_its_original_and_is_never_written(tmp_path, tied):
    checkpoint = open_checkpoint(write_tiny_checkpoint(tmp_path / "model", tie_word_embeddings=tied))
    aliases = (17, 64, 300)
    model = load_exportable(checkpoint, 96, TokenRows(VOCABULARY, aliases))
    named_otherwise = [VOCABULARY + aliases.index(id_) if id_ in aliases else id_ for id_ in IDS]
    assert named_otherwise != IDS
    logits = run(model, named_otherwise, (12,))
    torch.testing.assert_close(logits[:, :VOCABULARY], expected(checkpoint, IDS), atol=1e-4, rtol=0)
    assert logits[:, VOCABULARY:].max() < NEVER / 2


@pytest.mark.parametrize(
    "vocabulary, aliases, rows", [(400, 0, 400), (400, 1, 404), (50257, 0, 50260), (50257, 919, 51176)]
)
def test_rows_are_a_multiple_of_four(vocabulary, aliases, rows):
    assert TokenRows(vocabulary, (0,) * aliases).count == rows


def test_a_vocabulary_smaller_than_the_embedding_drops_the_unused_rows(tiny_checkpoint):
    checkpoint = open_checkpoint(tiny_checkpoint)
    model = load_exportable(checkpoint, 96, TokenRows(390, (3,)))
    ids = [id_ for id_ in IDS if id_ < 390]
    assert model.wte.weight.shape == (392, 32)
    torch.testing.assert_close(
        run(model, ids, (len(ids),))[:, :390], expected(checkpoint, ids)[:, :390], atol=1e-4, rtol=0
    )


def test_a_shorter_context_keeps_the_first_positions(tiny_checkpoint):
    checkpoint = open_checkpoint(tiny_checkpoint)
    model = load_exportable(checkpoint, 16, TokenRows(VOCABULARY))
    torch.testing.assert_close(run(model, IDS, (12,)), expected(checkpoint, IDS), atol=1e-4, rtol=0)


def test_the_cache_has_the_layout_the_runtimes_read(tiny_checkpoint):
    cache = load_exportable(open_checkpoint(tiny_checkpoint), 96, TokenRows(VOCABULARY)).empty_cache()
    assert {name: tuple(tensor.shape) for name, tensor in cache.items()} == {
        "k_0": (1, 2, 96, 16),
        "v_0": (1, 2, 16, 96),
        "k_1": (1, 2, 96, 16),
        "v_1": (1, 2, 16, 96),
    }
