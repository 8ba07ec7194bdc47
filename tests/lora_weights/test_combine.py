"""Sums of adapters: deltas are those of PEFT's own sums, a cut is the best of its rank, and PEFT folders keep them."""

import numpy as np
import pytest
import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from peft_folders import LAYERS, WIDTH, tiny_model, write_adapter

from bundler.lora.describe import describe_adapter
from bundler.lora.merge_bundle import read_adapter
from lora_weights.adapter import Base
from lora_weights.adapter_file import adapter_file, encode_adapter
from lora_weights.combine import adapter_of, combine
from lora_weights.errors import LoraError
from lora_weights.merge_checkpoint import check_additive, merge_into_checkpoint, sample_logits
from lora_weights.peft_adapter import read_peft
from lora_weights.peft_folder import write_peft

BASE = Base(LAYERS, WIDTH, (0.3,) * LAYERS, "f" * 64)
SCALES = (0.7, -0.4)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two PEFT folders; the second leaves out o and a layer."""
    root = tmp_path_factory.mktemp("combine")
    write_adapter(root / "loud", seed=1)
    write_adapter(root / "quiet", seed=2, r=3, target_modules=["c_attn"], layers_to_transform=[1])
    return root / "loud", root / "quiet"


@pytest.fixture(scope="module")
def adapters(folders):
    return [read_peft(folder, LAYERS) for folder in folders]


def delta(adapter, place):
    pair = adapter.pairs.get(place)
    return np.zeros((WIDTH, WIDTH)) if pair is None else pair.a.astype(float) @ pair.b


PLACES = [(layer, projection) for layer in range(LAYERS) for projection in "qkvo"]


def test_the_sum_is_that_of_the_deltas(adapters):
    combined = combine(adapters, SCALES)
    assert (combined.adapter.rank, combined.error, combined.adapter.name) == (7, 0.0, "0.7*loud+-0.4*quiet")
    for place in PLACES:
        expected = sum(scale * delta(adapter, place) for scale, adapter in zip(SCALES, adapters))
        np.testing.assert_allclose(delta(combined.adapter, place), expected, atol=1e-6)


def test_a_cut_loses_what_svd_says(adapters):
    combined, lost, whole = combine(adapters, SCALES, rank=5), 0.0, 0.0
    assert combined.adapter.rank == 5
    for place in PLACES:
        expected = sum(scale * delta(adapter, place) for scale, adapter in zip(SCALES, adapters))
        values = np.linalg.svd(expected, compute_uv=False)
        lost, whole = lost + (values[5:] ** 2).sum(), whole + (values**2).sum()
        difference = np.linalg.norm(delta(combined.adapter, place) - expected)
        assert difference == pytest.approx(np.sqrt((values[5:] ** 2).sum()), abs=1e-5)
    assert combined.error == pytest.approx(np.sqrt(lost / whole), rel=1e-4) and 0 < combined.error < 1


def test_a_sum_of_copies_is_cut_without_loss(adapters):
    combined = combine([adapters[0]] * 2, (0.5, 0.5), rank=4)
    assert combined.error < 1e-6 and combined.adapter.rank == 4


@pytest.mark.parametrize("rank", [None, 5])
def test_peft_computes_a_written_sum(adapters, tmp_path, rank):
    """Cut, q, k and v have an A of their own, which PEFT's fused c_attn holds side by side."""
    adapter = combine(adapters, SCALES, rank).adapter
    write_peft(adapter, tmp_path / "sum")
    again = read_peft(tmp_path / "sum", LAYERS)
    assert (again.rank, again.name) == (adapter.rank, "sum")
    for place in PLACES:
        np.testing.assert_allclose(delta(again, place), delta(adapter, place), atol=1e-6)
    weight = PeftModel.from_pretrained(tiny_model(), tmp_path / "sum").merge_and_unload().transformer.h[1].attn.c_attn
    change = weight.weight.detach().numpy() - tiny_model().transformer.h[1].attn.c_attn.weight.detach().numpy()
    np.testing.assert_allclose(change, np.hstack([delta(adapter, (1, name)) for name in "qkv"]), atol=1e-5)


def test_a_file_and_its_folder_are_one_adapter(folders, adapters, tmp_path):
    """The scale of attention in the file's q is taken out again; so are the zeros that fill up its rank."""
    file = tmp_path / "loud.tflite"
    file.write_bytes(encode_adapter(adapter_file(adapters[0], BASE, 16)))
    again = read_adapter(file, BASE)
    assert again.rank == adapters[0].rank
    for place in PLACES:
        np.testing.assert_allclose(delta(again, place), delta(adapters[0], place), rtol=1e-5, atol=1e-6)
    norms = [describe_adapter(path)["delta_norms"] for path in (file, folders[0])]
    for row, expected in zip(*norms):
        assert row == pytest.approx(expected, rel=1e-4)


def test_adapters_of_different_models_are_not_added(adapters, tmp_path):
    write_adapter(tmp_path / "wide", tiny_model(n_embd=64))
    with pytest.raises(LoraError, match="adapters loud and wide are for models with width 32 and 64"):
        combine([adapters[0], read_peft(tmp_path / "wide", LAYERS)], (1.0, 1.0))
    with pytest.raises(LoraError, match="zeros, which changes nothing"):
        adapter_of(adapter_file(combine(adapters, (0.0, 0.0)).adapter, BASE, 8))


@torch.inference_mode()
def test_merged_into_a_checkpoint_one_after_the_other(folders, adapters, tmp_path):
    """Also of the MLP, which an adapter file cannot carry."""
    write_adapter(tmp_path / "mlp", seed=3, target_modules=["mlp.c_fc", "mlp.c_proj"])
    merged = tiny_model()
    for folder, scale in zip((*folders, tmp_path / "mlp"), (*SCALES, 0.2)):
        check_additive(folder)
        merged = merge_into_checkpoint(merged, folder, scale)
    peft = PeftModel.from_pretrained(tiny_model(), folders[0], adapter_name="a0")
    for index, folder in enumerate((folders[1], tmp_path / "mlp"), 1):
        peft.load_adapter(folder, adapter_name=f"a{index}")
    peft.base_model.set_adapter(["a0", "a1", "a2"])
    for index, scale in enumerate((*SCALES, 0.2)):
        for module in peft.modules():
            if isinstance(module, LoraLayer) and f"a{index}" in module.scaling:
                module.scaling[f"a{index}"] *= scale
    assert float((sample_logits(merged) - sample_logits(peft.eval())).abs().max()) < 1e-3


def test_what_is_no_sum_is_refused(tmp_path):
    write_adapter(tmp_path / "dora", use_dora=True)
    with pytest.raises(LoraError, match="use_dora, which rescales.*neither scaled nor added"):
        check_additive(tmp_path / "dora")
