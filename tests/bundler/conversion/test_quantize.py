"""Every recipe on a model wide enough for blocks of 128, by size and by distance from PyTorch."""

import subprocess
import sys

import numpy as np
import pytest
from test_convert import stored_matrices
from tiny_gpt2 import VOCABULARY, write_tiny_checkpoint

import bundler
from bundler.checkpoints.checkpoint import open_checkpoint
from bundler.commands.cli import run
from bundler.conversion.convert import Signatures, convert_fp32
from bundler.conversion.gpt2 import TokenRows, load_exportable
from bundler.conversion.quantize import check_recipe, quantize, recipe_of
from bundler.conversion.recipes import ANYWHERE, RECIPES, Recipe
from bundler.errors import OptionError
from bundler.system.file_section import FileSection
from bundler.tflite.model import open_model
from bundler.tflite.runner import TFLiteGPT2
from bundler.verification.divergence import compare_logits
from bundler.verification.references import Reference

IDS = [399, *np.random.default_rng(1).integers(0, 399, 50).tolist()]
# Bytes a weight of the linear layers takes; in int4 with the fp16 scale of its block.
BYTES = {
    "fp32": 4,
    "fp16": 2,
    "int8": 1,
    "int8-weight-only": 1,
    "int4-block32": 0.5 + 2 / 32,
    "int4-block128": 0.5 + 2 / 128,
    "int8-static": 1,
}


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wide")
    checkpoint = open_checkpoint(write_tiny_checkpoint(folder / "model", n_embd=128))
    convert_fp32(
        load_exportable(checkpoint, 96, TokenRows(VOCABULARY, (7, 9))), Signatures(96, (8, 32)), folder / "fp32.tflite"
    )
    return folder, checkpoint


@pytest.mark.parametrize("recipe", RECIPES)
def test_recipe(wide, recipe):
    folder, checkpoint = wide
    path = folder / f"{recipe}.tflite"
    if recipe != "fp32":
        quantize(folder / "fp32.tflite", recipe, path, [IDS])
    # 2 layers of 12 matrices of width x width; the embeddings stay int8 in int4.
    linear = sum(size for size in stored_matrices(path).values() if size not in embedding_sizes(recipe))
    assert linear == pytest.approx(2 * 12 * 128 * 128 * BYTES[recipe], rel=0.03)
    assert path.stat().st_size < linear + sum(embedding_sizes(recipe)) + 250_000

    model = TFLiteGPT2(path)
    model.prefill(IDS[:30])
    logits = np.stack([model.decode(token)[:VOCABULARY] for token in IDS[30:]])
    figures = compare_logits(Reference(checkpoint, VOCABULARY).logits(IDS)[30:], logits)
    assert figures["mean_kl"] < RECIPES[recipe].mean_kl
    if recipe != "fp32":
        assert figures["max_logit_difference"] > 1e-5  # it was quantized


def embedding_sizes(recipe):
    element = {"fp32": 4, "fp16": 2}.get(recipe, 1)
    return {404 * 128 * element, 96 * 128 * element}


def int8_head_and_tail(rules):
    from ai_edge_quantizer.qtyping import TFLOperationName as Operator

    rules.add_weight_only_config(ANYWHERE, Operator.FULLY_CONNECTED, 8)
    rules.add_dynamic_config(ANYWHERE, Operator.EMBEDDING_LOOKUP, 8)


def test_an_entry_of_the_table_is_a_whole_recipe(tiny_checkpoint, tmp_path, monkeypatch, capsys):
    """Built, verified and named, with no other line about it."""
    monkeypatch.setitem(RECIPES, "int8-new", Recipe("a new one", 0.05, 8, int8_head_and_tail))
    manifest = bundler.build(bundler.BuildOptions(str(tiny_checkpoint), tmp_path / "out", recipe="int8-new"))
    assert manifest["recipe"] == "int8-new" and manifest["verified"]
    assert all(gate.passed for gate in bundler.verify_bundle(tmp_path / "out" / "out.task", str(tiny_checkpoint)))
    assert run(["build", str(tiny_checkpoint), "-o", str(tmp_path / "other"), "--quant", "int9"]) == 2
    assert "int8-new" in capsys.readouterr().err


def test_the_table_is_read_without_the_quantizer():
    script = "import sys, bundler.conversion.recipes; sys.exit(any(name in sys.modules for name in "
    script += "('ai_edge_quantizer', 'torch', 'numpy')))"
    assert subprocess.run([sys.executable, "-c", script], timeout=60).returncode == 0


def test_a_recipe_whose_blocks_do_not_fit_names_those_that_do(tiny_checkpoint):
    with pytest.raises(OptionError, match="blocks of 128 do not divide .* choose fp32, .*int4-block32 or int8-static"):
        check_recipe("int4-block128", open_checkpoint(tiny_checkpoint).architecture)


def test_the_row_of_an_alias_is_quantized_like_its_original(wide):
    folder, _ = wide
    path = folder / "alias.tflite"
    quantize(folder / "fp32.tflite", "int8", path)
    logits = []
    for token in (7, VOCABULARY):  # the first alias stands for 7
        model = TFLiteGPT2(path)
        logits.append(model.decode(token))
    assert np.array_equal(*logits)


@pytest.mark.parametrize(
    "recipe, looks_like",
    [
        ("fp32", "fp32"),
        ("fp16", "fp16"),
        ("int8", "int8"),
        ("int8-weight-only", "int8"),
        ("int4-block32", "int4-block32"),
        ("int4-block128", "int4-block128"),
    ],
)
def test_the_recipe_is_recognized(wide, recipe, looks_like):
    folder, _ = wide
    path = folder / f"look-{recipe}.tflite"
    if recipe == "fp32":
        path = folder / "fp32.tflite"
    else:
        quantize(folder / "fp32.tflite", recipe, path)
    assert recipe_of(open_model(FileSection.whole(path))) == looks_like


def test_names_of_tensors_say_nothing_of_python(tiny_bundle):
    """A name is stored for every tensor of every signature: with modules and classes they take a twentieth of a small
    model."""
    task = (tiny_bundle[0] / "tiny.task").read_bytes()
    assert b"LayerNorm_ln_f" in task
    assert b"bundler.c" not in task and b"_Signature" not in task and b"ExportableGPT2" not in task
