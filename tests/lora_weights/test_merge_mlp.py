"""Adapters of the MLP merged into a .task: what PEFT computes, in every matrix; and the bundle says so."""

import numpy as np
import pytest
import torch
from peft_folders import tiny_model, write_adapter

from bundler.checkpoints.checkpoint import open_checkpoint
from bundler.commands.cli import run
from bundler.containers.bundle import open_bundle
from bundler.containers.lora_manifest import base_of_bundle
from bundler.containers.task import MODEL_ENTRY, read_task
from bundler.lora.merge_bundle import adapter_for_merging, sum_for_merging
from bundler.pipeline.build import build
from bundler.pipeline.plan import BuildOptions
from bundler.tflite.runner import TFLiteGPT2
from lora_weights.errors import LoraError

TOKENS = [399, *range(1, 60)]


@pytest.fixture(scope="module")
def adapter(tiny_checkpoint, tmp_path_factory):
    """(PEFT folder, PEFT's model) of an adapter of attention and MLP."""
    folder = tmp_path_factory.mktemp("mlp") / "wide"
    model = open_checkpoint(tiny_checkpoint).reference_model()
    return folder, write_adapter(folder, model, strength=0.15, target_modules=["c_attn", "c_proj", "c_fc"])


@pytest.fixture(scope="module", params=["fp32", "int8"])
def bundle(request, tiny_checkpoint, tmp_path_factory):
    output = tmp_path_factory.mktemp(request.param) / "tiny"
    build(BuildOptions(str(tiny_checkpoint), output, recipe=request.param, verify=False))
    return output / "tiny.task", request.param


@torch.inference_mode()
def test_a_merged_bundle_is_pefts_model(bundle, adapter, tmp_path):
    path, recipe = bundle
    merged, model = tmp_path / "merged.task", tmp_path / "merged.tflite"
    assert run(["lora", "merge", str(path), str(adapter[0]), "-o", str(merged), "--quiet"]) == 0
    task = read_task(merged)
    for entry in task.entries:
        task.check_entry(entry.name)
    task.copy_entry(MODEL_ENTRY, model)
    expected = adapter[1](torch.tensor([TOKENS])).logits[0].numpy()
    difference = np.abs(TFLiteGPT2(model).along(TOKENS)[:, : expected.shape[1]] - expected).max()
    assert difference < (1e-3 if recipe == "fp32" else 0.1 * np.abs(expected).max())
    with adapter[1].disable_adapter():
        base = adapter[1](torch.tensor([TOKENS])).logits[0].numpy()
    assert np.abs(base - expected).max() > 5 * difference
    again = ["lora", "merge", str(merged), str(adapter[0]), "-o", str(tmp_path / "twice.task"), "--quiet"]
    assert run(again) == 1 and not (tmp_path / "twice.task").exists()


def test_without_pairs_of_the_mlp_it_is_as_before(bundle, tiny_checkpoint, tmp_path):
    folder = tmp_path / "attention"
    write_adapter(folder, open_checkpoint(tiny_checkpoint).reference_model())
    base = base_of_bundle(open_bundle(bundle[0]))
    merging = sum_for_merging([folder], [1.0], base)
    assert merging.mlp == {} and merging.file.sha256 == adapter_for_merging(folder, base).sha256


def test_an_mlp_of_another_width_is_refused(bundle, tmp_path, capsys):
    folder = tmp_path / "narrow"
    write_adapter(folder, tiny_model(n_inner=48), target_modules=["c_fc"])
    assert run(["lora", "merge", str(bundle[0]), str(folder), "-o", str(tmp_path / "a.task"), "--quiet"]) == 1
    assert "c_fc of layer 0 is [32, 48], this model's [32, 128]; give the model" in capsys.readouterr().err
    with pytest.raises(LoraError, match="include transformer.h.0.mlp.c_fc"):
        adapter_for_merging(folder, base_of_bundle(open_bundle(bundle[0])))
