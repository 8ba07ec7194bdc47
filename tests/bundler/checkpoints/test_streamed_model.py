"""The model that holds one layer at a time computes what the whole one does."""

import pytest
import torch
from tiny_checkpoint import write_model

from bundler.checkpoints.checkpoint import open_checkpoint
from bundler.checkpoints.streamed_model import streamed_model

IDS = torch.randint(0, 97, (1, 20), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("fields", [{}, {"tie_word_embeddings": False}, {"dtype": torch.bfloat16}])
def test_the_logits_are_those_of_the_whole_model(tmp_path, fields):
    checkpoint = open_checkpoint(write_model(tmp_path / "model", **fields))
    model = streamed_model(checkpoint)
    for _ in range(2):
        with torch.inference_mode():
            assert torch.equal(model(IDS).logits, checkpoint.reference_model()(IDS).logits)


@pytest.mark.parametrize("fields", [{}, {"tie_word_embeddings": False}])
def test_a_head_of_many_rows_is_computed_in_parts(tmp_path, monkeypatch, fields):
    monkeypatch.setattr("bundler.checkpoints.streamed_model.HEAD_ROWS", 10)
    checkpoint = open_checkpoint(write_model(tmp_path / "model", **fields))
    with torch.inference_mode():
        logits, expected = (model(IDS).logits for model in (streamed_model(checkpoint), checkpoint.reference_model()))
    assert torch.allclose(logits, expected, rtol=0, atol=1e-6)


def test_a_layer_is_in_memory_only_while_it_is_computed(tmp_path):
    model = streamed_model(open_checkpoint(write_model(tmp_path / "model")))
    first, second = model.transformer.h
    seen = []
    second.register_forward_pre_hook(lambda block, arguments: seen.extend([first, block]))
    with torch.inference_mode():
        model(IDS)
    assert len(seen) == 2
    assert all(parameter.is_meta for block in (first, second) for parameter in block.parameters())


def test_a_file_that_changes_meanwhile_is_said(tmp_path):
    from bundler.errors import BundleError

    folder = write_model(tmp_path / "model")
    model = streamed_model(open_checkpoint(folder))
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes())
    with pytest.raises(BundleError, match="changed or removed while it was read"):
        model(IDS)
    weights.unlink()
    with pytest.raises(BundleError, match="changed or removed while it was read"):
        model(IDS)
