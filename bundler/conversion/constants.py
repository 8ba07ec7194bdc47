"""A graph whose weights are inputs -> the same graph with constants in their place, whose values come later.

The converter is given no weights, so what it makes is small. Here every weight that a signature uses becomes a
constant that all signatures share, stored as the recipe wants it. Only descriptions are made: a constant's vector is a
`hole` of the right length, which `write_model` fills.
"""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import dataclass
from typing import Mapping, NamedTuple, Sequence

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.schema_py_generated import BuiltinOperator, TensorType

from bundler.conversion.constant_names import constant_name
from bundler.conversion.recipes import Storage

# Between a constant's name and the number of the graph that uses it, as the converter has it in other names.
# Signatures' inputs of this prefix are weights.
PREFIX = "weights_"
_TYPES = {32: TensorType.FLOAT32, 16: TensorType.FLOAT16, 8: TensorType.INT8, 4: TensorType.INT4}
_NONE = -1  # the index of an optional tensor that is not given


def hole(dtype: type, count: int) -> np.ndarray:
    """A vector of `count` elements that takes no memory, to be told by its identity."""
    return np.broadcast_to(dtype(0), (count,))


@dataclass(eq=False)
class Constant:
    """A weight in the file. `values` and `scales` are holes: bytes, and float32 (int8) or bytes (int4)."""

    name: str
    shape: tuple[int, ...]
    storage: Storage
    values: np.ndarray
    scales: np.ndarray | None
    buffer: int
    scale_buffer: int | None = None


