"""A GPT-2 checkpoint as an ONNX model with a cache, of the operators that ONNX Runtime's own GPT-2 conversion used.

Attention with `past` and `present` of [2, batch, heads, tokens, head_dim], FastGelu, LayerNormalization
(onnxruntime/python/tools/transformers/models/gpt2 and its fusions). Logits are of the last token alone.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from bundler.checkpoints.checkpoint import Checkpoint

MICROSOFT = "com.microsoft"


def write_onnx(checkpoint: Checkpoint, path: Path) -> None:
    """Write `path` in fp32. Inputs ids [1, n], positions [1, n], past_i; outputs logits [1, vocabulary], present_i."""
    shape = checkpoint.architecture
    nodes, weights = [], []

    def constant(name: str, value: np.ndarray) -> str:
        weights.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def weight(name: str) -> str:
        return constant(name, checkpoint.tensor(name).numpy())

    def node(operator: str, inputs: list[str], output: str, domain: str = "", **attributes) -> str:
        nodes.append(helper.make_node(operator, inputs, [output], domain=domain, **attributes))
        return output

    def norm(hidden: str, name: str) -> str:
        inputs = [hidden, weight(f"{name}.weight"), weight(f"{name}.bias")]
        return node("LayerNormalization", inputs, f"{name}.out", axis=-1, epsilon=shape.layer_norm_epsilon)

    def linear(hidden: str, name: str) -> str:
        product = node("MatMul", [hidden, weight(f"{name}.weight")], f"{name}.product")
        return node("Add", [product, weight(f"{name}.bias")], f"{name}.out")

    table = weight("wte.weight")
    words = node("Gather", [table, "ids"], "words")
    hidden = node("Add", [words, node("Gather", [weight("wpe.weight"), "positions"], "places")], "hidden")
    for layer in range(shape.layers):
        name = f"h.{layer}"
        inputs = [norm(hidden, f"{name}.ln_1"), *(weight(f"{name}.attn.c_attn.{role}") for role in ("weight", "bias"))]
        attended = f"{name}.attended"
        nodes.append(
            helper.make_node(
                "Attention",
                [*inputs, "", f"past_{layer}"],
                [attended, f"present_{layer}"],
                domain=MICROSOFT,
                num_heads=shape.heads,
                unidirectional=1,
            )
        )
        hidden = node("Add", [hidden, linear(attended, f"{name}.attn.c_proj")], f"{name}.attn.sum")
        inner = linear(norm(hidden, f"{name}.ln_2"), f"{name}.mlp.c_fc")
        inner = node("FastGelu", [inner], f"{name}.gelu", MICROSOFT)
        hidden = node("Add", [hidden, linear(inner, f"{name}.mlp.c_proj")], f"{name}.mlp.sum")
    last = node("Gather", [norm(hidden, "ln_f"), constant("last", np.array(-1))], "last_hidden", axis=1)
    # A matrix of its own, turned: dynamic quantization takes MatMul with a constant, and no Gemm with a transposed one.
    node("MatMul", [last, constant("head", checkpoint.tensor("wte.weight").numpy().T)], "logits")

    cache = [2, 1, shape.heads, "past", shape.head_dim]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "gpt2",
        [
            value("ids", TensorProto.INT64, [1, "n"]),
            value("positions", TensorProto.INT64, [1, "n"]),
            *(value(f"past_{layer}", TensorProto.FLOAT, cache) for layer in range(shape.layers)),
        ],
        [
            value("logits", TensorProto.FLOAT, [1, shape.vocabulary]),
            *(value(f"present_{i}", TensorProto.FLOAT, [*cache[:3], "all", cache[4]]) for i in range(shape.layers)),
        ],
        weights,
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(MICROSOFT, 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)


def quantize_onnx(source: Path, path: Path) -> None:
    """The same with weights in int8, a scale for each output channel, as ONNX Runtime quantizes them dynamically."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    # The types behind operators of its own it does not infer.
    floats = {"DefaultTensorType": TensorProto.FLOAT}
    quantize_dynamic(source, path, per_channel=True, weight_type=QuantType.QInt8, extra_options=floats)
