"""Recipes side by side: the sizes of their builds, and the distance that verification measures."""

import json

import pytest

from bundler.commands.cli import run
from bundler.errors import OptionError
from bundler.pipeline.compare_recipes import CompareOptions, compare_recipes
from bundler.pipeline.plan import BuildOptions


def test_a_comparison(tiny_checkpoint, tiny_bundle, tmp_path, capsys):
    output = tmp_path / "recipes"
    arguments = ["compare", str(tiny_checkpoint), "-o", str(output), "--recipes", "fp32,int8", "--rounds", "1"]
    assert run(arguments) == 0
    table = capsys.readouterr().out
    assert "fp32" in table and "int8" in table and max(map(len, table.splitlines()[:-1])) <= 80
    result = json.loads((output / "comparison.json").read_text())
    fp32, int8 = result["recipes"]["fp32"], result["recipes"]["int8"]
    gate = next(gate for gate in tiny_bundle[1]["verification"] if gate["name"] == "distributions on a text")
    assert int8["mean_kl"] == pytest.approx(gate["figures"]["mean_kl"], rel=0.01)
    assert int8["mean_kl"] > fp32["mean_kl"]
    assert int8["bytes"]["tflite"] == tiny_bundle[1]["bytes"]["tflite"] < fp32["bytes"]["tflite"]
    assert fp32["decode"]["median"] > 0
    page = (output / "comparison.html").read_text()
    assert "fp32" in page and "Perplexity" in page
    assert run(arguments) == 2  # it exists


@pytest.mark.parametrize("recipes", [(), ("auto",), ("int8", "int8"), ("int3",)])
def test_recipes_are_checked_before_the_work(tiny_checkpoint, tmp_path, recipes):
    with pytest.raises(OptionError):
        compare_recipes(CompareOptions(BuildOptions(str(tiny_checkpoint), tmp_path / "x"), recipes))
