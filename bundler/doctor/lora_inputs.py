"""Whether the LoRA inputs of a model are complete, and in the layout of the engine that its container is for."""

from __future__ import annotations

from bundler.doctor.report import Finding
from bundler.tflite.lora_inputs import (
    VARIANT,
    LoraLayout,
    lora_factors,
    lora_ranks,
    shadowing_signatures,
    takes_lora,
)
from bundler.tflite.model import Model, Signature
from bundler.tflite.signatures import DECODE, PREFILL, language_signatures, layers_of, signature_length
from lora_weights.adapter import LITERTLM_RANKS, tensor_names


def check_lora(model: Model, layout: LoraLayout, kind: str) -> list[Finding]:
    """`layout`: lora_layout of the model. `kind`: .task, .litertlm or .tflite, which has no layout of its own."""
    findings = [
        Finding("lora-inputs-incomplete", signature.key, text)
        for signature in language_signatures(model)
        for text in _incomplete(model, signature)
    ]
    findings += _counterparts(model) + _shadowed(model)
    if kind == ".litertlm" and layout.extra and layout.plain is None:
        findings.append(
            Finding(
                "lora-layout-ignored",
                "",
                f"signatures decode_lora_r{layout.extra[0]}, which are MediaPipe's layout, in a .litertlm",
            )
        )
    if kind == ".task" and layout.plain is not None:
        findings.append(
            Finding(
                "lora-layout-ignored",
                DECODE,
                f"it takes LoRA inputs of rank {layout.plain} itself, which is LiteRT-LM's layout, in a .task",
            )
        )
    if kind == ".litertlm" and layout.plain is not None and layout.plain not in LITERTLM_RANKS:
        findings.append(Finding("lora-rank-unsupported", DECODE, f"LoRA inputs of rank {layout.plain}"))
    return findings


def _incomplete(model: Model, signature: Signature) -> list[str]:
    """What is not in order with the signature's LoRA inputs."""
    inputs = {name: tensor for name, tensor in model.inputs(signature).items() if name.startswith("lora_")}
    variant = VARIANT.search(signature.key)
    if not inputs:
        return [f"its name says LoRA of rank {variant[1]}, and it has no such inputs"] if variant else []
    expected = set(tensor_names(layers_of(signature)))
    wrong = []
    if missing := sorted(expected - inputs.keys()):
        wrong.append(f"it lacks {len(missing)} of {len(expected)} LoRA inputs, first {missing[0]}")
    if unknown := sorted(inputs.keys() - expected):
        wrong.append(f"{len(unknown)} LoRA inputs that no layer has, first {unknown[0]}")
    factors = lora_factors(model, signature)
    wrong += [
        f"{name} is {tensor}; expected float32 [width, rank] or [rank, width]"
        for name, tensor in inputs.items()
        if name not in factors
    ]
    ranks = lora_ranks(factors)
    if len(ranks) > 1 or variant and ranks != {int(variant[1])}:
        wrong.append(f"LoRA inputs of rank {', '.join(map(str, sorted(ranks)))}")
    return wrong


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
    match = VARIANT.search(signature.key)
    return match[0] if match else ""


def _shadowed(model: Model) -> list[Finding]:
    return [
        Finding(
            "lora-signature-shadows-base",
            signature.key,
            f"it is the last of the prefill signatures of {[signature_length(model, signature)]} tokens",
        )
        for signature in shadowing_signatures(model)
    ]
