"""Hugging Face folders: read as transformers reads them, or refused in a sentence."""

import hashlib
import json
import shutil
import struct
import sys

import pytest
import torch
from safetensors.torch import load_file
from tiny_checkpoint import (
    assert_same_as_transformers,
    edit_config,
    edit_weights,
    peak_kilobytes,
    rewrite_as_bin,
    write_model,
)
from transformers import GPT2Config, GPT2DoubleHeadsModel, GPT2LMHeadModel, GPT2Model

from bundler.checkpoints import architecture
from bundler.checkpoints.checkpoint import open_checkpoint
from bundler.conversion import gpt2
from bundler.errors import BundleError


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("checkpoint") / "model")


@pytest.fixture
def folder(pristine, tmp_path):
    return shutil.copytree(pristine, tmp_path / "model")


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"n_inner": 20, "layer_norm_epsilon": 1e-3},
        {"scale_attn_weights": False},
        {"scale_attn_by_inverse_layer_idx": True},
        {"reorder_and_upcast_attn": False, "tie_word_embeddings": False},
        {"n_head": 1},
        {"n_head": 12, "n_layer": 1},
        *(
            {"activation_function": name}
            for name in ("gelu", "gelu_fast", "gelu_pytorch_tanh", "quick_gelu", "relu", "silu", "swish", "tanh")
        ),
    ],
    ids=str,
)
def test_logits_equal_transformers(tmp_path, fields):
    checkpoint = assert_same_as_transformers(write_model(tmp_path, **fields))
    assert checkpoint.architecture.tied_head == fields.get("tie_word_embeddings", True)


def test_every_honoured_activation_can_be_exported():
    assert set(architecture.ACTIVATIONS) == set(gpt2.FUNCTIONS)


def test_upcast_attention_changes_only_roundings(folder):
    edit_config(folder, reorder_and_upcast_attn=True)
    ids = torch.arange(24)[None]
    original = GPT2LMHeadModel.from_pretrained(folder, attn_implementation="eager").eval()
    torch.testing.assert_close(
        open_checkpoint(folder).reference_model()(ids).logits, original(ids).logits, rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_read_as_float32(tmp_path, dtype):
    checkpoint = assert_same_as_transformers(write_model(tmp_path, dtype=dtype))
    assert {checkpoint.tensor(name).dtype for name in checkpoint.names()} == {torch.float32}


@pytest.mark.parametrize("sharded", [False, True])
@pytest.mark.parametrize("format", ["safetensors", "bin"])
def test_files_and_shards(tmp_path, sharded, format):
    write_model(tmp_path, shard_size="6KB" if sharded else "1GB")
    if format == "bin":
        rewrite_as_bin(tmp_path)
    checkpoint = assert_same_as_transformers(tmp_path)
    weights = [path for path in checkpoint.source.files if path.suffix in (".safetensors", ".bin")]
    assert len(weights) == (len(list(tmp_path.glob("*-of-*"))) if sharded else 1)


def test_bin_from_before_zip_files_is_read(folder):
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(state, folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    assert torch.equal(open_checkpoint(folder).tensor("wte.weight"), state["transformer.wte.weight"])


def test_names_without_prefix_and_saved_masks(tmp_path):
    write_model(tmp_path, GPT2Model)
    edit_weights(
        tmp_path,
        lambda tensors: tensors.update(
            {"h.0.attn.bias": torch.ones(1, 1, 24, 24), "h.1.attn.masked_bias": torch.tensor(-1e4)}
        ),
    )
    checkpoint = assert_same_as_transformers(tmp_path)
    assert checkpoint.names() == list(checkpoint.architecture.tensor_shapes())
    assert all(
        tuple(checkpoint.tensor(name).shape) == shape for name, shape in checkpoint.architecture.tensor_shapes().items()
    )


def test_second_head_is_left_out(tmp_path):
    assert_same_as_transformers(write_model(tmp_path, GPT2DoubleHeadsModel))


def test_equal_head_is_tied_even_if_the_config_says_untied(folder):
    edit_weights(folder, lambda tensors: tensors.update({"lm_head.weight": tensors["transformer.wte.weight"].clone()}))
    assert assert_same_as_transformers(folder).architecture.tied_head
    edit_config(folder, tie_word_embeddings=False)
    checkpoint = assert_same_as_transformers(folder)
    assert checkpoint.architecture.tied_head and "lm_head.weight" not in checkpoint.names()


def test_different_head_is_untied_even_if_the_config_says_tied(folder):
    edit_weights(folder, lambda tensors: tensors.update({"lm_head.weight": tensors["transformer.wte.weight"] * 2}))
    checkpoint = assert_same_as_transformers(folder)
    assert not checkpoint.architecture.tied_head and checkpoint.names()[-1] == "lm_head.weight"


def test_lone_head_serves_as_embedding(folder):
    edit_weights(folder, lambda tensors: tensors.update({"lm_head.weight": tensors.pop("transformer.wte.weight")}))
    assert assert_same_as_transformers(folder).architecture.tied_head


def test_other_names_of_config_fields(folder):
    config = json.loads((folder / "config.json").read_text())
    for old, new in {
        "n_embd": "hidden_size",
        "n_layer": "num_hidden_layers",
        "n_head": "num_attention_heads",
        "n_positions": "max_position_embeddings",
    }.items():
        config[new] = config.pop(old)
    (folder / "config.json").write_text(json.dumps(config))
    architecture = assert_same_as_transformers(folder).architecture
    assert (architecture.width, architecture.layers, architecture.heads, architecture.positions) == (12, 2, 3, 24)
    assert architecture.inner == 48 and architecture.head_dim == 4


def test_special_tokens(folder):
    edit_config(folder, bos_token_id=5, eos_token_id=6)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [7, 8, 50256]}))
    special = open_checkpoint(folder).special
    assert (special.bos, special.eos) == (5, (7, 8, 50256))
    (folder / "generation_config.json").unlink()
    assert open_checkpoint(folder).special.eos == (6,)
    edit_config(folder, eos_token_id="</s>")
    with pytest.raises(BundleError, match="eos_token_id is '</s>'"):
        open_checkpoint(folder)


