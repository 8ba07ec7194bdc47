"""What leads to what in a graph: enough to tell embedding, attention, MLP and head apart in a model of any maker, by
its structure.
"""

from __future__ import annotations

from collections import defaultdict

from bundler.tflite.model import Graph, Model, Operator

# Operators that hand their first input on with the same values, maybe in another shape or type.
_PASSING = {
    "RESHAPE",
    "TRANSPOSE",
    "SQUEEZE",
    "EXPAND_DIMS",
    "CAST",
    "DEQUANTIZE",
    "QUANTIZE",
    "STABLEHLO_RESHAPE",
    "BITCAST",
}
MATRIX = ("FULLY_CONNECTED", "BATCH_MATMUL")
_CACHE = ("DYNAMIC_UPDATE_SLICE", "SCATTER_ND", "STABLEHLO_DOT_GENERAL")
LOOKUPS = ("EMBEDDING_LOOKUP", "GATHER")
KINDS = ("embedding", "attention", "mlp", "head", "norm", "other")


def constants(model: Model, graph: Graph) -> dict[int, int]:
    """Tensor -> the tensor with the constant it is, through operators that pass it on (the dequantization of
    weights).
    """
    origin = {index: index for index, tensor in enumerate(graph.tensors) if model.buffers[tensor.buffer].size}
    for operator in graph.operators:
        if operator.name in _PASSING and operator.inputs and operator.outputs and operator.inputs[0] in origin:
            origin.setdefault(operator.outputs[0], origin[operator.inputs[0]])
    return origin


def reached_from(graph: Graph, *starts: int) -> set[int]:
    """The tensors that are one of `starts`, passed on."""
    reached = set(starts)
    for operator in graph.operators:
        if operator.name in _PASSING and operator.inputs and operator.inputs[0] in reached:
            reached.update(operator.outputs[:1])
    return reached


def lookup_table(model: Model, graph: Graph, ids: int) -> int | None:
    """The tensor of constants that the ids in tensor `ids` choose rows of."""
    origin, reached = constants(model, graph), reached_from(graph, ids)
    for operator in graph.operators:
        if operator.name in LOOKUPS and len(operator.inputs) >= 2:
            # EMBEDDING_LOOKUP takes (ids, table), GATHER (table, ids).
            chosen, table = operator.inputs[:2] if operator.name == "EMBEDDING_LOOKUP" else operator.inputs[1::-1]
            if chosen in reached and table in origin:
                return origin[table]
    return None


def head_bias(model: Model, graph: Graph, logits: int) -> int | None:
    """The tensor of constants that is added to the head's product, one for each column of the logits."""
    origin, made_by = (
        constants(model, graph),
        {index: operator for operator in graph.operators for index in operator.outputs},
    )
    width = graph.tensors[logits].shape[-1:]
    tensor, seen = logits, set()
    while (operator := made_by.get(tensor)) is not None and tensor not in seen:
        seen.add(tensor)
        for index in operator.inputs[2:3] if operator.name == "FULLY_CONNECTED" else operator.inputs:
            if (
                operator.name in ("FULLY_CONNECTED", "ADD")
                and index in origin
                and graph.tensors[index].shape[-1:] == width
            ):
                return origin[index]
        if operator.name not in _PASSING or not operator.inputs:
            return None
        tensor = operator.inputs[0]
    return None


def _weights(graph: Graph, origin: dict[int, int]) -> set[int]:
    """What a layer multiplies by: constants, and the factors of an adapter, which are inputs of the graph."""
    factors = [
        index
        for index in graph.inputs
        if len(graph.tensors[index].shape) == 2 and graph.tensors[index].type.startswith("FLOAT")
    ]
    return set(origin) | reached_from(graph, *factors)


def kinds_of_constants(model: Model, graph: Graph, logits: int | None) -> dict[int, str]:
    """Tensor with a constant -> one of KINDS, for those of the graph that is the language model's (logits None: a
    prefill).
    """
    origin = constants(model, graph)
    fixed = _weights(graph, origin)
    feeds, after_attention = _feeds_attention(graph, fixed), _after_attention(graph, fixed)
    to_logits = set() if logits is None else _leading_to(graph, logits)
    kinds: dict[int, str] = {}
    for operator in graph.operators:
        weights = [index for index in operator.inputs if index in origin]
        if not weights:
            continue
        if operator.name in LOOKUPS:
            kind = "embedding"
        elif operator.name in MATRIX and len(weights) < len(operator.inputs):
            if operator.outputs and operator.outputs[0] in to_logits:
                kind = "head"
            elif any(index in after_attention for index in operator.inputs) or any(
                feeds[index] for index in operator.outputs
            ):
                kind = "attention"
            else:
                kind = "mlp"
        elif operator.name in ("MUL", "ADD", "SUB", "DIV") and any(
            graph.tensors[index].values > 1 for index in weights
        ):
            kind = "norm"
        else:
            kind = "other"
        for index in weights:
            # A table that is both embedding and head is the embedding; a constant of no use of its own yields to any
            # other.
            if kinds.get(origin[index], "other") == "other" or kind == "embedding":
                kinds[origin[index]] = kind
    return kinds


def _is_attention(operator: Operator, written: set[int]) -> bool:
    """The product of attention, or a composite for all of it, such as odml.scaled_dot_product_attention. A product may
    be a multiplication and a sum; `written`: the caches after something was written into them.
    """
    name = operator.name
    return (
        name == "BATCH_MATMUL"
        or name == "MUL"
        and not written.isdisjoint(operator.inputs)
        or name.startswith("odml.")
        and ("attention" in name or "sdpa" in name or "cache" in name)
    )


def _written_caches(graph: Graph) -> set[int]:
    return {index for operator in graph.operators if operator.name in _CACHE for index in operator.outputs}


def _feeds_attention(graph: Graph, fixed: set[int]) -> defaultdict[int, bool]:
    """Tensor -> whether it goes into the product of attention or into the cache before any other layer."""
    feeds: defaultdict[int, bool] = defaultdict(bool)
    written = _written_caches(graph)
    for operator in reversed(graph.operators):
        layer = operator.name in MATRIX and any(index in fixed for index in operator.inputs)
        if (
            not layer
            and (
                _is_attention(operator, written)
                or operator.name in _CACHE
                or any(feeds[index] for index in operator.outputs)
            )
            and operator.name != "MEAN"
        ):
            for index in operator.inputs:
                feeds[index] = True
    return feeds


def _after_attention(graph: Graph, fixed: set[int]) -> set[int]:
    """The tensors that are the product of attention, passed on."""
    reached: set[int] = set()
    written = _written_caches(graph)
    for operator in graph.operators:
        attention = _is_attention(operator, written) and not any(index in fixed for index in operator.inputs)
        if attention or operator.name in (*_PASSING, "SUM") and operator.inputs and operator.inputs[0] in reached:
            reached.update(operator.outputs)
    return reached


def _leading_to(graph: Graph, tensor: int) -> set[int]:
    """The tensors from which only operators that pass on, or add a bias, lead to `tensor`."""
    reached = {tensor}
    for operator in reversed(graph.operators):
        if operator.name in (*_PASSING, "ADD", "MUL", "TANH", "DIV") and any(
            index in reached for index in operator.outputs
        ):
            reached.update(operator.inputs)
    return reached
