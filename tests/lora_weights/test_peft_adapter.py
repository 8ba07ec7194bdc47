"""What is read from a PEFT folder is what peft itself computes with; what cannot be carried is refused by name."""

import numpy as np
import pytest
import torch
from peft_folders import LAYERS, WIDTH, edit_config, edit_tensors, tiny_model, write_adapter

from lora_weights.errors import LoraError
from lora_weights.peft_adapter import read_peft

ATTENTION = ["attn.c_attn", "attn.c_proj"]


def peft_delta(model, layer, projection):
    """[in, out], from peft's own get_delta_weight; None if it has no adapter there."""
    attention = model.base_model.model.transformer.h[layer].attn
    module = attention.c_proj if projection == "o" else attention.c_attn
    if not hasattr(module, "get_delta_weight"):
        return None
    delta = module.get_delta_weight("default").detach().numpy()
    delta = delta if delta.shape[0] == WIDTH else delta.T
    return delta if projection == "o" else np.split(delta, 3, axis=1)["qkv".index(projection)]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"use_rslora": True},
        {"fan_in_fan_out": True},
        {"fan_in_fan_out": False},
        {"r": 3, "lora_alpha": 5},
        {"target_modules": ["c_attn"]},
        {"target_modules": ["attn.c_proj"]},
        {"target_modules": r".*h\.1\.attn\.c_(attn|proj)"},
        {"layers_to_transform": [1]},
        {"layers_to_transform": 0, "layers_pattern": "h"},
        {"target_modules": ["transformer.h.0.attn.c_attn", "transformer.h.1.attn.c_proj"]},
        {"target_modules": ["c_attn", "c_proj"], "exclude_modules": ["mlp.c_proj"]},
        {"rank_pattern": {"h.0.attn.c_attn": 7}, "alpha_pattern": {r"h\.1\.attn\.c_attn": 3}},
        {"rank_pattern": {"c_attn": 2}, "alpha_pattern": {"c_proj": 32}, "use_rslora": True},
    ],
)
def test_deltas_are_those_of_peft(tmp_path, options):
    model = write_adapter(tmp_path, **options)
    adapter = read_peft(tmp_path, LAYERS)
    assert (adapter.layers, adapter.width) == (LAYERS, WIDTH)
    for layer in range(LAYERS):
        for projection in "qkvo":
            expected, pair = peft_delta(model, layer, projection), adapter.pairs.get((layer, projection))
            assert (expected is None) == (pair is None), (layer, projection)
            if pair:
                assert pair.a.shape == (WIDTH, pair.rank) and pair.b.shape == (pair.rank, WIDTH)
                np.testing.assert_allclose(pair.a @ pair.b, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_types_of_floats(tmp_path, dtype):
    write_adapter(tmp_path)
    exact = read_peft(tmp_path)
    edit_tensors(tmp_path, lambda tensors: tensors.update({name: tensor.to(dtype) for name, tensor in tensors.items()}))
    for place, pair in read_peft(tmp_path).pairs.items():
        np.testing.assert_allclose(pair.b, exact.pairs[place].b, rtol=2**-8 if dtype == torch.bfloat16 else 2**-10)


def test_a_bin_file(tmp_path):
    write_adapter(tmp_path / "safe")
    write_adapter(tmp_path / "bin", safe=False)
    assert (tmp_path / "bin" / "adapter_model.bin").exists()
    for place, pair in read_peft(tmp_path / "bin").pairs.items():
        np.testing.assert_array_equal(pair.a, read_peft(tmp_path / "safe").pairs[place].a)


def test_what_is_recorded(tmp_path):
    write_adapter(tmp_path / "pirate", lora_alpha=24)
    (tmp_path / "pirate" / "README.md").write_text("---\nbase_model: x\nlicense: mit\n---\n# card\n")
    (tmp_path / "pirate" / "training.json").write_text('{"base_fingerprint": "ab12"}')
    adapter = read_peft(tmp_path / "pirate")
    assert (adapter.name, adapter.alpha, adapter.licence, adapter.base_fingerprint, adapter.rank) == (
        "pirate",
        24,
        "mit",
        "ab12",
        4,
    )


@pytest.mark.parametrize(
    "options, named",
    [
        ({"use_dora": True}, "use_dora"),
        ({"modules_to_save": ["wpe"]}, "modules_to_save"),
        ({"bias": "lora_only"}, "bias"),
        ({"target_modules": ["c_attn", "c_proj"]}, r"transformer.h.0.mlp.c_proj"),
        ({"target_modules": ["c_fc"]}, r"transformer.h.0.mlp.c_fc"),
        ({"target_modules": "all-linear"}, r"mlp.c_fc"),
        ({"target_modules": ["attn.c_attn", "wte"]}, "transformer.wte"),
        ({"trainable_token_indices": [1, 2]}, "trainable_token_indices"),
    ],
)
def test_what_cannot_be_carried_is_named_with_a_way_out(tmp_path, options, named):
    write_adapter(tmp_path, **options)
    with pytest.raises(LoraError, match=named) as error:
        read_peft(tmp_path, LAYERS)
    assert "lora merge" in str(error.value) and ("merges it into a bundle" in str(error.value)) == ("mlp" in named)


@pytest.mark.parametrize(
    "fields, named",
    [
        ({"peft_type": "LOHA"}, "LOHA"),
        ({"init_lora_weights": "pissa"}, "pissa"),
        ({"use_something_new": True}, "use_something_new"),
        ({"lora_bias": True}, "lora_bias"),
        ({"target_modules": ["q_proj"]}, "q_proj"),
        ({"r": 5}, "rank 5"),
        ({"r": "four"}, "'four'"),
        ({"target_modules": ["attn.c_attn"]}, r"2 tensors .*attn.c_proj.* does not target|c_proj"),
    ],
)
def test_a_config_that_is_something_else_or_does_not_belong(tmp_path, fields, named):
    write_adapter(tmp_path)
    edit_config(tmp_path, **fields)
    with pytest.raises(LoraError, match=named):
        read_peft(tmp_path, LAYERS)


def spoil(value):
    def change(tensors):
        tensors["base_model.model.transformer.h.1.attn.c_attn.lora_B.weight"][3, 2] = value

    return change


KEY = "base_model.model.transformer.h.1.attn.c_proj.lora_A.weight"


@pytest.mark.parametrize(
    "change, named",
    [
        (spoil(float("nan")), r"h.1.attn.c_attn.lora_B.weight has 1 NaN or infinite"),
        (spoil(float("inf")), r"h.1.attn.c_attn.lora_B.weight has 1 NaN or infinite"),
        (lambda tensors: tensors.pop(KEY), r"lacks 1 tensor \(transformer.h.1.attn.c_proj.lora_A.weight\)"),
        (lambda tensors: tensors.update({KEY.replace("h.1", "h.5"): tensors[KEY]}), r"h.5.*only 2 layers"),
        (lambda tensors: tensors.update({KEY.replace("attn.c_proj", "mlp.c_fc"): tensors[KEY]}), "mlp.c_fc"),
        (
            lambda tensors: tensors.update({KEY.replace("lora_A.weight", "lora_magnitude_vector"): tensors[KEY]}),
            "lora_magnitude_vector",
        ),
        (
            lambda tensors: tensors.update({"base_model.model.lm_head.modules_to_save.weight": tensors[KEY]}),
            "modules_to_save",
        ),
        (
            lambda tensors: tensors.update({KEY: tensors[KEY][:, :-1].contiguous()}),
            "h.1.attn.c_proj.lora_A.weight has the shape",
        ),
        (lambda tensors: tensors.update({KEY: tensors[KEY].to(torch.int32)}), "I32"),
        (lambda tensors: tensors.clear(), "no tensors"),
    ],
)
def test_tensors_that_are_wrong_are_named(tmp_path, change, named):
    write_adapter(tmp_path)
    edit_tensors(tmp_path, change)
    with pytest.raises(LoraError, match=named):
        read_peft(tmp_path, LAYERS)


def test_an_adapter_of_a_shallower_model_lacks_tensors(tmp_path):
    write_adapter(tmp_path)
    with pytest.raises(LoraError, match=r"lacks 4 tensors \(transformer.h.2"):
        read_peft(tmp_path, LAYERS + 1)


@pytest.mark.parametrize("cut", [0, 4, 100, -1])
def test_a_truncated_file(tmp_path, cut):
    write_adapter(tmp_path)
    path = tmp_path / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(LoraError, match="adapter_model.safetensors"):
        read_peft(tmp_path)


def test_a_pickle_is_not_run(tmp_path):
    import pickle

    write_adapter(tmp_path)
    (tmp_path / "adapter_model.safetensors").unlink()

    class Evil:
        def __reduce__(self):
            return (print, ("ran",))

    (tmp_path / "adapter_model.bin").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(LoraError, match="without running code"):
        read_peft(tmp_path)


def test_a_folder_that_is_none(tmp_path):
    with pytest.raises(LoraError, match="adapter_config.json"):
        read_peft(tmp_path)
    write_adapter(tmp_path)
    (tmp_path / "adapter_model.safetensors").unlink()
    with pytest.raises(LoraError, match="neither"):
        read_peft(tmp_path)
    (tmp_path / "adapter_config.json").write_text("{")
    with pytest.raises(LoraError, match="cannot be read"):
        read_peft(tmp_path)


def test_a_model_without_a_language_head(tmp_path):
    """Adapters of GPT2Model have no `transformer.` in their names."""
    write_adapter(tmp_path, tiny_model().transformer, task_type=None)
    assert len(read_peft(tmp_path, LAYERS).pairs) == 4 * LAYERS
