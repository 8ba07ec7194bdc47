"""The signatures of a model, held against what the engines look for: names, types, shapes, caches, the length of the
context.
"""

from __future__ import annotations

import re
from typing import Any, Iterable

from bundler.doctor.report import Finding
from bundler.tflite.model import Model, Signature, Tensor
from bundler.tflite.signatures import (
    CACHE,
    DECODE,
    EMBEDDINGS,
    LOGITS,
    MASKS,
    POSITIONS,
    PREFILL,
    TOKENS,
    LlmShape,
    decode_signature,
    first,
    language_signatures,
    signature_length,
)

# Further inputs that engines fill: LoRA factors; parameters of dynamic shapes.
_KNOWN = re.compile(r"lora_.*|kv_cache_.*|param_tensor|.*_param(_tensor)?")


def check_signatures(model: Model, shape: LlmShape) -> list[Finding]:
    """`shape`: llm_shape of the model."""
    signatures = language_signatures(model)
    decode = decode_signature(model)
    prefills = [signature for signature in signatures if signature.key.startswith(PREFILL)]
    findings = []
    if decode is None or not prefills:
        keys = ", ".join(signature.key for signature in model.signatures[:8]) or "none"
        findings.append(Finding("signatures-missing", "", f"signatures: {keys}"))
    for signature in signatures:
        findings += _inputs_and_outputs(model, signature) + _shapes(model, signature)
    findings += _left_out(model, signatures) + _caches(model, signatures) + _also_placeholders(model, shape)
    if signatures and not shape.mask:
        findings.append(Finding("mask-inside-graph", "", f"no input {' or '.join(MASKS)}"))
    if None not in (shape.cache, shape.litertlm_context) and shape.cache != shape.litertlm_context:
        findings.append(
            Finding(
                "context-misread",
                DECODE,
                f"the cache holds {shape.cache} tokens, LiteRT-LM reads {shape.litertlm_context}",
            )
        )
    for signature in prefills:
        length = signature_length(model, signature)
        if shape.context and length and length > shape.context:
            findings.append(
                Finding("prefill-over-context", signature.key, f"{length} tokens at once, a cache of {shape.context}")
            )
    if shape.context and (first_token := overrun(shape.context, shape.prefill)):
        refused = overrun(shape.context, shape.prefill, fills=True)
        findings.append(
            Finding(
                "prefill-past-cache",
                "",
                f"a cache of {shape.context} and prefill of {', '.join(map(str, shape.prefill))}: prompts of "
                f"{first_token} to {shape.context - 1} tokens in MediaPipe, "
                f"{f'{refused} to {shape.context - 1}' if refused else 'none'} in LiteRT-LM",
            )
        )
    if shape.width and shape.width % 4:
        findings.append(Finding("logits-width-not-multiple-of-4", DECODE, f"logits of width {shape.width}"))
    return findings


def _inputs_and_outputs(model: Model, signature: Signature) -> list[Finding]:
    findings, inputs = [], signature.inputs
    for names in (TOKENS, POSITIONS):
        if first(inputs, names) is None and not (names is TOKENS and first(inputs, EMBEDDINGS) is not None):
            findings.append(
                Finding(
                    "signature-input-missing", signature.key, f"no input {' or '.join(names)}, only {_listed(inputs)}"
                )
            )
    if not any(CACHE.fullmatch(name) for name in inputs):
        findings.append(
            Finding("signature-input-missing", signature.key, f"no kv_cache inputs, only {_listed(inputs)}")
        )
    known = {*TOKENS, *POSITIONS, *MASKS, *EMBEDDINGS}
    if unknown := [name for name in inputs if name not in known and not _KNOWN.fullmatch(name)]:
        findings.append(
            Finding("signature-input-missing", signature.key, f"inputs that no engine fills: {_listed(unknown)}")
        )
    if signature.key.startswith(DECODE) and LOGITS not in signature.outputs:
        findings.append(
            Finding("signature-output-missing", signature.key, f"no output {LOGITS}, only {_listed(signature.outputs)}")
        )
    caches = {name for name in inputs if CACHE.fullmatch(name)}
    if lost := sorted(caches - set(signature.outputs)):
        findings.append(
            Finding("signature-output-missing", signature.key, f"{_listed(lost)} goes in and does not come out")
        )
    return findings


def _left_out(model: Model, signatures: list[Signature]) -> list[Finding]:
    """What a signature does not name of what its graph takes and gives, and caches that only other signatures have."""
    findings = []
    caches = sorted({name for signature in signatures for name in signature.inputs if CACHE.fullmatch(name)})
    for signature in signatures:
        graph = model.graphs[signature.graph]
        for code, named, end in (
            ("signature-input-missing", signature.inputs, graph.inputs),
            ("signature-output-missing", signature.outputs, graph.outputs),
        ):
            if len(named) != len(end):
                findings.append(
                    Finding(
                        code, signature.key, f"{len(named)} {code.split('-')[1]}s, of which its graph has {len(end)}"
                    )
                )
        if any(map(CACHE.fullmatch, signature.inputs)) and (
            missing := [name for name in caches if name not in signature.inputs]
        ):
            findings.append(
                Finding("signature-input-missing", signature.key, f"no {_listed(missing)}, which other signatures take")
            )
    return findings


