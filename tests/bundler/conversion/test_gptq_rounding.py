"""GPTQ in the writing of a model: which Hessian each matrix gets, what a file holds, and how it computes."""

import numpy as np
import pytest
import torch
from tiny_checkpoint import write_model
from tiny_gpt2 import VOCABULARY, write_tiny_checkpoint
from whole_model import read

from bundler.checkpoints.checkpoint import open_checkpoint
from bundler.conversion.calibration import layer_hessians, write_text
from bundler.conversion.convert import Signatures, convert_graph, fill_graph
from bundler.conversion.exported_weights import TokenRows, exported_weights
from bundler.conversion.gptq import gptq
from bundler.conversion.gptq_rounding import CopiedRounding, GptqRounding
from bundler.conversion.recipes import INT8, RECIPES, Storage
from bundler.conversion.rounding import nearest
from bundler.tflite.runner import TFLiteGPT2
from bundler.verification.divergence import compare_logits
from bundler.verification.references import Reference


def test_every_matrix_is_rounded_for_the_inputs_it_meets(tmp_path):
    checkpoint = open_checkpoint(write_model(tmp_path / "model", n_layer=3))
    tokens = torch.randint(97, (5, 20), generator=torch.Generator().manual_seed(1))
    hessians = list(layer_hessians(checkpoint, tokens))
    rounding, storage = GptqRounding(checkpoint, tokens), Storage(4, 4)
    weights = exported_weights(checkpoint, 24, TokenRows(97))
    met = {"q": "qkv", "k": "qkv", "v": "qkv", "o": "o", "c_fc": "c_fc", "c_proj": "c_proj"}
    for layer in (0, 2):  # a layer may have nothing to round
        for matrix, inputs in met.items():
            name = f"blocks.{layer}.{matrix}.weight"
            values = read(weights[name]).numpy()
            rounded, expected = rounding(name, values, storage), gptq(values, getattr(hessians[layer], inputs), storage)
            np.testing.assert_array_equal(rounded.values, expected.values)
            np.testing.assert_array_equal(rounded.scales, expected.scales)
            assert (rounded.values != nearest(name, values, storage).values).any()
    values = read(weights["blocks.0.q.weight"]).numpy()
    np.testing.assert_array_equal(rounding("blocks.0.q.weight", values, INT8).values, nearest("", values, INT8).values)
    assert rounding("ln_f.weight", values, Storage()).values is values


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A checkpoint, its graph and weights, text of its own, and the model in int4-block32 by GPTQ."""
    folder = tmp_path_factory.mktemp("gptq")
    checkpoint = open_checkpoint(write_tiny_checkpoint(folder / "model"))
    rows = TokenRows(VOCABULARY)
    convert_graph(checkpoint.architecture, rows, Signatures(96, (32,)), folder / "graph")
    weights = exported_weights(checkpoint, 96, rows)
    tokens = write_text(checkpoint, VOCABULARY - 1, VOCABULARY, (20, 96))
    for name in ("int4", "again"):
        rounding = GptqRounding(checkpoint, tokens)
        fill_graph(folder / "graph", weights, RECIPES["int4-block32"], folder / name, rounding)
    return folder, checkpoint, weights


def test_the_file_computes_closer_to_pytorch_than_a_plainly_rounded_one(written):
    folder, checkpoint, weights = written
    fill_graph(folder / "graph", weights, RECIPES["int4-block32"], folder / "plain")
    text = write_text(checkpoint, VOCABULARY - 1, VOCABULARY, (23, 96))[-3:]
    reference = Reference(checkpoint, VOCABULARY)
    divergences = {
        name: np.mean(
            [
                compare_logits(reference.logits(ids), TFLiteGPT2(folder / name).along(ids)[:, :VOCABULARY])["mean_kl"]
                for ids in text.tolist()
            ]
        )
        for name in ("int4", "plain")
    }
    assert divergences["int4"] < 0.7 * divergences["plain"]
    assert (folder / "int4").stat().st_size == (folder / "plain").stat().st_size


def test_the_same_text_gives_the_same_file(written):
    folder, *_ = written
    assert (folder / "again").read_bytes() == (folder / "int4").read_bytes()


def test_a_second_file_takes_the_first_ones_rounding(written):
    folder, checkpoint, weights = written
    fill_graph(folder / "graph", weights, RECIPES["int4-block32"], folder / "copy", CopiedRounding(folder / "int4"))
    assert (folder / "copy").read_bytes() == (folder / "int4").read_bytes()
