"""The mix of the recipe `auto`: its size is the file's, and the limits hold."""

from dataclasses import replace

import pytest
from tiny_gpt2 import VOCABULARY, write_tiny_checkpoint

from bundler.checkpoints.checkpoint import open_checkpoint
from bundler.conversion.auto import (
    Limit,
    choose_mix,
    export_sensitivities,
    fitting,
    matrix_names,
    read_sensitivities,
)
from bundler.conversion.calibration import write_text, write_tokens
from bundler.conversion.convert import Export, Signatures, convert_graph, fill_graph, model_size
from bundler.conversion.exported_weights import TokenRows, exported_weights
from bundler.conversion.recipes import RECIPES
from bundler.errors import BundleError
from bundler.tflite.runner import TFLiteGPT2


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A folder with the graph, the checkpoint's weights, and the sensitivities."""
    folder = tmp_path_factory.mktemp("auto")
    source = write_tiny_checkpoint(folder / "model", n_embd=128)
    export = Export(source, source, TokenRows(VOCABULARY), Signatures(96, (32,)))
    checkpoint = export.open()
    convert_graph(checkpoint.architecture, export.rows, export.signatures, folder / "graph")
    write_tokens(folder / "text.npy", write_text(checkpoint, VOCABULARY - 1, VOCABULARY, (20, 96)))
    layers = []
    export_sensitivities(export, folder / "text.npy", folder / "found.json", layers.append)
    assert layers == [1, 2]
    return folder, exported_weights(checkpoint, 96, export.rows), read_sensitivities(folder / "found.json")


def test_every_part_is_measured_in_every_recipe(measured):
    *_, found = measured
    assert len(found) == 2 * 4 * 3
    kl = {(layer, part, recipe): value for layer, part, recipe, value in found}
    for layer, part in {key[:2] for key in kl}:
        assert 0 < kl[layer, part, "int8"] < kl[layer, part, "int4-block32"] / 10


def test_the_file_is_as_large_as_said_and_within_the_limit(measured):
    folder, weights, found = measured
    sizes = {name: model_size(folder / "graph", weights, RECIPES[name]) for name in ("int8", "int4-block128")}
    last = float("inf")
    for part in (0, 0.3, 0.7, 1):
        limit = int(sizes["int4-block128"] + part * (sizes["int8"] - sizes["int4-block128"]))
        mix = choose_mix(found, weights, folder / "graph", Limit(size=limit))
        fill_graph(folder / "graph", weights, mix.recipe(), folder / "mix")
        size = (folder / "mix").stat().st_size
        assert size == model_size(folder / "graph", weights, mix.recipe()) <= limit
        assert mix.kl < last
        last = mix.kl
        assert len(mix.as_dict()["parts"]) == 8
        assert TFLiteGPT2(folder / "mix").along([1, 2, 3]).shape == (3, VOCABULARY)
    assert {option.recipe for option in mix.chosen.values()} == {"int8"}


def test_a_limit_of_divergence_gives_the_smallest_mix(measured):
    folder, weights, found = measured
    wide, narrow = (choose_mix(found, weights, folder / "graph", Limit(kl=limit)) for limit in (2e-2, 1e-3))
    assert narrow.kl <= 1e-3 < wide.kl <= 2e-2
    assert sum(option.bytes for option in wide.chosen.values()) < sum(option.bytes for option in narrow.chosen.values())


@pytest.mark.parametrize(
    "limit, message",
    [
        (Limit(size=10_000), r"`max_size` 0.01: the smallest mix has 0\.\d MB; give as much"),
        (Limit(kl=1e-9), r"`max_kl` 1e-09: the closest mix has \S+ nats; give more"),
    ],
)
def test_a_limit_below_every_mix_is_refused(measured, limit, message):
    folder, weights, found = measured
    with pytest.raises(BundleError, match=message):
        choose_mix(found, weights, folder / "graph", limit)


def test_only_recipes_that_fit_the_widths_are_tried(tmp_path):
    architecture = open_checkpoint(write_tiny_checkpoint(tmp_path / "model")).architecture
    assert fitting(architecture) == ["int8", "int4-block32"]
    assert fitting(replace(architecture, width=128, inner=512)) == ["int8", "int4-block32", "int4-block128"]


def test_a_part_is_its_matrices():
    assert matrix_names("3.qkv") == ["blocks.3.q.weight", "blocks.3.k.weight", "blocks.3.v.weight"]
    assert matrix_names("0.c_fc") == ["blocks.0.c_fc.weight"]
