"""A repeated layer against the converter's own: the same operators, interface and logits."""

from collections import Counter

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from tiny_gpt2 import VOCABULARY, write_tiny_checkpoint

from bundler.checkpoints.checkpoint import open_checkpoint
from bundler.conversion import convert
from bundler.conversion.convert import LoraInputs, Signatures, convert_graph, fill_graph
from bundler.conversion.exported_weights import TokenRows, exported_weights
from bundler.conversion.recipes import RECIPES
from bundler.tflite.runner import TFLiteGPT2

ROWS = TokenRows(VOCABULARY)
IDS = np.random.default_rng(0).integers(0, VOCABULARY, 30).tolist()


@pytest.fixture(
    scope="module",
    params=[
        ({"n_layer": 4}, LoraInputs((2,))),
        ({"n_layer": 5, "tie_word_embeddings": False, "scale_attn_by_inverse_layer_idx": True}, LoraInputs()),
    ],
    ids=["one copy", "two copies, a head of its own"],
)
def graphs(request, tmp_path_factory):
    """(checkpoint, graph with repeated layers, graph whose layers were all converted)."""
    folder = tmp_path_factory.mktemp("repeated")
    config, lora = request.param
    checkpoint = open_checkpoint(write_tiny_checkpoint(folder / "model", **config))
    signatures = Signatures(48, (8,), lora)
    convert_graph(checkpoint.architecture, ROWS, signatures, folder / "repeated")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(convert, "CONVERTED", 100)
        convert_graph(checkpoint.architecture, ROWS, signatures, folder / "converted")
    return checkpoint, folder / "repeated", folder / "converted"


def test_the_graph_is_the_converters(graphs):
    _, *paths = graphs
    repeated, converted = (schema.ModelT.InitFromPackedBuf(path.read_bytes()) for path in paths)
    for left, right in zip(repeated.signatureDefs, converted.signatureDefs, strict=True):
        assert left.signatureKey == right.signatureKey
        assert facts(repeated, left) == facts(converted, right)


def facts(model, signature):
    """How often each operator is used, and the names, types and shapes of inputs and outputs."""
    graph = model.subgraphs[signature.subgraphIndex]
    interface = [
        sorted(
            (entry.name, graph.tensors[entry.tensorIndex].type, *graph.tensors[entry.tensorIndex].shape) for entry in e
        )
        for e in (signature.inputs, signature.outputs)
    ]
    assert sorted(graph.inputs) == sorted(entry.tensorIndex for entry in signature.inputs)
    assert sorted(graph.outputs) == sorted(entry.tensorIndex for entry in signature.outputs)
    return Counter(model.operatorCodes[operator.opcodeIndex].builtinCode for operator in graph.operators), interface


def test_the_logits_are_the_same_to_the_bit(graphs, tmp_path):
    checkpoint, *paths = graphs
    logits = []
    for path in paths:
        fill_graph(path, exported_weights(checkpoint, 48, ROWS), RECIPES["fp32"], tmp_path / path.name)
        model = TFLiteGPT2(tmp_path / path.name)
        model.prefill(IDS[:20])
        logits.append([model.decode(token) for token in IDS[20:]])
    np.testing.assert_array_equal(*logits)
