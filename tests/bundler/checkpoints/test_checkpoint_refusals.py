"""What is no usable GPT-2 checkpoint is refused in a sentence that says why and what to do."""

import json
import shutil
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from tiny_checkpoint import edit_config, edit_weights, rewrite_as_bin, write_model, write_vocabulary

from bundler.checkpoints import checkpoint, hugging_face
from bundler.checkpoints.checkpoint import open_checkpoint
from bundler.errors import BundleError, OptionError


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("checkpoint") / "model")


@pytest.fixture
def folder(pristine, tmp_path):
    return shutil.copytree(pristine, tmp_path / "model")


def refused(source, match, error=BundleError, **options):
    with pytest.raises(error, match=match) as caught:
        open_checkpoint(source, **options)
    assert type(caught.value) is error


@pytest.mark.parametrize(
    "source", ["/no/such/folder", "./model", "a/b/c", "gone/ckpt.pt", "https://huggingface.co/gpt2"]
)
def test_neither_path_nor_hub_id(source):
    refused(source, "does not exist: .*or a hub id with its owner, such as openai-community/gpt2", OptionError)


def test_an_empty_name_is_the_working_folder():
    refused("", "is no checkpoint")


def test_folder_that_is_no_checkpoint(tmp_path, folder):
    expected = r"nanoGPT's ckpt.pt, .*, or a folder with config.json and weights \(model.safetensors, .*save_pretrained"
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", f"is no checkpoint: it holds nothing. Give {expected}")
    (tmp_path / "empty" / "notes").write_text("text")
    refused(tmp_path / "empty", f"is no checkpoint: it holds notes. Give {expected}")
    refused(tmp_path / "empty" / "notes", f"notes is no checkpoint: it is no file of a known format. Give {expected}")
    (folder / "config.json").rename(folder / "config")
    refused(folder, "has no config.json. Give a folder with config.json and weights")
    (folder / "config").rename(folder / "config.json")
    (folder / "model.safetensors").unlink()
    refused(folder, r"has no weights \(model.safetensors, .*\. Give a folder with config.json and weights")


def test_one_file_of_a_folder(folder):
    refused(folder / "model.safetensors", "is one file of a checkpoint; give the folder")


def test_adapter_folder(folder):
    (folder / "adapter_config.json").write_text("{}")
    refused(folder, "it is a LoRA adapter, not a model. Give the model it was trained on")


def test_revision_of_a_path(folder):
    refused(folder, "only hub models have revisions", OptionError, revision="main")


@pytest.mark.parametrize(
    "fields, match",
    [
        ({"model_type": "llama"}, "model_type 'llama'; only GPT-2"),
        ({"model_type": None}, "no model_type"),
        ({"n_head": 5}, "n_embd 12 is not divisible by n_head 5"),
        ({"n_head": 0}, "n_head is 0; a positive whole number"),
        ({"n_layer": 2.0}, r"n_layer is 2\.0"),
        ({"n_layer": True}, "n_layer is True"),
        ({"n_embd": "12"}, "n_embd is '12'"),
        ({"vocab_size": -1}, "vocab_size is -1"),
        ({"n_positions": None}, "n_positions is None"),
        ({"n_inner": 0}, "n_inner is 0"),
        ({"layer_norm_epsilon": 0}, "layer_norm_epsilon is 0"),
        ({"layer_norm_epsilon": float("nan")}, "layer_norm_epsilon is nan"),
        ({"scale_attn_weights": 1}, "scale_attn_weights is 1; true or false"),
        ({"reorder_and_upcast_attn": "no"}, "reorder_and_upcast_attn is 'no'"),
        ({"tie_word_embeddings": None}, "tie_word_embeddings is None"),
        ({"activation_function": "mish"}, "activation_function is 'mish'; supported are gelu_new, "),
        ({"activation_function": ["gelu"]}, "activation_function is"),
        ({"add_cross_attention": True}, "add_cross_attention, which adds cross-attention"),
        ({"is_causal": False}, "is_causal, which lets tokens see"),
        ({"sliding_window": 4}, "sliding_window, which limits"),
        ({"quantization_config": {"bits": 4}}, "already quantized.*Give the checkpoint it was quantized from"),
        ({"auto_map": {"AutoModel": "code.Model"}}, "Python code.*never run"),
    ],
    ids=str,
)
def test_configs(folder, fields, match):
    edit_config(folder, **fields)
    refused(folder, match)


