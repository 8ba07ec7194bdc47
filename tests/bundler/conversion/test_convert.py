"""The converted model: its interface, its numbers against PyTorch, and that nothing is stored twice."""

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from tiny_gpt2 import VOCABULARY

from bundler.conversion.convert import choose_signatures
from bundler.errors import OptionError
from bundler.tflite.runner import TFLiteGPT2
from bundler.verification.references import Reference

IDS = [399, *np.random.default_rng(0).integers(0, 399, 60).tolist()]


def test_the_signatures_are_the_runtimes_contract(tiny_tflite):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(tiny_tflite[0]))
    assert sorted(interpreter.get_signature_list()) == ["decode", "prefill_32", "prefill_8"]
    for name, length in (("prefill_8", 8), ("prefill_32", 32), ("decode", 1)):
        runner = interpreter.get_signature_runner(name)
        inputs = {
            key: (detail["shape"].tolist(), detail["dtype"]) for key, detail in runner.get_input_details().items()
        }
        cache = {f"kv_cache_k_{i}": ([1, 2, 96, 16], np.float32) for i in range(2)} | {
            f"kv_cache_v_{i}": ([1, 2, 16, 96], np.float32) for i in range(2)
        }
        assert inputs == cache | {
            "tokens": ([1, length], np.int32),
            "input_pos": ([length], np.int32),
            "mask": ([1, 1, length, 96], np.float32),
        }
        outputs = {key: detail["shape"].tolist() for key, detail in runner.get_output_details().items()}
        logits = {"logits": [1, 1, 404]} if name == "decode" else {}
        assert outputs == {key: shape for key, (shape, _) in cache.items()} | logits


@pytest.mark.parametrize("prompt", [1, 2, 8, 9, 33, 45, 61])
def test_logits_are_pytorchs_for_every_cut_into_chunks(tiny_tflite, prompt):
    path, _, checkpoint = tiny_tflite
    model = TFLiteGPT2(path)
    model.prefill(IDS[: prompt - 1])
    logits = model.decode(IDS[prompt - 1])
    expected = Reference(checkpoint, VOCABULARY).logits(IDS[:prompt])[-1]
    assert np.abs(logits[:VOCABULARY] - expected).max() < 1e-3
    assert logits[VOCABULARY:].max() < -1000


def test_no_matrix_is_stored_twice(tiny_tflite):
    """The size is that of the weights: the tied embedding once, and one copy for all signatures."""
    path, model, _ = tiny_tflite
    weights = sum(parameter.numel() for parameter in model.parameters()) * 4
    matrices = stored_matrices(path)
    assert len(matrices) == 2 + 6 * 2  # the two embeddings; q, k, v, o and the two of the MLP in each layer
    assert sum(matrices.values()) < weights
    assert path.stat().st_size < weights + 150_000  # the graphs themselves


def stored_matrices(path):
    """Bytes of every buffer that is a constant matrix in some subgraph."""
    root = schema.Model.GetRootAs(path.read_bytes(), 0)
    sizes = {}
    for graph in (root.Subgraphs(i) for i in range(root.SubgraphsLength())):
        for tensor in (graph.Tensors(i) for i in range(graph.TensorsLength())):
            buffer = root.Buffers(tensor.Buffer())
            length = buffer.DataLength() or buffer.Size()  # ai-edge-quantizer puts the data behind the flatbuffer
            if length and tensor.ShapeLength() == 2 and min(tensor.Shape(0), tensor.Shape(1)) > 1:
                sizes[tensor.Buffer()] = length
    return sizes


@pytest.mark.parametrize(
    "positions, context, expected",
    [
        (1024, None, (1024, (32, 256))),
        (512, None, (512, (32, 128))),
        (1024, 128, (128, (32,))),
        (96, None, (96, (24,))),
        (2, None, (2, (1,))),
        (2048, 2000, (2000, (25, 250))),
        (1024, 1000, (1000, (25, 250))),
        (1024, 100, (100, (25,))),
        # Contexts without useful divisors: the next smaller one that has. 1023 is 3 * 11 * 31, 1021 is prime.
        (1024, 1023, (1020, (34, 204))),
        (1021, None, (1020, (34, 204))),
        (1024, 97, (96, (24,))),
        (1024, 11, (10, (2,))),
    ],
)
def test_default_shapes(positions, context, expected):
    chosen = choose_signatures(positions, context)
    assert (chosen.context, chosen.prefill) == expected


def test_default_lengths_divide_the_context_and_cost_little_of_it():
    for context in range(2, 2500):
        chosen = choose_signatures(2500, context)
        assert all(whole % length == 0 for length, whole in zip(chosen.prefill, (*chosen.prefill[1:], chosen.context)))
        assert not any(
            number > 10 and all(number % n for n in range(2, number)) for number in (chosen.context, *chosen.prefill)
        )
        assert context - chosen.context <= max(3, context * 0.03)


@pytest.mark.parametrize(
    "context, prefill, message",
    [
        (2048, None, "`context` 2048: the checkpoint has 1024 positions"),
        (0, None, "`context` 0"),
        (1, None, "`context` 1"),
        (256, (512,), "`prefill` 512: a prefill length must be from 1 to the context of 256"),
        (256, (0, 8), "`prefill` 0"),
        (256, (), "`prefill` is empty"),
        (100, (30,), "`prefill` 30 does not divide the context of 100, .*; the nearest that serve are 25 and 50"),
        (100, (10, 99), "`prefill` 99 does not divide the context of 100, .*; the nearest that serve are 50 and 100"),
        (96, (16, 24), "`prefill` 16 does not divide 24, the next longer, .*; the nearest that serve are 12 and 24"),
        (1023, (31, 341), "`prefill` 31 is a prime above 10, .*; the nearest that serve are 1 and 341"),
        (97, (1,), "`context` 97: LiteRT-LM takes a prime above 10 for a placeholder .*; give 96"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(context, prefill, message):
    with pytest.raises(OptionError, match=message):
        choose_signatures(1024, context, prefill)


@pytest.mark.parametrize(
    "context, prefill", [(100, (100,)), (100, (50, 25)), (96, (8, 24)), (96, (1, 96)), (1023, (1, 341))]
)
def test_lengths_that_divide_each_other_and_the_context_are_taken(context, prefill):
    assert choose_signatures(1024, context, prefill).prefill == tuple(sorted(prefill))
