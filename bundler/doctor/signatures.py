"""The signatures of a model, held against what the engines look for: names, types, shapes, caches, the length of the
context.

The names are those of LiteRT-LM's open source (runtime/executor/litert_compiled_model_executor_utils.cc); MediaPipe's
are the same.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from bundler.doctor.report import Finding
from bundler.tflite.model import Graph, Model, Signature, Tensor

PREFILL, DECODE = "prefill", "decode"
TOKENS, POSITIONS, MASKS, LOGITS = ("tokens", "token_ids"), ("input_pos", "positions"), ("mask", "attn_mask"), "logits"
# Instead of tokens, in models whose embedding is a file of its own.
EMBEDDINGS = ("embeddings", "input_embeds", "per_layer_embeddings")
CACHE = re.compile(r"kv_cache_([kv])_(\d{1,6})")
# Further inputs that engines fill: LoRA factors; parameters of dynamic shapes.
_KNOWN = re.compile(r"lora_.*|kv_cache_.*|param_tensor|.*_param(_tensor)?")
_FIRST_KEYS, _FIRST_VALUES = "kv_cache_k_0", "kv_cache_v_0"


@dataclass(frozen=True)
class LlmShape:
    """What the signatures say of the language model. None: cannot be told.

    `context`: how many tokens the cache holds. `litertlm_context`: what LiteRT-LM takes it for. `rows`: of the
    embedding of tokens.
    """

    prefill: tuple[int, ...]
    layers: int
    context: int | None
    litertlm_context: int | None
    mask: bool
    width: int | None


def first(tensors: dict[str, Any], names: tuple[str, ...]):
    """The tensor under the first of `names` that is there, or None."""
    return next((tensors[name] for name in names if name in tensors), None)


def language_signatures(model: Model) -> list[Signature]:
    """`decode`, and every one whose name begins with `prefill`, LoRA variants included."""
    return [signature for signature in model.signatures if signature.key.startswith((PREFILL, DECODE))]


def check_signatures(model: Model) -> tuple[LlmShape, list[Finding]]:
    signatures = language_signatures(model)
    decode = next((signature for signature in signatures if signature.key == DECODE), None)
    prefills = [signature for signature in signatures if signature.key.startswith(PREFILL)]
    found = []
    if decode is None or not prefills:
        keys = ", ".join(signature.key for signature in model.signatures[:8]) or "none"
        found.append(Finding("signatures-missing", "", f"signatures: {keys}"))
    for signature in signatures:
        found += _inputs_and_outputs(model, signature) + _shapes(model, signature)
    found += _left_out(model, signatures) + _caches(model, signatures)
    shape = _shape(model, decode, prefills)
    if signatures and not shape.mask:
        found.append(Finding("mask-inside-graph", "", f"no input {' or '.join(MASKS)}"))
    if None not in (shape.context, shape.litertlm_context) and shape.context != shape.litertlm_context:
        found.append(
            Finding(
                "context-misread",
                DECODE,
                f"the cache holds {shape.context} tokens, LiteRT-LM reads {shape.litertlm_context}",
            )
        )
    for signature in prefills:
        length = _length(model, signature)
        if shape.context and length and length > shape.context:
            found.append(
                Finding("prefill-over-context", signature.key, f"{length} tokens at once, a cache of {shape.context}")
            )
    if shape.context and (first_token := overrun(shape.context, shape.prefill)):
        refused = overrun(shape.context, shape.prefill, fills=True)
        found.append(
            Finding(
                "prefill-past-cache",
                "",
                f"a cache of {shape.context} and prefill of {', '.join(map(str, shape.prefill))}: prompts of "
                f"{first_token} to {shape.context - 1} tokens in MediaPipe, "
                f"{f'{refused} to {shape.context - 1}' if refused else 'none'} in LiteRT-LM",
            )
        )
    if shape.width and shape.width % 4:
        found.append(Finding("logits-width-not-multiple-of-4", DECODE, f"logits of width {shape.width}"))
    return shape, found


def _inputs_and_outputs(model: Model, signature: Signature) -> list[Finding]:
    found, inputs = [], signature.inputs
    for names in (TOKENS, POSITIONS):
        if first(inputs, names) is None and not (names is TOKENS and first(inputs, EMBEDDINGS) is not None):
            found.append(
                Finding(
                    "signature-input-missing", signature.key, f"no input {' or '.join(names)}, only {_listed(inputs)}"
                )
            )
    if not any(CACHE.fullmatch(name) for name in inputs):
        found.append(Finding("signature-input-missing", signature.key, f"no kv_cache inputs, only {_listed(inputs)}"))
    known = {*TOKENS, *POSITIONS, *MASKS, *EMBEDDINGS}
    if unknown := [name for name in inputs if name not in known and not _KNOWN.fullmatch(name)]:
        found.append(
            Finding("signature-input-missing", signature.key, f"inputs that no engine fills: {_listed(unknown)}")
        )
    if signature.key.startswith(DECODE) and LOGITS not in signature.outputs:
        found.append(
            Finding("signature-output-missing", signature.key, f"no output {LOGITS}, only {_listed(signature.outputs)}")
        )
    caches = {name for name in inputs if CACHE.fullmatch(name)}
    if lost := sorted(caches - set(signature.outputs)):
        found.append(
            Finding("signature-output-missing", signature.key, f"{_listed(lost)} goes in and does not come out")
        )
    return found


def _left_out(model: Model, signatures: list[Signature]) -> list[Finding]:
    """What a signature does not name of what its graph takes and gives, and caches that only other signatures have."""
    found = []
    caches = sorted({name for signature in signatures for name in signature.inputs if CACHE.fullmatch(name)})
    for signature in signatures:
        graph = model.graphs[signature.graph]
        for code, named, end in (
            ("signature-input-missing", signature.inputs, graph.inputs),
            ("signature-output-missing", signature.outputs, graph.outputs),
        ):
            if len(named) != len(end):
                found.append(
                    Finding(
                        code, signature.key, f"{len(named)} {code.split('-')[1]}s, of which its graph has {len(end)}"
                    )
                )
        if any(map(CACHE.fullmatch, signature.inputs)) and (
            missing := [name for name in caches if name not in signature.inputs]
        ):
            found.append(
                Finding("signature-input-missing", signature.key, f"no {_listed(missing)}, which other signatures take")
            )
    return found


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


def _listed(names) -> str:
    names = list(names)
    return ", ".join(names[:6]) + (f", … ({len(names)})" if len(names) > 6 else "") or "none"


def _length(model: Model, signature: Signature) -> int | None:
    """How many tokens the signature takes at once: what LiteRT-LM reads from the positions, [N] or [1, N]."""
    positions = first(model.inputs(signature), POSITIONS)
    return positions.shape[-1] if positions is not None and len(positions.shape) in (1, 2) else None


def _shapes(model: Model, signature: Signature) -> list[Finding]:
    inputs, outputs, length = model.inputs(signature), model.outputs(signature), _length(model, signature)
    wrong: list[str] = []

    def expect(name: str, tensor: Tensor | None, types: tuple[str, ...], *shapes: tuple[int | None, ...]) -> None:
        if tensor is None:
            return
        fits = any(
            len(shape) == len(tensor.shape) and all(want in (None, size) for want, size in zip(shape, tensor.shape))
            for shape in shapes
        )
        if tensor.type not in types or not fits:
            wanted = " or ".join(str([size or "…" for size in shape]) for shape in shapes)
            wrong.append(f"{name} is {tensor}; expected {types[0].lower()} {wanted}")

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
    found = []
    for signature in signatures:
        for end, tensors in (("into", model.inputs(signature)), ("out of", model.outputs(signature))):
            for name, tensor in tensors.items():
                if not CACHE.fullmatch(name):
                    continue
                known, where = shapes.setdefault(name, (tensor, f"{end} {signature.key}"))
                if (known.shape, known.type) != (tensor.shape, tensor.type):
                    found.append(
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
        found.append(
            Finding(
                "cache-shapes-inconsistent",
                "",
                f"keys of {len(layers['k'])} layers and values of {len(layers['v'])}, or numbers left out",
            )
        )
    return found


def _shape(model: Model, decode: Signature | None, prefills: list[Signature]) -> LlmShape:
    lengths = tuple(sorted({length for signature in prefills if (length := _length(model, signature)) is not None}))
    if decode is None:
        return LlmShape(
            lengths, 0, None, None, any(first(signature.inputs, MASKS) is not None for signature in prefills), None
        )
    inputs, outputs = model.inputs(decode), model.outputs(decode)
    mask, keys = first(inputs, MASKS), inputs.get(_FIRST_KEYS)
    read = mask.shape[3] if mask is not None and len(mask.shape) == 4 else None
    if mask is None and keys is not None and len(keys.shape) > 2:
        read = keys.shape[2]
    layers = sum(1 for name in inputs if (match := CACHE.fullmatch(name)) and match[1] == "k")
    logits = outputs.get(LOGITS)
    width = logits.shape[-1] if logits is not None and logits.shape else None
    return LlmShape(lengths, layers, _context(model, decode), read, mask is not None, width)


def _context(model: Model, decode: Signature) -> int | None:
    """The length of the cache: its size along the dimension in which what is written into it is smaller. Else the
    mask's.
    """
    graph = model.graphs[decode.graph]
    for name in (_FIRST_KEYS, _FIRST_VALUES):
        if name in decode.inputs and (size := _written_along(graph, decode.inputs[name])):
            return size
    mask = first(model.inputs(decode), MASKS)
    return mask.shape[3] if mask is not None and len(mask.shape) == 4 else None


def _written_along(graph: Graph, cache: int) -> int | None:
    shape = graph.tensors[cache].shape
    for operator in graph.operators:
        if cache not in operator.inputs or not any(graph.tensors[index].shape == shape for index in operator.outputs):
            continue
        for index in operator.inputs:
            part = graph.tensors[index].shape if index >= 0 and index != cache else ()
            different = [axis for axis, size in enumerate(part) if len(part) == len(shape) and size != shape[axis]]
            if len(different) == 1 and part[different[0]] < shape[different[0]]:
                return shape[different[0]]
    return None


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
