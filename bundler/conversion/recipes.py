"""The recipes are listed here: how the weights of a TFLite file are stored, and what the arithmetic is done in.

A recipe is one entry of `RECIPES`; whatever else depends on it is read from the entry. `constants.py` and `rounding.py`
apply it.

The embedding and the tied head are one tensor, so every recipe treats the two alike: otherwise the file would hold it
twice. Per-channel scales run along the token axis, which makes the quantized row of an alias the exact copy of its
original's.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Callable, Mapping

if TYPE_CHECKING:
    from ai_edge_quantizer.recipe_manager import RecipeManager

# The name of the operator that makes the logits ends so; it is how the head is told from other layers.
HEAD = r"decode(_lora_r\d+)?_logits"
ANYWHERE = ".*"
REFERENCE = "fp32"
DEFAULT = "int8"
AUTO = "auto"
# The matrices that are not in a layer, as ExportableGPT2 names them. `head.weight` is there only if it is not tied.
EMBEDDINGS = ("wte.weight", "wpe.weight", "head.weight")


@dataclass(frozen=True)
class Storage:
    """How a matrix [out, in] lies in the file. `bits`: 32 and 16 are floats, 8 and 4 integers with scales. `block`: how
    many inputs share a scale, 0 for all of an output's. `dequantized`: the file has a DEQUANTIZE before the matrix is
    used; without it the operator itself takes integers, and rounds its activations as they come.
    """

    bits: int = 32
    block: int = 0
    dequantized: bool = False

    def bytes(self, shape: tuple[int, ...]) -> int:
        """How many bytes the elements take, without the scales."""
        elements = 1
        for length in shape:
            elements *= length
        return elements * self.bits // 8


FLOAT32 = Storage()
INT8 = Storage(8)


@dataclass(frozen=True)
class Recipe:
    """`mean_kl`: the gate on every recipe, the largest mean KL divergence from PyTorch on a text, in nats; wide enough
    for any healthy GPT-2, far below what a defect gives. `layers` and `embedding`: how the matrices of the layers, and
    those outside of them, are stored; `matrices`: those that differ, by name. `rules`: of a recipe that rounds
    activations to fixed ranges, measured on a text; they tell ai-edge-quantizer what to do with the model in fp32. A
    function of a module, because it goes to another process.
    """

    summary: str
    mean_kl: float
    layers: Storage = FLOAT32
    embedding: Storage = FLOAT32
    matrices: Mapping[str, Storage] = field(default_factory=dict)
    rules: Callable[[RecipeManager], None] | None = None

    def storage(self, name: str) -> Storage:
        """How ExportableGPT2's parameter `name` is stored. Biases and norms are float32 in every recipe."""
        if not name.endswith(".weight") or ".ln_" in name or name.startswith("ln_"):
            return FLOAT32
        return self.matrices.get(name, self.embedding if name in EMBEDDINGS else self.layers)

    @property
    def exact(self) -> bool:
        """Whether logits and greedy text must be PyTorch's."""
        return self.bits == 32 and not self.calibrated

    @property
    def bits(self) -> int:
        """Of a weight in the layers."""
        return 8 if self.calibrated else self.layers.bits

    @property
    def block(self) -> int:
        """How many weights of a layer share a scale, 0 for a whole output channel."""
        return self.layers.block

    @property
    def calibrated(self) -> bool:
        """Whether ranges of activations are measured on a text."""
        return self.rules is not None

    @property
    def takes_lora(self) -> bool:
        """Whether adapters can act: ranges that were measured without one would cut it off."""
        return not self.calibrated

    @property
    def coarse(self) -> bool:
        """Whether a second rounding, after a change of the weights, costs as much as the first."""
        return self.bits <= 4

    @property
    def compensated(self) -> bool:
        """Whether GPTQ rounds the matrices of the layers, for which a text runs through the model."""
        return self.coarse

    def fits(self, width: int, inner: int) -> bool:
        """Whether the blocks divide the rows of the matrices of a model with these widths."""
        return not self.block or width % self.block == inner % self.block == 0


def _static(rules: RecipeManager) -> None:
    from ai_edge_quantizer.qtyping import TFLOperationName as Operator

    # The head stays dynamic: its bias of -10,000 on rows that must never win would stretch a
    # fixed output range until all real logits fell into one step.
    rules.add_static_config(ANYWHERE, Operator.FULLY_CONNECTED, 8, 8)
    rules.add_dynamic_config(HEAD, Operator.FULLY_CONNECTED, 8)
    rules.add_dynamic_config(ANYWHERE, Operator.EMBEDDING_LOOKUP, 8)


def _in_blocks(mean_kl: float, block: int) -> Recipe:
    summary = f"int4 weights with a scale per {block}; embedding and head int8"
    return Recipe(summary, mean_kl, Storage(4, block), INT8)


_HALF, _EIGHT = Storage(16, dequantized=True), Storage(8, dequantized=True)

RECIPES = {
    REFERENCE: Recipe("float32 weights; the reference", 1e-6),
    "fp16": Recipe("float16 weights, float32 arithmetic", 1e-4, _HALF, _HALF),
    DEFAULT: Recipe("int8 weights per channel, activations quantized as they come (dynamic range)", 0.05, INT8, INT8),
    "int8-weight-only": Recipe("int8 weights per channel, float32 arithmetic", 0.05, _EIGHT, _EIGHT),
    "int4-block32": _in_blocks(0.5, 32),
    "int4-block128": _in_blocks(1.0, 128),
    "int8-static": Recipe("int8 weights and activations, ranges measured on a text; head dynamic", 0.5, rules=_static),
    AUTO: replace(
        _in_blocks(0.5, 32), summary="int8 or int4 for each part of each layer, chosen to stay under a limit"
    ),
}
# What a part of a layer can be stored in under AUTO.
MIXED = (DEFAULT, "int4-block32", "int4-block128")


def any_of(names: list[str]) -> str:
    """The names as a choice: "a, b or c"."""
    return " or ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
