"""Decode that packs nothing computes what the other does."""

import shutil

import numpy as np
from test_convert import IDS, stored_matrices

from bundler.conversion.unpacked_decode import unpack_decode
from bundler.system.file_section import FileSection
from bundler.tflite.model import open_model
from bundler.tflite.runner import TFLiteGPT2
from bundler.tflite.weights import weight_table


def operators(path):
    model = open_model(FileSection.whole(path))
    graphs = {signature.key: model.graphs[signature.graph] for signature in model.signatures}
    return {key: [operator.name for operator in graph.operators] for key, graph in graphs.items()}


def test_decode_without_products_gives_the_same_logits_and_weights(tiny_tflite, tmp_path):
    path = shutil.copy(tiny_tflite[0], tmp_path / "unpacked.tflite")
    unpack_decode(path)
    before, after = operators(tiny_tflite[0]), operators(path)
    assert before["decode"].count("BATCH_MATMUL") == 4 and "BATCH_MATMUL" not in after["decode"]
    assert after["decode"].count("SUM") - before["decode"].count("SUM") == 4
    assert all(after[key] == before[key] for key in before if key != "decode")
    packed, unpacked = TFLiteGPT2(tiny_tflite[0]), TFLiteGPT2(path)
    for model in (packed, unpacked):
        model.prefill(IDS[:40])
    for token in IDS[40:50]:
        assert np.abs(packed.decode(token) - unpacked.decode(token)).max() < 1e-5
    assert sorted(stored_matrices(path).values()) == sorted(stored_matrices(tiny_tflite[0]).values())
    models = [open_model(FileSection.whole(path)) for path in (path, tiny_tflite[0])]
    kinds = [{kind: row["tensors"] for kind, row in weight_table(model).items() if kind != "other"} for model in models]
    assert kinds[0] == kinds[1]
