"""Decode for CPUs with a cache of any length: both products of attention as a multiplication and a sum.

XNNPACK packs the second factor of a product before it multiplies, and in decode that factor is the cache: it is copied
for every token, to be used once. A multiplication and a sum read it as it lies. They keep a product in between that is
as large as the cache of a layer, which a GPU would have to write to its memory: there the product is the better form.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bundler.conversion.compact import compact_tflite
from bundler.tflite.signatures import DECODE

if TYPE_CHECKING:
    from ai_edge_litert import schema_py_generated as schema


def unpack_decode(path: Path) -> None:
    """Rewrite the TFLite file at `path`. A model too large to lie inside one flatbuffer is left as it is."""
    compact_tflite(path, multiply_and_sum)


def multiply_and_sum(model: schema.ModelT) -> None:
    """Replace, in `decode`, every product of a vector of each head with a cache [1, heads, rows, summed]."""
    from ai_edge_litert import schema_py_generated as schema

    kinds, options = schema.BuiltinOperator, schema.BuiltinOptions
    codes = [code.builtinCode for code in model.operatorCodes]
    graph = next(
        model.subgraphs[entry.subgraphIndex] for entry in model.signatureDefs if entry.signatureKey == DECODE.encode()
    )

    def shape(tensor: int) -> list[int]:
        return [int(size) for size in graph.tensors[tensor].shape]

    def tensor(like: int, sizes: list[int]) -> int:
        name = graph.tensors[like].name + b"_%d" % len(graph.tensors)  # all names of a model differ
        graph.tensors.append(schema.TensorT(shape=sizes, type=graph.tensors[like].type, name=name, hasRank=True))
        return len(graph.tensors) - 1

    def constant(values: list[int]) -> int:
        model.buffers.append(schema.BufferT(data=np.array(values, "<i4").view(np.uint8)))
        made = schema.TensorT(
            shape=[len(values)],
            type=schema.TensorType.INT32,
            buffer=len(model.buffers) - 1,
            name=b"unpacked_shape_%d" % len(graph.tensors),
            hasRank=True,
        )
        graph.tensors.append(made)
        return len(graph.tensors) - 1

    def operator(kind: int, inputs: list[int], output: int, option: int, values: object) -> schema.OperatorT:
        if kind not in codes:
            codes.append(kind)
            model.operatorCodes.append(schema.OperatorCodeT(builtinCode=kind, deprecatedBuiltinCode=kind, version=1))
        return schema.OperatorT(
            opcodeIndex=codes.index(kind),
            inputs=inputs,
            outputs=[output],
            builtinOptionsType=option,
            builtinOptions=values,
        )

    operators = []
    for product in graph.operators:
        if codes[product.opcodeIndex] != kinds.BATCH_MATMUL or not product.builtinOptions.adjY:
            operators.append(product)
            continue
        vector, cache = product.inputs
        if len(shape(vector)) != 4 or shape(vector)[2] != 1 or len(shape(cache)) != 4:
            operators.append(product)
            continue
        terms, sums = tensor(cache, shape(cache)), tensor(cache, shape(cache)[:3])
        operators += [
            operator(kinds.MUL, [cache, vector], terms, options.MulOptions, schema.MulOptionsT()),
            operator(kinds.SUM, [terms, constant([3])], sums, options.ReducerOptions, schema.ReducerOptionsT()),
            operator(
                kinds.RESHAPE,
                [sums, constant(shape(product.outputs[0]))],
                product.outputs[0],
                options.ReshapeOptions,
                schema.ReshapeOptionsT(newShape=shape(product.outputs[0])),
            ),
        ]
    graph.operators = operators