@pytest.mark.parametrize("text", ["{", "", "[1]", "\x00", '"gpt2"', "[" * 100_000])
def test_broken_config(folder, text):
    (folder / "config.json").write_text(text)
    refused(folder, "config.json (is not valid JSON|holds .* where a JSON object was expected).*again")
    (folder / "config.json").write_bytes(b"\xff\xfe{}")
    refused(folder, "config.json is not valid JSON")


def test_missing_tensors(folder):
    edit_weights(folder, lambda tensors: [tensors.pop(name) for name in list(tensors) if ".h.1." in name])
    refused(folder, r"lacks 12 tensors \(h.1.ln_1.weight, h.1.ln_1.bias, h.1.attn.c_attn.weight, …\) of the 28")


def test_missing_untied_head(folder):
    edit_config(folder, tie_word_embeddings=False)
    refused(folder, r"lacks 1 tensor \(lm_head.weight\)")


def test_unknown_tensors(folder):
    edit_weights(folder, lambda tensors: tensors.update({"score.weight": torch.ones(2, 12)}))
    refused(folder, r"holds 1 tensor \(score.weight\) that the GPT-2 its config describes does not have")
    edit_config(folder, n_layer=1)
    refused(folder, r"holds 13 tensors \(score.weight, h.1.attn")


def test_a_billion_layers_cost_nothing(folder):
    edit_config(folder, n_layer=10**9)
    refused(folder, "config says 1000000000 layers, but the weights hold 28 tensors")


@pytest.mark.parametrize(
    "fields, match",
    [
        ({"vocab_size": 96}, r"wte.weight has the shape \[97, 12\], but its config makes it \[96, 12\]"),
        ({"n_inner": 20}, r"h.0.mlp.c_fc.weight has the shape \[12, 48\], but its config makes it \[12, 20\]"),
    ],
)
def test_wrong_shapes(folder, fields, match):
    edit_config(folder, **fields)
    refused(folder, match)


def test_a_head_of_another_size_is_not_taken_for_tied(folder):
    edit_weights(
        folder, lambda tensors: tensors.update({"lm_head.weight": tensors["transformer.wte.weight"][:5].clone()})
    )
    refused(folder, r"lm_head.weight has the shape \[5, 12\]")


def test_same_tensor_with_and_without_prefix(folder):
    edit_weights(folder, lambda tensors: tensors.update({"wte.weight": tensors["transformer.wte.weight"].clone()}))
    refused(folder, "holds wte.weight twice")


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_not_finite_weights(folder, bad):
    def spoil(tensors):
        tensors["transformer.h.1.mlp.c_fc.weight"][3, 4:6] = bad

    open_checkpoint(folder).check_finite()
    edit_weights(folder, spoil)
    with pytest.raises(BundleError, match=r"h.1.mlp.c_fc.weight in .* has 2 NaN or infinite values out of 576"):
        open_checkpoint(folder).check_finite()


def test_float64_that_overflows_float32(folder):
    edit_weights(
        folder, lambda tensors: tensors.update({"transformer.ln_f.bias": torch.full((12,), 1e300, dtype=torch.float64)})
    )
    with pytest.raises(BundleError, match="ln_f.bias in .* has 12 NaN or infinite values"):
        open_checkpoint(folder).check_finite()


def test_vocabulary_larger_than_the_embedding(folder):
    opened = open_checkpoint(folder)
    opened.check_vocabulary(97)
    opened.check_vocabulary(5)
    with pytest.raises(
        BundleError, match="has 98 tokens, as transformers reads it, but the embedding of model has 97 rows"
    ):
        opened.check_vocabulary(98)


@pytest.mark.parametrize("format", ["safetensors", "bin"])
def test_integer_weights(folder, format):
    edit_weights(folder, lambda tensors: tensors.update({"transformer.ln_f.bias": torch.ones(12, dtype=torch.int8)}))
    if format == "bin":
        rewrite_as_bin(folder)
    with pytest.raises(BundleError, match="ln_f.bias as (I8|int8); float16, bfloat16, float32 or float64"):
        open_checkpoint(folder).tensor("ln_f.bias")