def overrun(context: int, lengths: tuple[int, ...], fills: bool = False) -> int | None:
    """The shortest prompt, in tokens, whose last chunk of prefill, padded, ends beyond a cache of `context`; None if
    none does.

    MediaPipe is taken to cut a prompt into chunks of the largest length, and to pad what is left to the smallest that
    holds it; it was measured with one length only. LiteRT-LM 0.18.1 `fills` the end of the cache with several shorter
    chunks.
    """
    if not lengths or not 0 < max(lengths) <= context or min(lengths) < 1:
        return None
    end = context // max(lengths) * max(lengths)
    for length in sorted(lengths, reverse=True):
        if length <= context - end:
            end += (context - end) // length * length if fills else length
            if not fills:
                break
    return end + 1 if end + 1 < context else None


def _also_placeholders(model: Model, shape: LlmShape) -> list[Finding]:
    """The first constant with a size that LiteRT-LM changes with the placeholder, though it is another."""
    placeholder = shape.placeholder or 0
    constants = (
        tensor
        for graph in model.graphs
        for tensor in graph.tensors
        if placeholder and model.buffers[tensor.buffer].size
    )
    return [
        Finding("placeholder-in-sizes", "", f"{tensor.name} is {tensor}, the placeholder {placeholder}")
        for tensor in constants
        if any(size > placeholder and size % placeholder == 0 for size in tensor.shape)
    ][:1]


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:6]) + (f", … ({len(names)})" if len(names) > 6 else "") or "none"


def _shapes(model: Model, signature: Signature) -> list[Finding]:
    inputs, outputs, length = model.inputs(signature), model.outputs(signature), signature_length(model, signature)
    wrong: list[str] = []

    def expect(name: str, tensor: Tensor | None, types: tuple[str, ...], *shapes: tuple[int | None, ...]) -> None:
        if tensor is None:
            return
        fits = any(
            len(shape) == len(tensor.shape) and all(want in (None, size) for want, size in zip(shape, tensor.shape))
            for shape in shapes
        )
        if tensor.type not in types or not fits:
            expected_shapes = " or ".join(str([size or "…" for size in shape]) for shape in shapes)
            wrong.append(f"{name} is {tensor}; expected {types[0].lower()} {expected_shapes}")

    named = re.match(rf"{PREFILL}_(\d{{1,6}})", signature.key)
    if named and length and int(named[1]) != length:
        wrong.append(f"it takes {length} positions, its name says {named[1]}")
    expect("tokens", first(inputs, TOKENS), ("INT32",), (None, length))
    expect("positions", first(inputs, POSITIONS), ("INT32",), (None,), (None, None))
    expect("mask", first(inputs, MASKS), ("FLOAT32", "FLOAT16", "BOOL"), (None, None, length, None))
    expect(LOGITS, outputs.get(LOGITS), ("FLOAT32", "FLOAT16"), (None, None, None))
    return [Finding("tensor-shape-unexpected", signature.key, text) for text in wrong]


def _caches(model: Model, signatures: list[Signature]) -> list[Finding]:
    """Every cache has one shape, in every signature, going in and coming out; keys and values come in pairs."""
    shapes: dict[str, tuple[Tensor, str]] = {}
    findings = []
    for signature in signatures:
        for end, tensors in (("into", model.inputs(signature)), ("out of", model.outputs(signature))):
            for name, tensor in tensors.items():
                if not CACHE.fullmatch(name):
                    continue
                known, where = shapes.setdefault(name, (tensor, f"{end} {signature.key}"))
                if (known.shape, known.type) != (tensor.shape, tensor.type):
                    findings.append(
                        Finding(
                            "cache-shapes-inconsistent",
                            signature.key,
                            f"{name} goes {end} it as {tensor}, and {where} as {known}",
                        )
                    )
    layers = {
        kind: {int(match[2]) for name in shapes if (match := CACHE.fullmatch(name)) and match[1] == kind}
        for kind in "kv"
    }
    if layers["k"] != layers["v"] or layers["k"] != set(range(len(layers["k"]))):
        findings.append(
            Finding(
                "cache-shapes-inconsistent",
                "",
                f"keys of {len(layers['k'])} layers and values of {len(layers['v'])}, or numbers left out",
            )
        )
    return findings


def signature_table(model: Model) -> list[dict[str, Any]]:
    """For people and JSON: each signature's inputs and outputs as text, numbered ones together."""
    return [
        {
            "name": signature.key,
            "graph": signature.graph,
            "inputs": _grouped(model.inputs(signature)),
            "outputs": _grouped(model.outputs(signature)),
        }
        for signature in model.signatures
    ]


def _grouped(tensors: dict[str, Tensor]) -> dict[str, str]:
    groups: dict[tuple[str, str], list[int]] = {}
    plain = {}
    for name, tensor in tensors.items():
        if match := re.fullmatch(r"(.*_)(\d{1,6})", name):
            groups.setdefault((match[1], str(tensor)), []).append(int(match[2]))
        else:
            plain[name] = str(tensor)
    return plain | {
        f"{stem}{min(numbers)}" + (f"…{max(numbers)} ({len(numbers)})" if len(numbers) > 1 else ""): text
        for (stem, text), numbers in groups.items()
    }
