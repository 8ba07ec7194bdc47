"""fp32 TFLite -> TFLite in a recipe with rules, by ai-edge-quantizer; and which recipe fits a model, or made a file."""

from __future__ import annotations

from pathlib import Path
from typing import Sequence

from bundler.checkpoints.architecture import GPT2Architecture
from bundler.conversion.compact import compact_tflite
from bundler.conversion.recipes import AUTO, RECIPES, Recipe, any_of
from bundler.errors import OptionError
from bundler.system.native_output import quiet
from bundler.tflite.model import Model
from bundler.tflite.runner import TFLiteGPT2
from bundler.tflite.weights import weight_table


def check_known(recipe: str) -> None:
    """Raise OptionError for a recipe that nobody knows."""
    if recipe not in RECIPES:
        raise OptionError(f"`recipe` {recipe}: no such recipe; choose from {', '.join(RECIPES)}")


def check_recipe(recipe: str, architecture: GPT2Architecture) -> None:
    """Raise OptionError for a recipe whose blocks do not fit the model's widths."""
    width, inner = architecture.width, architecture.inner
    if not RECIPES[recipe].fits(width, inner):
        fitting = [name for name, entry in RECIPES.items() if name != AUTO and entry.fits(width, inner)]
        raise OptionError(
            f"`recipe` {recipe}: its blocks of {RECIPES[recipe].block} do not divide the model's width {width} or its "
            f"inner width {inner}; choose {any_of(fitting)}"
        )


def quantize(source: Path, recipe: Recipe, output: Path, calibration: Sequence[Sequence[int]]) -> None:
    """Write `source` (fp32 TFLite) to `output` in a calibrated `recipe`. `calibration`: token sequences to measure
    ranges on.
    """
    with quiet():
        from ai_edge_quantizer import quantizer, recipe_manager

        rules = recipe_manager.RecipeManager()
        recipe.rules(rules)
        quantizer_ = quantizer.Quantizer(str(source), rules.get_quantization_recipe())
        ranges = quantizer_.calibrate(_calibration_inputs(source, calibration), num_threads=2)
        quantizer_.quantize(
            ranges, serialize_to_path=str(output), enable_progress_bar=False, enable_progress_report=False
        )
    compact_tflite(output)


def recipe_of(model: Model) -> str:
    """The recipe a TFLite model looks made in, by how the matrices of its layers are stored; for files that do not say.

    The embedding, which is int8 in int4 recipes, does not count.
    """
    table = weight_table(model)
    schemes = " ".join(scheme for kind in ("attention", "mlp") for scheme in table.get(kind, {"types": ()})["types"])

    def mismatch(name: str) -> tuple[bool, int, bool]:
        recipe = RECIPES[name]
        stored = f"{'int' if recipe.bits <= 8 else 'float'}{recipe.bits} "
        return stored not in f"{schemes} ", recipe.bits, f"blocks of {recipe.block}" not in schemes

    return min(RECIPES, key=mismatch)


def _calibration_inputs(source: Path, sequences: Sequence[Sequence[int]]) -> dict[str, list[dict]]:
    """The inputs each signature meets when the model reads `sequences`."""
    samples: dict[str, list[dict]] = {}
    model = TFLiteGPT2(source, observe=lambda signature, inputs: samples.setdefault(signature, []).append(dict(inputs)))
    for sequence in sequences:
        for length in [*model.prefill_lengths, 1]:
            model.reset()
            if length == 1:
                model.prefill(sequence[:-4])
                for token in sequence[-4:]:
                    model.decode(token)
            else:
                model.prefill(sequence[:length])
    return samples