@pytest.mark.parametrize("keep", [0, 4, 100, 5000, -1])
@pytest.mark.parametrize("format", ["safetensors", "bin"])
def test_truncated_weights(folder, format, keep):
    if format == "bin":
        rewrite_as_bin(folder)
    path = next(path for path in folder.iterdir() if path.suffix == f".{format}")
    path.write_bytes(path.read_bytes()[:keep])
    refused(folder, "(is not a complete safetensors file|is damaged|cannot be loaded).*again|with save_pretrained")


def test_safetensors_that_lie_about_their_header(folder):
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", 2**62) + b"{}")
    refused(folder, "is not a complete safetensors file")


def test_git_lfs_pointer(folder):
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n")
    refused(folder, "is a Git LFS pointer.*git lfs pull")


class Harmful:  # its __reduce__ is set by the test
    pass


@pytest.mark.parametrize("zipped", [True, False])
def test_pickle_that_runs_code(folder, tmp_path, monkeypatch, zipped):
    mark = tmp_path / "pickle_was_run"
    monkeypatch.setattr(Harmful, "__reduce__", lambda self: (Path.touch, (mark,)), raising=False)
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save({**state, "extra": Harmful()}, folder / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)
    refused(folder, "cannot be loaded without running code from it, which is never done.*save_pretrained")
    assert not mark.exists()


def test_bin_that_holds_no_state_dict(folder):
    (folder / "model.safetensors").unlink()
    torch.save([torch.ones(2)], folder / "pytorch_model.bin")
    refused(folder, "does not hold named tensors")


@pytest.mark.parametrize(
    "weight_map, match",
    [
        (None, "has no weight_map"),
        ({}, "has no weight_map"),
        ({"transformer.wte.weight": "../secret.safetensors"}, "names the shard '../secret.safetensors'"),
        ({"transformer.wte.weight": "/etc/passwd"}, "names the shard '/etc/passwd'"),
        ({"transformer.wte.weight": "shard.bin"}, "names the shard 'shard.bin'"),
        ({"transformer.wte.weight": "gone.safetensors"}, "gone.safetensors is missing, though"),
        ({"nothing": "part.safetensors"}, "part.safetensors does not hold nothing, though"),
    ],
    ids=str,
)
def test_broken_index(folder, weight_map, match):
    (folder / "model.safetensors").rename(folder / "part.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    refused(folder, match)


def test_vocabulary_is_asked_for_when_needed(folder, tmp_path):
    (folder / "vocab.json").unlink()
    opened = open_checkpoint(folder)
    with pytest.raises(BundleError, match="has no vocabulary: vocab.json with merges.txt, or tokenizer.json"):
        opened.folder
    elsewhere = write_vocabulary(tmp_path / "elsewhere")
    assert open_checkpoint(folder, tokenizer=elsewhere).folder == elsewhere
    assert open_checkpoint(folder, tokenizer=elsewhere / "vocab.json").folder == elsewhere
    refused(folder, "tokenizer .* is no folder", OptionError, tokenizer=tmp_path / "gone")
    refused(folder, "tokenizer .* is no folder", tokenizer=folder / "config.json")
    refused(folder, "has no vocabulary", tokenizer=folder)


def test_a_format_is_a_module_in_the_list(folder, tmp_path, monkeypatch):
    """A format that nobody knows reads its own files, and is named where nothing recognizes a path."""
    path = tmp_path / "weights.mine"
    path.write_text("mine")
    write_vocabulary(tmp_path)
    mine = SimpleNamespace(
        EXPECTED="a .mine file",
        recognize=lambda path: path.suffix == ".mine",
        read=lambda path: replace(hugging_face.read(folder), kind="mine", path=path),
    )
    monkeypatch.setattr(checkpoint, "FORMATS", (*checkpoint.FORMATS, mine))
    opened = open_checkpoint(path)
    assert (opened.source.kind, opened.source.path, opened.folder) == ("mine", path, tmp_path)
    (tmp_path / "notes").write_text("text")
    refused(tmp_path / "notes", ", or a .mine file$")


def test_opening_needs_no_transformers(folder):
    code = (
        "import sys; from bundler.checkpoints.checkpoint import open_checkpoint; "
        "open_checkpoint(sys.argv[1]).check_finite(); assert 'transformers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, folder], check=True)
