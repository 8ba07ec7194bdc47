"""nanoGPT's ckpt.pt: the same logits as nanoGPT's forward pass, written here from its description."""

import math
import sys
from pathlib import Path

import pytest
import torch
from nanogpt_checkpoint import write_checkpoint
from tiny_checkpoint import assert_same_as_transformers, peak_kilobytes, write_vocabulary
from torch.nn.functional import gelu, layer_norm, linear

from bundler.checkpoints.checkpoint import open_checkpoint
from bundler.errors import BundleError


def nanogpt_logits(state, arguments, ids):
    """[batch, time, vocabulary] for ids [batch, time], in evaluation mode."""
    width, heads = arguments["n_embd"], arguments["n_head"]

    def of(name):
        return state[f"transformer.{name}.weight"], state.get(f"transformer.{name}.bias")

    def normed(x, name):
        return layer_norm(x, (width,), *of(name), eps=1e-5)

    def split(x):
        return x.unflatten(2, (heads, width // heads)).transpose(1, 2)

    time = ids.shape[1]
    future = torch.ones(time, time).triu(1).bool()
    x = state["transformer.wte.weight"][ids] + state["transformer.wpe.weight"][:time]
    for layer in range(arguments["n_layer"]):
        qkv = linear(normed(x, f"h.{layer}.ln_1"), *of(f"h.{layer}.attn.c_attn"))
        q, k, v = (split(part) for part in qkv.chunk(3, 2))
        scores = (q @ k.transpose(2, 3) / math.sqrt(width // heads)).masked_fill(future, -math.inf)
        x = x + linear((scores.softmax(-1) @ v).transpose(1, 2).flatten(2), *of(f"h.{layer}.attn.c_proj"))
        inner = gelu(linear(normed(x, f"h.{layer}.ln_2"), *of(f"h.{layer}.mlp.c_fc")))
        x = x + linear(inner, *of(f"h.{layer}.mlp.c_proj"))
    return normed(x, "ln_f") @ state["lm_head.weight"].T


@pytest.mark.parametrize("bias", [True, False, None], ids=["bias", "no bias", "from before the option"])
@pytest.mark.parametrize("prefix", ["", "_orig_mod."], ids=["plain", "compiled"])
def test_logits_equal_nanogpt(tmp_path, bias, prefix):
    path, state, arguments = write_checkpoint(tmp_path / "out", prefix, bias=bias)
    checkpoint = open_checkpoint(path)
    ids = torch.randint(64, (3, 16), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        logits = checkpoint.reference_model()(ids).logits
    torch.testing.assert_close(logits, nanogpt_logits(state, arguments, ids), rtol=1e-5, atol=1e-5)
    assert logits.std() > 0.2  # not equal for being nearly zero
    architecture = checkpoint.architecture
    assert (architecture.activation, architecture.positions, architecture.tied_head) == ("gelu", 16, True)


def test_saved_again_by_transformers_it_is_the_same_model(tmp_path):
    path, _, _ = write_checkpoint(tmp_path / "out")
    checkpoint = open_checkpoint(path)
    checkpoint.reference_model().save_pretrained(tmp_path / "converted")
    again = assert_same_as_transformers(tmp_path / "converted", vocabulary=64, positions=16)
    assert again.architecture == checkpoint.architecture
    assert all(torch.equal(again.tensor(name), checkpoint.tensor(name)) for name in again.names())


def test_the_folder_of_a_ckpt_is_taken_too(tmp_path):
    path, _, _ = write_checkpoint(tmp_path / "out-mine")
    source = open_checkpoint(tmp_path / "out-mine").source
    assert (source.kind, source.name, source.path, source.revision) == ("nanogpt", "out-mine", path, None)
    assert set(source.hashes()) == {"ckpt.pt", "vocab.json", "merges.txt"}


def test_saved_causal_mask_is_dropped(tmp_path):
    def add_mask(checkpoint):
        checkpoint["model"]["transformer.h.0.attn.bias"] = torch.ones(1, 1, 16, 16).tril()

    path, _, _ = write_checkpoint(tmp_path, change=add_mask)
    assert open_checkpoint(path).names() == list(open_checkpoint(path).architecture.tensor_shapes())


def test_padded_vocabulary(tmp_path):
    path, _, _ = write_checkpoint(tmp_path)
    open_checkpoint(path).check_vocabulary(57)
    with pytest.raises(
        BundleError, match="has 65 tokens, as transformers reads it, but the embedding of .* has 64 rows"
    ):
        open_checkpoint(path).check_vocabulary(65)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_optimizer_is_not_read(tmp_path):
    def grow(checkpoint):
        checkpoint["optimizer"]["state"][0]["exp_avg"] = torch.zeros(25_000_000)

    path, _, _ = write_checkpoint(tmp_path, change=grow)
    # the optimizer's state has 100,000
    assert peak_kilobytes("open_checkpoint(sys.argv[1]).check_finite()", path) < 40_000


@pytest.mark.parametrize("tokenizer", [None, "elsewhere"])
def test_vocabulary(tmp_path, tokenizer):
    path, _, _ = write_checkpoint(tmp_path / "out")
    elsewhere = write_vocabulary(tmp_path / "elsewhere")
    given = elsewhere if tokenizer else None
    assert open_checkpoint(path, tokenizer=given).folder == (elsewhere if tokenizer else path.parent)
    (path.parent / "merges.txt").unlink()
    if tokenizer:
        open_checkpoint(path, tokenizer=given)
    else:
        with pytest.raises(BundleError, match="has no vocabulary.*as the tokenizer .nanoGPT's default is GPT-2"):
            open_checkpoint(path)
        (path.parent / "tokenizer.json").write_text("{}")
        open_checkpoint(path)


def test_character_vocabulary_is_refused(tmp_path):
    path, _, _ = write_checkpoint(tmp_path / "out")
    (path.parent / "merges.txt").unlink()
    meta = path.parent / "meta.pkl"
    meta.write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    for tokenizer in (None, meta, path.parent):
        with pytest.raises(BundleError, match="meta.pkl is nanoGPT's character vocabulary: a pickle.*never opened"):
            open_checkpoint(path, tokenizer=tokenizer)
    with pytest.raises(BundleError, match="not a checkpoint; give the ckpt.pt"):
        open_checkpoint(meta)


def pop_model(checkpoint):
    del checkpoint["model"]


def pop_block_size(checkpoint):
    del checkpoint["model_args"]["block_size"]


def pop_layer_norm(checkpoint):
    del checkpoint["model"]["transformer.h.1.ln_2.weight"]


def widen(checkpoint):
    checkpoint["model"]["transformer.h.1.mlp.c_fc.weight"] = torch.ones(50, 12)


@pytest.mark.parametrize(
    "arguments, change, match",
    [
        ({}, pop_model, "is not nanoGPT's: it holds a dict with 'model_args', .* where a dict with 'model'"),
        ({}, pop_block_size, "model_args lacks block_size"),
        ({}, pop_layer_norm, r"lacks 1 tensor \(h.1.ln_2.weight\)"),
        ({}, widen, r"h.1.mlp.c_fc.weight has the shape \[12, 50\], but its config makes it \[12, 48\]"),
        ({"n_kv_head": 1}, None, "model_args has 'n_kv_head', which nanoGPT's GPT does not know"),
        ({"n_head": 5}, None, "n_embd 12 is not divisible by n_head 5"),
        (
            {"bias": False},
            lambda checkpoint: checkpoint["model"].update({"transformer.ln_f.bias": torch.ones(12)}),
            "holds transformer.ln_f.bias although its model_args say bias=False",
        ),
        ({}, lambda checkpoint: checkpoint["model_args"].update(block_size=0), "block_size 0; a positive whole number"),
        ({}, lambda checkpoint: checkpoint["model_args"].update(n_layer=10**9), "config says 1000000000 layers"),
        ({}, lambda checkpoint: checkpoint["model_args"].update(bias="yes"), "bias 'yes'; True or False"),
        ({}, lambda checkpoint: checkpoint.update(config=Path("x")), "cannot be loaded without running code"),
    ],
)
def test_refusals(tmp_path, arguments, change, match):
    path, _, _ = write_checkpoint(tmp_path, change=change or (lambda checkpoint: None), **arguments)
    with pytest.raises(BundleError, match=match):
        open_checkpoint(path)


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04 no zip", b"\x80\x04."])
def test_files_that_are_no_checkpoint(tmp_path, content):
    (tmp_path / "ckpt.pt").write_bytes(content)
    with pytest.raises(BundleError, match="ckpt.pt (is damaged|cannot be loaded)"):
        open_checkpoint(tmp_path)
