"""The recipes are listed here: how the weights of a TFLite file are stored, and what the arithmetic is done in.

A recipe is one entry of `RECIPES`; whatever else depends on it is read from the entry. `quantize.py` applies them.

The embedding and the tied head are one tensor, so every recipe treats the two alike: otherwise the file would hold it
twice. Per-channel scales run along the token axis, which makes the quantized row of an alias the exact copy of its
original's.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Callable

if TYPE_CHECKING:
    from ai_edge_quantizer.recipe_manager import RecipeManager

# The name of the operator that makes the logits ends so; it is how the head is told from other layers.
HEAD = r"decode(_lora_r\d+)?_logits"
ANYWHERE = ".*"
REFERENCE = "fp32"
DEFAULT = "int8"


@dataclass(frozen=True)
class Recipe:
    """`mean_kl`: the gate on every recipe, the largest mean KL divergence from PyTorch on a text, in nats; wide enough
    for any healthy GPT-2, far below what a defect gives. `bits`: of a weight in the linear layers. `rules` tells
    ai-edge-quantizer what to do, a function of a module, because it goes to another process; without it the converted
    file stays as it is. `calibrated`: ranges of activations are measured on a text. `block`: how many weights share a
    scale, 0 for a whole output channel.
    """

    summary: str
    mean_kl: float
    bits: int
    rules: Callable[[RecipeManager], None] | None = None
    calibrated: bool = False
    block: int = 0

    @property
    def exact(self) -> bool:
        """Whether logits and greedy text must be PyTorch's."""
        return self.rules is None

    @property
    def takes_lora(self) -> bool:
        """Whether adapters can act: ranges that were measured without one would cut it off."""
        return not self.calibrated

    @property
    def coarse(self) -> bool:
        """Whether a second rounding, after a change of the weights, costs as much as the first."""
        return self.bits <= 4

    def fits(self, width: int, inner: int) -> bool:
        """Whether the blocks divide the rows of the matrices of a model with these widths."""
        return not self.block or width % self.block == inner % self.block == 0


def _float16(rules: RecipeManager) -> None:
    from ai_edge_quantizer import algorithm_manager, qtyping

    rules.add_quantization_config(
        ANYWHERE,
        qtyping.TFLOperationName.ALL_SUPPORTED,
        qtyping.OpQuantizationConfig(
            weight_tensor_config=qtyping.TensorQuantizationConfig(
                num_bits=16,
                symmetric=True,
                granularity=qtyping.QuantGranularity.TENSORWISE,
                dtype=qtyping.TensorDataType.FLOAT,
            ),
            compute_precision=qtyping.ComputePrecision.FLOAT,
            explicit_dequantize=True,
        ),
        algorithm_manager.AlgorithmName.FLOAT_CASTING,
    )


def _dynamic(rules: RecipeManager) -> None:
    from ai_edge_quantizer.qtyping import TFLOperationName as Operator

    rules.add_dynamic_config(ANYWHERE, Operator.FULLY_CONNECTED, 8)
    rules.add_dynamic_config(ANYWHERE, Operator.EMBEDDING_LOOKUP, 8)


def _weight_only(rules: RecipeManager) -> None:
    from ai_edge_quantizer.qtyping import TFLOperationName as Operator

    rules.add_weight_only_config(ANYWHERE, Operator.FULLY_CONNECTED, 8)
    rules.add_weight_only_config(ANYWHERE, Operator.EMBEDDING_LOOKUP, 8)


def _four_bits(block: int, rules: RecipeManager) -> None:
    from ai_edge_quantizer.qtyping import QuantGranularity
    from ai_edge_quantizer.qtyping import TFLOperationName as Operator

    rules.add_dynamic_config(ANYWHERE, Operator.FULLY_CONNECTED, 4, QuantGranularity[f"BLOCKWISE_{block}"])
    rules.add_dynamic_config(HEAD, Operator.FULLY_CONNECTED, 8)
    rules.add_dynamic_config(ANYWHERE, Operator.EMBEDDING_LOOKUP, 8)


def _static(rules: RecipeManager) -> None:
    from ai_edge_quantizer.qtyping import TFLOperationName as Operator

    # The head stays dynamic: its bias of -10,000 on rows that must never win would stretch a
    # fixed output range until all real logits fell into one step.
    rules.add_static_config(ANYWHERE, Operator.FULLY_CONNECTED, 8, 8)
    rules.add_dynamic_config(HEAD, Operator.FULLY_CONNECTED, 8)
    rules.add_dynamic_config(ANYWHERE, Operator.EMBEDDING_LOOKUP, 8)


def _in_blocks(mean_kl: float, block: int) -> Recipe:
    summary = f"int4 weights with a scale per {block}; embedding and head int8"
    return Recipe(summary, mean_kl, 4, partial(_four_bits, block), block=block)


RECIPES = {
    REFERENCE: Recipe("float32 weights; the reference", 1e-6, 32),
    "fp16": Recipe("float16 weights, float32 arithmetic", 1e-4, 16, _float16),
    DEFAULT: Recipe("int8 weights per channel, activations quantized as they come (dynamic range)", 0.05, 8, _dynamic),
    "int8-weight-only": Recipe("int8 weights per channel, float32 arithmetic", 0.05, 8, _weight_only),
    "int4-block32": _in_blocks(0.5, 32),
    "int4-block128": _in_blocks(1.0, 128),
    "int8-static": Recipe(
        "int8 weights and activations, ranges measured on a text; head dynamic", 0.5, 8, _static, calibrated=True
    ),
}


def any_of(names: list[str]) -> str:
    """The names as a choice: "a, b or c"."""
    return " or ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
