"""The constants of a model: what kind of matrix each is, how it is quantized, how many bytes it takes, and whether it
is finite.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np

from bundler.doctor.report import Finding
from bundler.doctor.signatures import DECODE, LOGITS, TOKENS, first, language_signatures
from bundler.tflite.graph import KINDS, MATRIX, head_bias, kinds_of_constants, lookup_table
from bundler.tflite.model import Buffer, Model, Tensor

_FLOATS = {"FLOAT32": "<f4", "FLOAT16": "<f2", "FLOAT64": "<f8"}
_CHUNK = 1 << 22  # values looked at in one go
# The operators that XNNPACK multiplies for, with integer weights as they are; in others a scale of zero is a row of
# zeros.
_MULTIPLYING = (*MATRIX, "CONV_2D", "DEPTHWISE_CONV_2D")
_MASK_DIMENSIONS = 4  # a causal mask stored as a constant is infinite by design, and has as many


@dataclass(frozen=True)
class Embedding:
    """`rows` and `width` of the table of tokens, None if it was not found. `bias`: the head's, None if it has none."""

    rows: int | None
    bias: np.ndarray | None
    width: int | None = None


def weight_table(model: Model) -> dict[str, dict[str, Any]]:
    """Kind -> `bytes`, `tensors`, and `types`: how many bytes are stored as what. Every buffer counts once."""
    kinds: dict[int, tuple[str, Tensor]] = {}
    # Signatures may share a graph.
    for number, logits in {
        signature.graph: signature.outputs.get(LOGITS) for signature in language_signatures(model)
    }.items():
        graph = model.graphs[number]
        for index, kind in kinds_of_constants(model, graph, logits).items():
            tensor = graph.tensors[index]
            if tensor.buffer not in kinds or kinds[tensor.buffer][0] in ("other", "norm"):
                kinds[tensor.buffer] = kind, tensor
    for graph in model.graphs:
        for tensor in graph.tensors:
            if model.buffers[tensor.buffer].size:
                kinds.setdefault(tensor.buffer, ("other", tensor))
    table = {kind: {"bytes": 0, "tensors": 0, "types": defaultdict(int)} for kind in KINDS}
    # Buffers that are stored once and used by many tensors have one place.
    for buffer, kind, tensor in {
        model.buffers[index]: (model.buffers[index], kind, tensor) for index, (kind, tensor) in kinds.items()
    }.values():
        table[kind]["bytes"] += buffer.size
        table[kind]["tensors"] += 1
        table[kind]["types"][scheme(tensor)] += buffer.size
    return {kind: {**row, "types": dict(row["types"])} for kind, row in table.items() if row["tensors"]}


def scheme(tensor: Tensor) -> str:
    """How a tensor is stored, such as "int8 per channel" or "int4 in blocks of 32"."""
    name, quantization = tensor.type.lower(), tensor.quantization
    if quantization is None:
        return name
    if quantization.block:
        return f"{name} in blocks of {quantization.block}"
    return f"{name} per {'channel' if quantization.scales.size > 1 else 'tensor'}"


def embedding_of(model: Model, data) -> Embedding:
    """The table that `decode` looks tokens up in, and its head's bias."""
    decode = next((signature for signature in model.signatures if signature.key == DECODE), None)
    if decode is None:
        return Embedding(None, None)
    graph, rows, width, bias = model.graphs[decode.graph], None, None, None
    ids, logits = first(decode.inputs, TOKENS), decode.outputs.get(LOGITS)
    if ids is not None and (table := lookup_table(model, graph, ids)) is not None:
        shape = graph.tensors[table].shape
        rows, width = next(iter(shape), None), shape[1] if len(shape) == 2 else None
    if logits is not None and (index := head_bias(model, graph, logits)) is not None:
        bias = _values(model.buffers[graph.tensors[index].buffer], graph.tensors[index], data)
    return Embedding(rows, bias, width)


