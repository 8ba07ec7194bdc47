"""Every recipe on a model wide enough for blocks of 128, by size and by distance from PyTorch."""

import numpy as np
import pytest
from test_convert import stored_matrices
from tiny_gpt2 import VOCABULARY, write_tiny_checkpoint

from bundler.checkpoints.checkpoint import open_checkpoint
from bundler.conversion.convert import Signatures, convert_fp32
from bundler.conversion.gpt2 import TokenRows, load_exportable
from bundler.conversion.quantize import RECIPES, quantize, recipe_of
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
    found = np.stack([model.decode(token)[:VOCABULARY] for token in IDS[30:]])
    figures = compare_logits(Reference(checkpoint, VOCABULARY).logits(IDS)[30:], found)
    assert figures["mean_kl"] < RECIPES[recipe].mean_kl
    if recipe != "fp32":
        assert figures["max_logit_difference"] > 1e-5  # it was quantized


def embedding_sizes(recipe):
    element = {"fp32": 4, "fp16": 2}.get(recipe, 1)
    return {404 * 128 * element, 96 * 128 * element}


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
