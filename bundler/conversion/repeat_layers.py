"""A graph of three layers -> the graph of a model of any depth.

All layers of a GPT-2 are alike, and the converter's time and memory grow with their number. So it is given three: one
after the embedding, one between layers, one before the head. Here the one in the middle is repeated.

An operator belongs to the highest layer whose weights or cache its inputs come from. So the first operators of a layer,
which see only the sum that the layer before has left, belong to that one: for copying it is the same.
"""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Callable, Iterable, Mapping

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from bundler.conversion.compact import compact_tflite

# A layer's number in the name of an input or output: of a weight (weights_blocks.1.q.bias), or of a cache or an adapter
# (kv_cache_k_1, lora_atten_q_a_prime_weight_1).
_NUMBER = re.compile(r"(?<=blocks\.)\d+(?=\.)|(?<=_)\d+$")
# The layers that are converted: the first, the one that is repeated, and the last.
CONVERTED = 3
_FIRST, _REPEATED, _LAST = range(CONVERTED)
# Of operators before all layers: what comes from the tokens or from the constants alone.
_BEFORE = -1


def repeat_layers(path: Path, layers: int) -> None:
    """Rewrite the TFLite file at `path`, whose graph has CONVERTED layers and its weights as inputs, to `layers`."""

    def repeat(model: schema.ModelT) -> None:
        for signature in model.signatureDefs:
            _Repetition(model, signature).repeat(layers)

    compact_tflite(path, repeat)


class _Repetition:
    """The repetition of one signature's graph. Tensors are meant by their index."""

    def __init__(self, model: schema.ModelT, signature: schema.SignatureDefT) -> None:
        self._model, self._signature = model, signature
        self._graph = model.subgraphs[signature.subgraphIndex]
        self._inputs, self._outputs = (
            {entry.tensorIndex: entry.name.decode() for entry in entries}
            for entries in (signature.inputs, signature.outputs)
        )
        self._layer = {tensor: _layer_of(name) for tensor, name in self._inputs.items()}
        self._operators: dict[int, list[schema.OperatorT]] = {layer: [] for layer in (_BEFORE, *range(CONVERTED))}
        for operator in self._graph.operators:
            layer = max((self._layer.get(tensor, _BEFORE) for tensor in _indices(operator.inputs)), default=_BEFORE)
            self._operators[layer].append(operator)
            self._layer.update(dict.fromkeys(_indices(operator.outputs), layer))

    def repeat(self, layers: int) -> None:
        next_of = self._next_layer()
        # Where a tensor of the repeated layer lies in the copy made last: in itself, before there is one.
        latest = {tensor: tensor for tensor in self._layer if self._layer[tensor] == _REPEATED}
        copies = []
        for layer in range(_LAST, layers - 1):
            before, latest = latest, {}

            def place(tensor: int) -> int:
                """The tensor that the copy has in the place of one that the repeated layer uses."""
                origin = self._layer.get(tensor, _BEFORE)
                if origin == _BEFORE:
                    return tensor
                if origin == _FIRST:
                    return before[next_of[tensor]]
                if tensor not in latest:
                    latest[tensor] = self._copied(tensor, layer)
                return latest[tensor]

            copies += [self._rewired(operator, place) for operator in self._operators[_REPEATED]]
        last = [
            self._rewired(operator, lambda tensor: latest.get(tensor, tensor)) for operator in self._operators[_LAST]
        ]
        self._renumber_last(layers - 1)
        self._graph.operators = [
            *(operator for layer in (_BEFORE, _FIRST, _REPEATED) for operator in self._operators[layer]),
            *copies,
            *last,
        ]

    def _next_layer(self) -> dict[int, int]:
        """The repeated layer's tensor for each of the first one's: both have the same operators in the same order."""
        firsts, repeated = self._operators[_FIRST], self._operators[_REPEATED]
        next_of: dict[int, int] = {}
        assert len(firsts) == len(repeated), "the converter wrote layers that differ"
        for left, right in zip(firsts, repeated):
            assert self._alike(left, right), "the converter wrote layers that differ"
            next_of.update(zip(_indices(left.outputs), _indices(right.outputs)))
        return next_of

    def _alike(self, left: schema.OperatorT, right: schema.OperatorT) -> bool:
        """Do two operators compute the same of tensors of the same shapes?"""

        def facts(operator: schema.OperatorT) -> list[object]:
            tensors = [*_indices(operator.inputs), *_indices(operator.outputs)]
            return [operator.opcodeIndex, _plain(operator.builtinOptions), *map(self._facts, tensors)]

        return facts(left) == facts(right)

    def _facts(self, index: int) -> tuple[object, ...]:
        tensor = self._graph.tensors[index]
        data = self._model.buffers[tensor.buffer].data
        return tensor.type, tuple(tensor.shape), b"" if data is None else bytes(data)

    def _rewired(self, operator: schema.OperatorT, place: Callable[[int], int]) -> schema.OperatorT:
        rewired = copy.copy(operator)
        rewired.inputs = [place(tensor) for tensor in _indices(operator.inputs)]
        rewired.outputs = [place(tensor) for tensor in _indices(operator.outputs)]
        return rewired

    def _copied(self, index: int, layer: int) -> int:
        """A new tensor like one of the repeated layer; an input or output of the signature if that is one."""
        tensor = copy.copy(self._graph.tensors[index])
        tensor.name = tensor.name + b"_layer_%d" % layer
        self._graph.tensors.append(tensor)
        made = len(self._graph.tensors) - 1
        for names, entries, indices in (
            (self._inputs, self._signature.inputs, "inputs"),
            (self._outputs, self._signature.outputs, "outputs"),
        ):
            if index in names:
                entries.append(schema.TensorMapT(name=_renumbered(names[index], layer), tensorIndex=made))
                setattr(self._graph, indices, [*_indices(getattr(self._graph, indices)), made])
        return made

    def _renumber_last(self, layer: int) -> None:
        for entry in (*self._signature.inputs, *self._signature.outputs):
            names = self._inputs if entry.tensorIndex in self._inputs else self._outputs
            name = names.get(entry.tensorIndex)
            if name is not None and _layer_of(name) == _LAST:
                entry.name = _renumbered(name, layer)


def _layer_of(name: str) -> int:
    number = _NUMBER.search(name)
    if number:
        return int(number[0])
    return _LAST if name.startswith(("weights_ln_f", "weights_head")) else _BEFORE


def _renumbered(name: str, layer: int) -> bytes:
    return _NUMBER.sub(str(layer), name).encode()


def _indices(tensors: Iterable[int] | None) -> list[int]:
    return [] if tensors is None else [int(tensor) for tensor in tensors]


def _plain(options: object) -> Mapping[str, object] | None:
    return None if options is None else {name: np.asarray(value).tolist() for name, value in vars(options).items()}
