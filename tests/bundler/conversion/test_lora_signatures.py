"""Signatures with an adapter, taken out of a graph that has plain ones too, against the converter's own."""

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from tiny_gpt2 import VOCABULARY, write_tiny_checkpoint

from bundler.checkpoints.checkpoint import open_checkpoint
from bundler.conversion.convert import LoraInputs, Signatures, convert_graph, fill_graph
from bundler.conversion.exported_weights import TokenRows, exported_weights
from bundler.conversion.lora_signatures import keep_lora_signatures
from bundler.conversion.recipes import RECIPES
from bundler.tflite.runner import TFLiteGPT2

ROWS = TokenRows(VOCABULARY)
IDS = np.random.default_rng(0).integers(0, VOCABULARY, 20).tolist()


def test_what_is_kept_is_what_the_converter_writes_alone(tmp_path):
    checkpoint = open_checkpoint(write_tiny_checkpoint(tmp_path / "model"))
    convert_graph(checkpoint.architecture, ROWS, Signatures(48, (8,), LoraInputs((2, 3))), tmp_path / "both")
    keep_lora_signatures(tmp_path / "both", 3, tmp_path / "kept")
    convert_graph(checkpoint.architecture, ROWS, Signatures(48, (8,), LoraInputs(plain=3)), tmp_path / "alone")
    names, logits = [], []
    for graph in (tmp_path / "kept", tmp_path / "alone"):
        model = schema.ModelT.InitFromPackedBuf(graph.read_bytes())
        names.append([signature.signatureKey for signature in model.signatureDefs])
        assert len(model.subgraphs) == 2
        filled = tmp_path / f"{graph.name}.tflite"
        fill_graph(graph, exported_weights(checkpoint, 48, ROWS), RECIPES["fp32"], filled)
        runner = TFLiteGPT2(filled)
        generator = np.random.default_rng(1)
        runner.set_adapter(
            {name: generator.normal(size=shape).astype("f4") for name, shape in sorted(runner.lora_shapes.items())}
        )
        runner.prefill(IDS[:10])
        logits.append([runner.decode(token) for token in IDS[10:]])
    assert names == [[b"prefill_8", b"decode"]] * 2 and runner.lora_shapes
    np.testing.assert_array_equal(*logits)
