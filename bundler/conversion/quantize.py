"""fp32 TFLite -> TFLite in one of the recipes, by ai-edge-quantizer.

The embedding and the tied head are one tensor, so every recipe treats the two alike: otherwise the
file would hold it twice. Per-channel scales run along the token axis, which makes the quantized row
of an alias the exact copy of its original's.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from pathlib import Path
from typing import Sequence

from bundler.checkpoints.architecture import GPT2Architecture
from bundler.conversion.compact import compact_tflite
from bundler.errors import OptionError
from bundler.system.native_output import quiet
from bundler.tflite.runner import TFLiteGPT2

# The name of the operator that makes the logits ends so; it is how the head is told from other layers.
HEAD = r"decode(_lora_r\d+)?_logits"
ANYWHERE = ".*"


@dataclass(frozen=True)
class Recipe:
    """`exact`: logits and greedy text must be PyTorch's. `mean_kl`: the gate on every recipe, the largest mean KL
    divergence from PyTorch on a text, in nats; wide enough for any healthy GPT-2, far below what a defect gives.
    `block`: how many weights share a scale, 0 for a whole output channel."""

    summary: str
    mean_kl: float
    exact: bool = False
    calibrated: bool = False
    block: int = 0


RECIPES = {
    "fp32": Recipe("float32 weights; the reference", 1e-6, exact=True),
    "fp16": Recipe("float16 weights, float32 arithmetic", 1e-4),
    "int8": Recipe("int8 weights per channel, activations quantized as they come (dynamic range)", 0.05),
    "int8-weight-only": Recipe("int8 weights per channel, float32 arithmetic", 0.05),
    "int4-block32": Recipe("int4 weights with a scale per 32; embedding and head int8", 0.5, block=32),
    "int4-block128": Recipe("int4 weights with a scale per 128; embedding and head int8", 1.0, block=128),
    "int8-static": Recipe(
        "int8 weights and activations, ranges measured on a text; head dynamic", 0.5, calibrated=True
    ),
}


def check_known(recipe: str) -> None:
    """Raise OptionError for a recipe that nobody knows."""
    if recipe not in RECIPES:
        raise OptionError(f"`recipe` {recipe}: no such recipe; choose from {', '.join(RECIPES)}")


def check_recipe(recipe: str, architecture: GPT2Architecture) -> None:
    """Raise OptionError for a recipe whose blocks do not fit the model's widths."""
    block = RECIPES[recipe].block
    if block and (architecture.width % block or architecture.inner % block):
        raise OptionError(
            f"`recipe` {recipe}: its blocks of {block} do not divide the model's width {architecture.width} or inner "
            f"width {architecture.inner}; choose int4-block32 if 32 divides them, else int8"
        )


def quantize(source: Path, recipe: str, output: Path, calibration: Sequence[Sequence[int]] = ()) -> None:
    """Write `source` (fp32 TFLite) to `output` in `recipe`. `int8-static` needs token sequences to calibrate on."""
    with quiet():
        from ai_edge_quantizer import quantizer

        quantizer_ = quantizer.Quantizer(str(source), _rules(recipe))
        ranges = (
            quantizer_.calibrate(_calibration_inputs(source, calibration), num_threads=2)
            if RECIPES[recipe].calibrated
            else None
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


def _rules(recipe: str) -> list[dict]:
    from ai_edge_quantizer import algorithm_manager, qtyping, recipe_manager

    op, blocks = qtyping.TFLOperationName, qtyping.QuantGranularity
    rules = recipe_manager.RecipeManager()
    if recipe == "fp16":
        rules.add_quantization_config(
            ANYWHERE,
            op.ALL_SUPPORTED,
            qtyping.OpQuantizationConfig(
                weight_tensor_config=qtyping.TensorQuantizationConfig(
                    num_bits=16, symmetric=True, granularity=blocks.TENSORWISE, dtype=qtyping.TensorDataType.FLOAT
                ),
                compute_precision=qtyping.ComputePrecision.FLOAT,
                explicit_dequantize=True,
            ),
            algorithm_manager.AlgorithmName.FLOAT_CASTING,
        )
    elif recipe == "int8":
        rules.add_dynamic_config(ANYWHERE, op.FULLY_CONNECTED, 8)
        rules.add_dynamic_config(ANYWHERE, op.EMBEDDING_LOOKUP, 8)
    elif recipe == "int8-weight-only":
        rules.add_weight_only_config(ANYWHERE, op.FULLY_CONNECTED, 8)
        rules.add_weight_only_config(ANYWHERE, op.EMBEDDING_LOOKUP, 8)
    elif recipe in ("int4-block32", "int4-block128"):
        block = blocks[f"BLOCKWISE_{RECIPES[recipe].block}"]
        rules.add_dynamic_config(ANYWHERE, op.FULLY_CONNECTED, 4, block)
        rules.add_dynamic_config(HEAD, op.FULLY_CONNECTED, 8)
        rules.add_dynamic_config(ANYWHERE, op.EMBEDDING_LOOKUP, 8)
    elif recipe == "int8-static":
        # The head stays dynamic: its bias of -10,000 on rows that must never win would stretch a
        # fixed output range until all real logits fell into one step.
        rules.add_static_config(ANYWHERE, op.FULLY_CONNECTED, 8, 8)
        rules.add_dynamic_config(HEAD, op.FULLY_CONNECTED, 8)
        rules.add_dynamic_config(ANYWHERE, op.EMBEDDING_LOOKUP, 8)
    return rules.get_quantization_recipe()


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
