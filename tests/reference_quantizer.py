"""The recipes by ai-edge-quantizer, from a file in fp32: what the project's own rounding is held against."""

from ai_edge_quantizer import algorithm_manager, qtyping, quantizer, recipe_manager
from ai_edge_quantizer.qtyping import QuantGranularity
from ai_edge_quantizer.qtyping import TFLOperationName as Operator

from bundler.conversion.compact import compact_tflite
from bundler.conversion.recipes import ANYWHERE, HEAD
from bundler.system.native_output import quiet


def _float16(rules):
    weights = qtyping.TensorQuantizationConfig(
        num_bits=16, symmetric=True, granularity=QuantGranularity.TENSORWISE, dtype=qtyping.TensorDataType.FLOAT
    )
    config = qtyping.OpQuantizationConfig(
        weight_tensor_config=weights, compute_precision=qtyping.ComputePrecision.FLOAT, explicit_dequantize=True
    )
    algorithm = algorithm_manager.AlgorithmName.FLOAT_CASTING
    rules.add_quantization_config(ANYWHERE, Operator.ALL_SUPPORTED, config, algorithm)


def _dynamic(rules):
    rules.add_dynamic_config(ANYWHERE, Operator.FULLY_CONNECTED, 8)
    rules.add_dynamic_config(ANYWHERE, Operator.EMBEDDING_LOOKUP, 8)


def _weight_only(rules):
    rules.add_weight_only_config(ANYWHERE, Operator.FULLY_CONNECTED, 8)
    rules.add_weight_only_config(ANYWHERE, Operator.EMBEDDING_LOOKUP, 8)


def _four_bits(block):
    def rules_of_block(rules):
        rules.add_dynamic_config(ANYWHERE, Operator.FULLY_CONNECTED, 4, QuantGranularity[f"BLOCKWISE_{block}"])
        rules.add_dynamic_config(HEAD, Operator.FULLY_CONNECTED, 8)
        rules.add_dynamic_config(ANYWHERE, Operator.EMBEDDING_LOOKUP, 8)

    return rules_of_block


RULES = {
    "fp16": _float16,
    "int8": _dynamic,
    "int8-weight-only": _weight_only,
    "int4-block32": _four_bits(32),
    "int4-block128": _four_bits(128),
}


def quantize(source, recipe, output):
    """Write `source` (fp32 TFLite) to `output` in the recipe of that name."""
    with quiet():
        rules = recipe_manager.RecipeManager()
        RULES[recipe](rules)
        quantizer.Quantizer(str(source), rules.get_quantization_recipe()).quantize(
            None, serialize_to_path=str(output), enable_progress_bar=False, enable_progress_report=False
        )
    compact_tflite(output)
