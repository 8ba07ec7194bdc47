"""Every recipe on a model wide enough for blocks of 128, by size and by distance from PyTorch."""

import subprocess
import sys

import numpy as np
import pytest
import reference_quantizer
from ai_edge_litert import schema_py_generated as schema
from reference_quantizer import RULES
from test_convert import stored_matrices
from tiny_gpt2 import VOCABULARY, write_tiny_checkpoint

import bundler
from bundler.checkpoints.checkpoint import open_checkpoint
from bundler.commands.cli import run
from bundler.conversion.convert import Signatures, convert_graph, fill_graph
from bundler.conversion.exported_weights import TokenRows, exported_weights
from bundler.conversion.quantize import check_recipe, quantize, recipe_of
from bundler.conversion.recipes import INT8, RECIPES, Recipe, Storage
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
    "auto": 0.5 + 2 / 32,  # as long as nothing else is chosen
}


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """A folder with the model in every recipe, and its checkpoint."""
    folder = tmp_path_factory.mktemp("wide")
    checkpoint, rows = (
        open_checkpoint(write_tiny_checkpoint(folder / "model", n_embd=128)),
        TokenRows(VOCABULARY, (7, 9)),
    )
    convert_graph(checkpoint.architecture, rows, Signatures(96, (8, 32)), folder / "graph")
    for name, recipe in RECIPES.items():
        if not recipe.calibrated:
            fill_graph(folder / "graph", exported_weights(checkpoint, 96, rows), recipe, folder / f"{name}.tflite")
    return folder, checkpoint


@pytest.mark.parametrize("recipe", RULES)
def test_constants_and_logits_are_those_of_ai_edge_quantizer(wide, recipe):
    folder, _ = wide
    reference_quantizer.quantize(folder / "fp32.tflite", recipe, folder / "reference.tflite")
    paths = folder / f"{recipe}.tflite", folder / "reference.tflite"
    constants, expected = map(stored_constants, paths)
    assert sorted(constants) == sorted(expected) and len(constants) > 2 * 16
    logits, reference = (TFLiteGPT2(path).along(IDS) for path in paths)
    assert np.array_equal(logits, reference)


def stored_constants(path):
    """Every constant in use that is not a few numbers, with its scales: bytes that are the same for equal content."""
    model = schema.ModelT.InitFromPackedBuf(path.read_bytes())
    constants = set()
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            data, quantization = model.buffers[tensor.buffer].data, tensor.quantization
            if data is None or len(data) <= 16:
                continue
            scales = b"" if quantization is None or quantization.scale is None else quantization.scale.tobytes()
            constants.add((tensor.type, tuple(tensor.shape), data.tobytes(), scales))
    return constants


@pytest.mark.parametrize("recipe", RECIPES)
def test_recipe(wide, recipe):
    folder, checkpoint = wide
    path = folder / f"{recipe}.tflite"
    if RECIPES[recipe].calibrated:
        quantize(folder / "fp32.tflite", RECIPES[recipe], path, [IDS])
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


def test_an_entry_of_the_table_is_a_whole_recipe(tiny_checkpoint, tmp_path, monkeypatch, capsys):
    """Built, verified and named, with no other line about it."""
    monkeypatch.setitem(RECIPES, "int8-new", Recipe("a new one", 0.05, Storage(8, dequantized=True), INT8))
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
    logits = []
    for token in (7, VOCABULARY):  # the first alias stands for 7
        model = TFLiteGPT2(wide[0] / "int8.tflite")
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
    assert recipe_of(open_model(FileSection.whole(wide[0] / f"{recipe}.tflite"))) == looks_like


def test_names_of_tensors_say_nothing_of_python(tiny_bundle):
    """A name is stored for every tensor of every signature: with modules and classes they take a twentieth of a small
    model."""
    task = (tiny_bundle[0] / "tiny.task").read_bytes()
    assert b"blocks.0.ln_1.weight" in task
    assert b"bundler.c" not in task and b"_Signature" not in task and b"ExportableGPT2" not in task