class Constants:
    """The constants of a model, each made when a signature first uses it."""

    def __init__(self, model: schema.ModelT) -> None:
        self._model, self.made = model, {}
        self._row_numbers: dict[int, int] = {}

    def constant(self, name: str, shape: Sequence[int], storage: Storage) -> Constant:
        """The constant of that name; biases are vectors, and norms lie as the graph has them."""
        if name in self.made:
            return self.made[name]
        shape = tuple(int(length) for length in shape)
        values = hole(np.uint8, storage.bytes(shape))
        constant = Constant(name, shape, storage, values, None, self._buffer(values))
        if storage.bits == 8:
            constant.scales = hole(np.float32, shape[0])
        elif storage.bits == 4:
            constant.scales = hole(np.uint8, 2 * shape[0] * shape[1] // storage.block)
            constant.scale_buffer = self._buffer(constant.scales)
        self.made[name] = constant
        return constant

    def row_numbers(self, count: int) -> int:
        """The buffer with the numbers from 0 to `count` - 1, int32."""
        if count not in self._row_numbers:
            self._row_numbers[count] = self._buffer(np.arange(count, dtype="<i4").view(np.uint8))
        return self._row_numbers[count]

    def _buffer(self, data: np.ndarray) -> int:
        self._model.buffers.append(schema.BufferT(data=data))
        return len(self._model.buffers) - 1


def place_constants(model: schema.ModelT, storage: Mapping[str, Storage]) -> list[Constant]:
    """Change `model` in place; returns the constants in the order of `storage`, which names every weight."""
    constants = Constants(model)
    for signature in model.signatureDefs:
        graph = model.subgraphs[signature.subgraphIndex]
        weights = {
            tensor.tensorIndex: name.removeprefix(PREFIX)
            for tensor in signature.inputs
            if (name := tensor.name.decode()).startswith(PREFIX)
        }
        signature.inputs = [tensor for tensor in signature.inputs if tensor.tensorIndex not in weights]
        graph.inputs = [index for index in graph.inputs if int(index) not in weights]
        _fold_biases(model, graph, weights)
        used = {int(index) for operator in graph.operators for index in operator.inputs}
        for index, name in weights.items():
            if index in used:
                tensor = graph.tensors[index]
                # ai-edge-quantizer wants all names of a model to differ.
                tensor.name = constant_name(name, signature.subgraphIndex).encode()
                _store(graph, tensor, constants.constant(name, tensor.shape, storage[name]))
                if storage[name].dequantized:
                    _dequantize(model, graph, index)
                elif storage[name].bits < 32:
                    _look_up_rows(model, graph, index, constants)
        _drop_unused(signature, graph)
    return [constants.made[name] for name in storage if name in constants.made]


def _store(graph: schema.SubGraphT, tensor: schema.TensorT, constant: Constant) -> None:
    tensor.buffer, tensor.type = constant.buffer, _TYPES[constant.storage.bits]
    if constant.storage.bits == 8:
        tensor.quantization = schema.QuantizationParametersT(
            scale=constant.scales, zeroPoint=np.zeros(constant.shape[0], np.int64), quantizedDimension=0
        )
    elif constant.storage.bits == 4:
        blocks = [constant.shape[0], constant.shape[1] // constant.storage.block]
        graph.tensors.append(
            schema.TensorT(
                shape=blocks, type=TensorType.FLOAT16, buffer=constant.scale_buffer, name=tensor.name + b"_scales"
            )
        )
        tensor.quantization = schema.QuantizationParametersT(
            detailsType=schema.QuantizationDetails.BlockwiseQuantization,
            details=schema.BlockwiseQuantizationT(
                scales=len(graph.tensors) - 1, zeroPoints=_NONE, blockSize=constant.storage.block
            ),
            quantizedDimension=0,
        )


def _dequantize(model: schema.ModelT, graph: schema.SubGraphT, index: int) -> None:
    """Put a DEQUANTIZE between the constant and the operators that use it."""
    users = [number for number, operator in enumerate(graph.operators) if index in operator.inputs]
    _put_before(model, graph, users, _Floats(index, BuiltinOperator.DEQUANTIZE, [index]))


def _look_up_rows(model: schema.ModelT, graph: schema.SubGraphT, index: int, constants: Constants) -> None:
    """Put an EMBEDDING_LOOKUP of all rows between the constant and the products of gradients with it.

    Such a product sums along the dimension that the scales run along, so it needs floats. A DEQUANTIZE of a constant
    would be computed once and kept, by XNNPACK even twice; rows that are looked up take memory while they are used.
    """
    product = _operator_code(model, BuiltinOperator.BATCH_MATMUL)
    for number in reversed(range(len(graph.operators))):
        operator = graph.operators[number]
        if operator.opcodeIndex == product and index in operator.inputs:
            rows = schema.TensorT(
                shape=graph.tensors[index].shape[:1],
                type=TensorType.INT32,
                buffer=constants.row_numbers(int(graph.tensors[index].shape[0])),
                name=b"%s_rows_%d" % (graph.tensors[index].name, number),  # all names of a model differ
            )
            graph.tensors.append(rows)
            inputs = [len(graph.tensors) - 1, index]
            _put_before(model, graph, [number], _Floats(index, BuiltinOperator.EMBEDDING_LOOKUP, inputs))


class _Floats(NamedTuple):
    """How the constant `index` becomes floats: an operator of this kind with these inputs."""

    index: int
    kind: int
    inputs: list[int]


def _put_before(model: schema.ModelT, graph: schema.SubGraphT, users: Sequence[int], made: _Floats) -> None:
    """Let the operators at the places `users` use floats in the place of the constant."""
    floats = copy.copy(graph.tensors[made.index])
    floats.buffer, floats.type, floats.quantization = 0, TensorType.FLOAT32, None
    floats.name += b"_dequant" if made.kind == BuiltinOperator.DEQUANTIZE else b"_floats_%d" % users[0]
    graph.tensors.append(floats)
    for number in users:
        operator = graph.operators[number]
        operator.inputs = [len(graph.tensors) - 1 if int(i) == made.index else int(i) for i in operator.inputs]
    operator = schema.OperatorT(
        opcodeIndex=_operator_code(model, made.kind), inputs=made.inputs, outputs=[len(graph.tensors) - 1]
    )
    graph.operators.insert(users[0], operator)


def _operator_code(model: schema.ModelT, builtin: int) -> int:
    for index, code in enumerate(model.operatorCodes):
        if code.builtinCode == builtin:
            return index
    model.operatorCodes.append(schema.OperatorCodeT(builtinCode=builtin, deprecatedBuiltinCode=min(builtin, 127)))
    return len(model.operatorCodes) - 1


def _fold_biases(model: schema.ModelT, graph: schema.SubGraphT, weights: Mapping[int, str]) -> None:
    """Make FULLY_CONNECTED, the ADD of its bias, and a RESHAPE that only brings back the input's dimensions one
    operator, as the converter does where it sees constants.
    """

    def builtin(operator: schema.OperatorT) -> int:
        return model.operatorCodes[operator.opcodeIndex].builtinCode

    uses = Counter(int(index) for operator in graph.operators for index in operator.inputs)
    users = {int(index): operator for operator in graph.operators for index in operator.inputs}
    folded = set()

    def follower(product: int, kind: int) -> schema.OperatorT | None:
        """The operator of that kind that is the only one to use tensor `product`."""
        user = users.get(product)
        return user if user is not None and uses[product] == 1 and builtin(user) == kind else None

    def shape(index: int) -> list[int]:
        return [int(length) for length in graph.tensors[index].shape]

    for operator in graph.operators:
        if builtin(operator) != BuiltinOperator.FULLY_CONNECTED:
            continue
        source, product = int(operator.inputs[0]), int(operator.outputs[0])
        if add := follower(product, BuiltinOperator.ADD):
            bias = next(int(index) for index in add.inputs if int(index) != product)
            if weights.get(bias, "").endswith(".bias"):
                operator.inputs, operator.outputs = [*map(int, operator.inputs[:2]), bias], add.outputs
                folded.add(id(add))
                product = int(add.outputs[0])
        reshape = follower(product, BuiltinOperator.RESHAPE)
        if reshape and shape(int(reshape.outputs[0])) == [*shape(source)[:-1], shape(product)[-1]]:
            operator.outputs = reshape.outputs
            folded.add(id(reshape))
        operator.builtinOptions.keepNumDims = len(shape(int(operator.outputs[0]))) == len(shape(source))
    graph.operators = [operator for operator in graph.operators if id(operator) not in folded]


def _drop_unused(signature: schema.SignatureDefT, graph: schema.SubGraphT) -> None:
    """Remove the tensors that nothing uses."""
    used = {int(index) for operator in graph.operators for index in [*operator.inputs, *operator.outputs]}
    used.update(int(index) for index in [*graph.inputs, *graph.outputs])
    used.update(
        graph.tensors[index].quantization.details.scales
        for index in list(used)
        if index != _NONE and graph.tensors[index].quantization and graph.tensors[index].quantization.details
    )
    kept = sorted(used - {_NONE})
    place = {old: new for new, old in enumerate(kept)} | {_NONE: _NONE}
    graph.tensors = [graph.tensors[index] for index in kept]
    for operator in graph.operators:
        operator.inputs = [place[int(index)] for index in operator.inputs]
        operator.outputs = [place[int(index)] for index in operator.outputs]
    graph.inputs = [place[int(index)] for index in graph.inputs]
    graph.outputs = [place[int(index)] for index in graph.outputs]
    for tensor in (*signature.inputs, *signature.outputs):
        tensor.tensorIndex = place[tensor.tensorIndex]
    for tensor in graph.tensors:
        if tensor.quantization and tensor.quantization.details:
            tensor.quantization.details.scales = place[tensor.quantization.details.scales]