def test_source_and_hashes(folder):
    source = open_checkpoint(folder).source
    assert (source.kind, source.name, source.revision) == ("folder", "model", None)
    hashes = source.hashes()
    assert set(hashes) == {"config.json", "generation_config.json", "model.safetensors", "vocab.json", "merges.txt"}
    assert hashes["model.safetensors"] == hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def test_tensors_are_copies(folder):
    checkpoint = open_checkpoint(folder)
    checkpoint.tensor("wte.weight").zero_()
    assert checkpoint.tensor("wte.weight").any()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("format", ["safetensors", "bin"])
def test_one_tensor_of_a_huge_checkpoint_costs_little(tmp_path, format):
    """8 GB of weights that take no disk: a sparse file."""
    config = GPT2Config(n_embd=4096, n_layer=8, n_head=32)
    config.save_pretrained(tmp_path)
    with torch.device("meta"):
        shapes = {
            name: tensor.shape
            for name, tensor in GPT2LMHeadModel(config).state_dict().items()
            if name != "lm_head.weight"
        }
    if format == "safetensors":
        header, end = {}, 0
        for name, shape in shapes.items():
            header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [end, end + 4 * shape.numel()]}
            end += 4 * shape.numel()
        text = json.dumps(header).encode()
        with open(tmp_path / "model.safetensors", "wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            file.truncate(8 + len(text) + end)
    else:
        # One storage of 100 MB that every tensor is a view of: mapped, none of it is read.
        zeros = torch.zeros(25_000_000)
        state = {name: zeros.as_strided(shape, [0] * len(shape)) for name, shape in shapes.items()}
        torch.save(state, tmp_path / "pytorch_model.bin")
    work = "assert open_checkpoint(sys.argv[1]).tensor('h.3.ln_1.weight').shape == (4096,)"
    assert peak_kilobytes(work, tmp_path) < 40_000  # the embedding alone has 800,000
