"""fp32 TFLite -> TFLite in one of the recipes, by ai-edge-quantizer."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Sequence

from bundler.checkpoints.architecture import GPT2Architecture
from bundler.conversion.compact import compact_tflite
from bundler.conversion.recipes import RECIPES, Recipe, any_of
from bundler.errors import OptionError
from bundler.system.native_output import quiet
from bundler.tflite.runner import TFLiteGPT2


def check_recipe(recipe: str, architecture: GPT2Architecture) -> None:
    """Raise OptionError for a recipe whose blocks do not fit the model's widths."""
    width, inner = architecture.width, architecture.inner
    if not RECIPES[recipe].fits(width, inner):
        fitting = [name for name, entry in RECIPES.items() if entry.fits(width, inner)]
        raise OptionError(
            f"--quant {recipe}: its blocks of {RECIPES[recipe].block} do not divide the model's width {width} or inner "
            f"width {inner}; choose {any_of(fitting)}"
        )


def quantize(source: Path, recipe: str | Recipe, output: Path, calibration: Sequence[Sequence[int]] = ()) -> None:
    """Write `source` (fp32 TFLite) to `output` in `recipe`, which has rules. A calibrated one needs token sequences to
    measure ranges on.
    """
    recipe = RECIPES[recipe] if isinstance(recipe, str) else recipe
    with quiet():
        from ai_edge_quantizer import quantizer, recipe_manager

        rules = recipe_manager.RecipeManager()
        recipe.rules(rules)
        quantizer_ = quantizer.Quantizer(str(source), rules.get_quantization_recipe())
        ranges = (
            quantizer_.calibrate(_calibration_inputs(source, calibration), num_threads=2) if recipe.calibrated else None
        )
        quantizer_.quantize(
            ranges, serialize_to_path=str(output), enable_progress_bar=False, enable_progress_report=False
        )
    compact_tflite(output)


def recipe_of(model: Path) -> str:
    """The recipe a TFLite file looks made in, by the types of its constant matrices; for files that do not say."""
    from ai_edge_litert import schema_py_generated as schema

    with open(model, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        root = schema.Model.GetRootAs(data, 0)
        graph = root.Subgraphs(root.SubgraphsLength() - 1)
        tensors = [graph.Tensors(i) for i in range(graph.TensorsLength())]
        kinds = {
            tensor.Type()
            for tensor in tensors
            if tensor.ShapeLength() == 2 and tensor.Shape(0) > 1 and _is_constant(root.Buffers(tensor.Buffer()))
        }
        types = schema.TensorType
        # Weights smaller than the embedding tell int4 files, whose embedding is int8, from int8 ones.
        for type_, recipe in ((types.INT4, "int4-block32"), (types.INT8, "int8"), (types.FLOAT16, "fp16")):
            if type_ in kinds:
                return recipe
    return "fp32"


def _is_constant(buffer) -> bool:
    return buffer.DataLength() > 0 or buffer.Size() > 0


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