def _values(buffer: Buffer, tensor: Tensor, data) -> np.ndarray | None:
    """float32, flat; None for what is neither floats nor integers with scales."""
    raw = bytes(data[buffer.offset : buffer.offset + buffer.size])
    if tensor.type in _FLOATS and len(raw) == tensor.bytes:
        return np.frombuffer(raw, _FLOATS[tensor.type]).astype(np.float32)
    if (
        tensor.type == "INT32"
        and len(raw) == tensor.bytes
        and tensor.quantization
        and tensor.quantization.scales.size in (1, tensor.values)
    ):
        return np.frombuffer(raw, "<i4") * tensor.quantization.scales
    return None


def check_finite(model: Model, data) -> list[Finding]:
    """NaN nowhere, infinity only in what can be a mask. Every buffer is looked at once, in pieces."""
    found, seen, seen_scales = [], set(), set()
    for graph in model.graphs:
        for tensor in graph.tensors:
            if tensor.quantization is not None and id(tensor.quantization.scales) not in seen_scales:
                seen_scales.add(id(tensor.quantization.scales))
                if not np.isfinite(tensor.quantization.scales).all():
                    found.append(Finding("weights-not-finite", tensor.name, "a scale is NaN or infinite"))
            buffer = model.buffers[tensor.buffer]
            if (
                tensor.type in _FLOATS
                and buffer.size
                and buffer not in seen
                and buffer.size % np.dtype(_FLOATS[tensor.type]).itemsize == 0
            ):
                seen.add(buffer)
                if wrong := _not_finite(tensor, buffer, data):
                    found.append(Finding("weights-not-finite", tensor.name, wrong))
    return found


def check_scales(model: Model, data) -> list[Finding]:
    """The scales of the matrices that layers multiply by are above zero. Every set of scales is looked at once."""
    found, seen = [], set()
    for graph in model.graphs:
        for index in (
            index
            for operator in graph.operators
            if operator.name in _MULTIPLYING
            for index in operator.inputs
            if index >= 0
        ):
            tensor = graph.tensors[index]
            if tensor.quantization is None or not model.buffers[tensor.buffer].size:
                continue
            scales, key = tensor.quantization.scales, id(tensor.quantization.scales)
            if tensor.quantization.block:
                holder = graph.tensors[tensor.quantization.scales_tensor]
                key = model.buffers[holder.buffer]
                scales = _values(key, holder, data) if key not in seen else None
            if key in seen or scales is None:
                continue
            seen.add(key)
            # NaN is among them. XNNPACK takes no subnormal numbers either.
            wrong = scales[~(scales >= np.finfo(np.float32).tiny)]
            if wrong.size:
                found.append(
                    Finding(
                        "scale-not-positive",
                        tensor.name,
                        f"{wrong.size} of {scales.size} scales, the first is {wrong[0]:.3g}",
                    )
                )
    return found


def _not_finite(tensor: Tensor, buffer: Buffer, data) -> str:
    form = np.dtype(_FLOATS[tensor.type])
    nans = infinite = 0
    only_mask = True  # nothing but zeros beside the infinite values
    for start in range(buffer.offset, buffer.offset + buffer.size, _CHUNK * form.itemsize):
        part = np.frombuffer(
            bytes(data[start : min(start + _CHUNK * form.itemsize, buffer.offset + buffer.size)]), form
        )
        finite = np.isfinite(part)
        if not finite.all():
            here = int(np.isnan(part).sum())
            nans, infinite = nans + here, infinite + int((~finite).sum()) - here
        only_mask = only_mask and (not infinite or not part[finite].any())
    if tensor.values <= 1:  # what a mask is filled with, or a place that is not there
        return ""
    mask = only_mask or len(tensor.shape) >= _MASK_DIMENSIONS
    if nans or infinite and not mask:
        return f"{nans} NaN and {infinite} infinite values of {buffer.size // form.itemsize}"
    return ""
