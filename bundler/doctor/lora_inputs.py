"""The LoRA inputs of a model: in which engine's layout they are, and whether they are complete. docs/LORA.md explains
the layouts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from bundler.doctor.report import Finding
from bundler.doctor.signatures import CACHE, DECODE, POSITIONS, PREFILL, first, language_signatures
from bundler.tflite.model import Model, Signature, Tensor
from lora_weights.adapter import LITERTLM_RANKS, PROJECTIONS, tensor_name

_INPUT = re.compile(r"lora_atten_([qkvo])_([ab])_prime_weight_(\d{1,6})")
_VARIANT = re.compile(r"_lora_r(\d{1,6})$")


@dataclass(frozen=True)
class LoraInputs:
    """`plain`: the rank of the inputs of `decode` itself, LiteRT-LM's layout. `extra`: ranks of decode_lora_rR,
    MediaPipe's.
    """

    plain: int | None
    extra: tuple[int, ...]


def check_lora(model: Model, kind: str) -> tuple[LoraInputs, list[Finding]]:
    """`kind`: .task, .litertlm or .tflite, which is nobody's layout in particular."""
    found, plain, extra = [], None, set()
    for signature in language_signatures(model):
        ranks, wrong = _ranks(model, signature)
        found += [Finding("lora-inputs-incomplete", signature.key, text) for text in wrong]
        if signature.key == DECODE and ranks:
            plain = max(ranks)
        elif signature.key.startswith(DECODE):
            extra |= ranks
    inputs = LoraInputs(plain, tuple(sorted(extra)))
    found += _counterparts(model) + _shadowed(model)
    if kind == ".litertlm" and inputs.extra and plain is None:
        found.append(
            Finding(
                "lora-layout-ignored",
                "",
                f"signatures decode_lora_r{inputs.extra[0]}, which are MediaPipe's layout, in a .litertlm",
            )
        )
    if kind == ".task" and plain is not None:
        found.append(
            Finding(
                "lora-layout-ignored",
                DECODE,
                f"it takes LoRA inputs of rank {plain} itself, which is LiteRT-LM's layout, in a .task",
            )
        )
    if kind == ".litertlm" and plain is not None and plain not in LITERTLM_RANKS:
        found.append(Finding("lora-rank-unsupported", DECODE, f"LoRA inputs of rank {plain}"))
    return inputs, found


def takes_lora(signature: Signature) -> bool:
    return any(_INPUT.fullmatch(name) for name in signature.inputs)


def _ranks(model: Model, signature: Signature) -> tuple[set[int], list[str]]:
    """The ranks of the signature's LoRA inputs (one, if they are in order), and what is not in order."""
    inputs: dict[str, Tensor] = {
        name: tensor for name, tensor in model.inputs(signature).items() if name.startswith("lora_")
    }
    if not inputs:
        variant = _VARIANT.search(signature.key)
        return set(), [f"its name says LoRA of rank {variant[1]}, and it has no such inputs"] if variant else []
    layers = sum(1 for name in signature.inputs if (match := CACHE.fullmatch(name)) and match[1] == "k")
    expected = {
        tensor_name(projection, factor, layer)
        for layer in range(layers)
        for projection in PROJECTIONS
        for factor in "ab"
    }
    wrong = []
    if missing := sorted(expected - inputs.keys()):
        wrong.append(f"it lacks {len(missing)} of {len(expected)} LoRA inputs, first {missing[0]}")
    if unknown := sorted(inputs.keys() - expected):
        wrong.append(f"{len(unknown)} LoRA inputs that no layer has, first {unknown[0]}")
    ranks = set()
    for name, tensor in inputs.items():
        match = _INPUT.fullmatch(name)
        if match is None or len(tensor.shape) != 2 or tensor.type != "FLOAT32":
            wrong.append(f"{name} is {tensor}; expected float32 [width, rank] or [rank, width]")
            continue
        ranks.add(tensor.shape[1 if match[2] == "a" else 0])
    variant = _VARIANT.search(signature.key)
    if len(ranks) > 1 or variant and ranks != {int(variant[1])}:
        wrong.append(f"LoRA inputs of rank {', '.join(map(str, sorted(ranks)))}")
    return ranks, wrong


def _counterparts(model: Model) -> list[Finding]:
    """Prefill and decode must take the same adapters: otherwise a prompt is read without the one that answers it."""
    prefill, decode = (
        (
            {
                _suffix(signature): takes_lora(signature)
                for signature in language_signatures(model)
                if signature.key.startswith(name)
            }
        )
        for name in (PREFILL, DECODE)
    )
    return [
        Finding(
            "lora-inputs-incomplete",
            f"{DECODE}{suffix}",
            f"LoRA inputs here: {decode.get(suffix, 'no such signature')}, "
            f"in {PREFILL}…{suffix}: {prefill.get(suffix, 'no such signature')}",
        )
        for suffix in sorted(prefill.keys() | decode.keys())
        if prefill and decode and prefill.get(suffix) != decode.get(suffix)
    ]


def _suffix(signature: Signature) -> str:
    match = _VARIANT.search(signature.key)
    return match[0] if match else ""


def _shadowed(model: Model) -> list[Finding]:
    """LiteRT-LM knows the prefill signatures by their length, and of those of one length keeps the last."""
    decode = next((signature for signature in model.signatures if signature.key == DECODE), None)
    if decode is None or takes_lora(decode):
        return []
    last: dict[tuple[int, ...], Signature] = {}
    for signature in model.signatures:
        if signature.key.startswith(PREFILL) and (positions := first(model.inputs(signature), POSITIONS)) is not None:
            last[positions.shape[-1:]] = signature
    return [
        Finding(
            "lora-signature-shadows-base",
            signature.key,
            f"it is the last of the prefill signatures of {list(length)} tokens",
        )
        for length, signature in last.items()
        if takes_lora(signature)
    ]
