"""The constants of a model: what kind of matrix each is, how it is stored, and how many bytes it takes."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np

from bundler.tflite.graph import KINDS, LOOKUPS, head_bias, kinds_of_constants, lookup_table
from bundler.tflite.model import Buffer, Model, Tensor
from bundler.tflite.signatures import CACHE, LOGITS, TOKENS, decode_signature, first, language_signatures, llm_shape

FLOATS = {"FLOAT32": "<f4", "FLOAT16": "<f2", "FLOAT64": "<f8"}


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


def decode_bytes(model: Model) -> tuple[int, int]:
    """(bytes of the constants, bytes of the cache for each token in it) that `decode` has to read for one token.

    Tables that it only looks rows up in are left out. Zeros if there is no `decode`, or no telling the cache's length.
    """
    decode = decode_signature(model)
    if decode is None:
        return 0, 0
    graph = model.graphs[decode.graph]
    read = {index for operator in graph.operators if operator.name not in LOOKUPS for index in operator.inputs}
    read = {index for index in read if index >= 0}
    schemes = [graph.tensors[index].quantization for index in read]
    read |= {scheme.scales_tensor for scheme in schemes if scheme and scheme.block}
    constants = {model.buffers[graph.tensors[index].buffer] for index in read}
    caches = [tensor.bytes or 0 for name, tensor in model.inputs(decode).items() if CACHE.fullmatch(name)]
    length = llm_shape(model).litertlm_context
    return sum(buffer.size for buffer in constants), sum(caches) // length if length else 0


def scheme(tensor: Tensor) -> str:
    """How a tensor is stored, such as "int8 per channel" or "int4 in blocks of 32"."""
    name, quantization = tensor.type.lower(), tensor.quantization
    if quantization is None:
        return name
    if quantization.block:
        return f"{name} in blocks of {quantization.block}"
    return f"{name} per {'channel' if quantization.scales.size > 1 else 'tensor'}"


def embedding_of(model: Model, data: bytes | memoryview) -> Embedding:
    """The table that `decode` looks tokens up in, and its head's bias."""
    decode = decode_signature(model)
    if decode is None:
        return Embedding(None, None)
    graph, rows, width, bias = model.graphs[decode.graph], None, None, None
    ids, logits = first(decode.inputs, TOKENS), decode.outputs.get(LOGITS)
    if ids is not None and (table := lookup_table(model, graph, ids)) is not None:
        shape = graph.tensors[table].shape
        rows, width = next(iter(shape), None), shape[1] if len(shape) == 2 else None
    if logits is not None and (index := head_bias(model, graph, logits)) is not None:
        bias = values_of(model.buffers[graph.tensors[index].buffer], graph.tensors[index], data)
    return Embedding(rows, bias, width)


def values_of(buffer: Buffer, tensor: Tensor, data: bytes | memoryview) -> np.ndarray | None:
    """float32, flat; None for what is neither floats nor integers with scales."""
    raw = bytes(data[buffer.offset : buffer.offset + buffer.size])
    if tensor.type in FLOATS and len(raw) == tensor.bytes:
        return np.frombuffer(raw, FLOATS[tensor.type]).astype(np.float32)
    if (
        tensor.type == "INT32"
        and len(raw) == tensor.bytes
        and tensor.quantization
        and tensor.quantization.scales.size in (1, tensor.values)
    ):
        return np.frombuffer(raw, "<i4") * tensor.quantization.scales
    return None
