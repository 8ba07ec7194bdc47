"""The LoRA inputs of a model: in which engine's layout they are, and which of them act. docs/LORA.md explains the
layouts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from bundler.tflite.model import Graph, Model, Signature
from bundler.tflite.signatures import (
    DECODE,
    POSITIONS,
    PREFILL,
    decode_signature,
    first,
    language_signatures,
    layers_of,
)

INPUT = re.compile(r"lora_atten_([qkvo])_([ab])_prime_weight_(\d{1,6})")
VARIANT = re.compile(r"_lora_r(\d{1,6})$")


@dataclass(frozen=True)
class LoraLayout:
    """`plain`: the rank of the LoRA inputs of `decode` itself (LiteRT-LM's layout), None without such inputs.

    `extra`: the ranks of the signatures `decode_lora_rR` (MediaPipe's layout). `layers`: the model's. `width`: what the
    adapters add to; 0 without LoRA inputs.
    """

    layers: int
    width: int
    plain: int | None
    extra: tuple[int, ...]


def lora_layout(model: Model) -> LoraLayout:
    """The layout of the model's LoRA inputs. A model without `decode` or caches has 0 layers: engines judge that."""
    layers, widths, plain, extra = 0, set(), None, set()
    for signature in language_signatures(model):
        factors = lora_factors(model, signature)
        widths |= {shape[0] for name, shape in factors.items() if INPUT.fullmatch(name)[2] == "a"}
        ranks = lora_ranks(factors)
        if signature.key == DECODE:
            layers, plain = layers_of(signature), max(ranks, default=None)
        elif signature.key.startswith(DECODE):
            extra |= ranks
    return LoraLayout(layers, max(widths, default=0), plain, tuple(sorted(extra)))


def variant_suffix(rank: int) -> str:
    """What MediaPipe's layout puts after the plain name of a signature that takes an adapter of `rank`."""
    return f"_lora_r{rank}"


def takes_lora(signature: Signature) -> bool:
    return any(INPUT.fullmatch(name) for name in signature.inputs)


def lora_factors(model: Model, signature: Signature) -> dict[str, tuple[int, ...]]:
    """Name -> shape of the signature's LoRA inputs that are matrices of float32: a [width, rank], b [rank, width]."""
    return {
        name: tensor.shape
        for name, tensor in model.inputs(signature).items()
        if INPUT.fullmatch(name) and len(tensor.shape) == 2 and tensor.type == "FLOAT32"
    }


def lora_ranks(factors: dict[str, tuple[int, ...]]) -> set[int]:
    """The ranks of `lora_factors`; one, if they are in order."""
    return {shape[1 if INPUT.fullmatch(name)[2] == "a" else 0] for name, shape in factors.items()}


def shadowing_signatures(model: Model) -> list[Signature]:
    """The prefill signatures with LoRA inputs that LiteRT-LM would run in the place of a plain one.

    It knows the prefill signatures by their length, and of those of one length keeps the last. Without an adapter for
    its inputs it would read undefined memory.
    """
    decode = decode_signature(model)
    if decode is None or takes_lora(decode):
        return []
    last: dict[tuple[int, ...], Signature] = {}
    for signature in model.signatures:
        if signature.key.startswith(PREFILL) and (positions := first(model.inputs(signature), POSITIONS)) is not None:
            last[positions.shape[-1:]] = signature
    return [signature for signature in last.values() if takes_lora(signature)]


def unconsumed_inputs(model: Model) -> dict[str, list[str]]:
    """For every signature, the LoRA inputs from which no way leads to an output: an adapter's tensor there has no
    effect.
    """
    reaching = [_reaching_outputs(graph) for graph in model.graphs]
    return {
        signature.key: [
            name
            for name, tensor in signature.inputs.items()
            if name.startswith("lora_") and tensor not in reaching[signature.graph]
        ]
        for signature in model.signatures
    }


def _reaching_outputs(graph: Graph) -> set[int]:
    """The tensors from which operators lead to an output of the graph."""
    made_from = {output: operator.inputs for operator in graph.operators for output in operator.outputs}
    reached: set[int] = set()
    waiting = list(graph.outputs)
    while waiting:
        if (tensor := waiting.pop()) not in reached:
            reached.add(tensor)
            waiting.extend(made_from.get(tensor, ()))
    return reached
