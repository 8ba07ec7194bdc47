"""The checked reader of TFLite files, held against the reader that the schema generates."""

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from bundler.containers.task import MODEL_ENTRY
from bundler.doctor.operators import NEWEST, OLDEST
from bundler.doctor.signatures import overrun
from bundler.tflite.model import read_model

TYPES = {number: name for name, number in vars(schema.TensorType).items() if isinstance(number, int)}
OPERATORS = {number: name for name, number in vars(schema.BuiltinOperator).items() if isinstance(number, int)}


@pytest.mark.parametrize("name", ["task", "fp32_task", "lora_task", "adapter"])
def test_as_the_generated_reader(good, name):
    data = good.adapter.read_bytes() if name == "adapter" else good.entries(name)[MODEL_ENTRY]
    model, reference = read_model(memoryview(data)), schema.ModelT.InitFromPackedBuf(bytearray(data))
    assert (model.damage, model.missized) == ([], [])
    assert {signature.key: signature.inputs for signature in model.signatures} == {
        each.signatureKey.decode(): {entry.name.decode(): entry.tensorIndex for entry in each.inputs}
        for each in reference.signatureDefs or []
    }
    assert model.metadata == {entry.name.decode(): entry.buffer for entry in reference.metadata}
    assert len(model.graphs) == len(reference.subgraphs)
    for graph, expected in zip(model.graphs, reference.subgraphs):
        assert [(tensor.name, tensor.type, list(tensor.shape), tensor.buffer) for tensor in graph.tensors] == [
            (each.name.decode(), TYPES[each.type], _listed(each.shape), each.buffer) for each in expected.tensors
        ]
        assert [(operator.name, list(operator.inputs), list(operator.outputs)) for operator in graph.operators] == [
            (
                OPERATORS[reference.operatorCodes[each.opcodeIndex].builtinCode],
                _listed(each.inputs),
                _listed(each.outputs),
            )
            for each in expected.operators
        ]
        for tensor, each in zip(graph.tensors, expected.tensors):
            scales = None if each.quantization is None or each.quantization.scale is None else each.quantization.scale
            assert (tensor.quantization is None) == (scales is None or not len(scales))
            assert tensor.quantization is None or np.array_equal(tensor.quantization.scales, scales)
    for buffer, each in zip(model.inside, reference.buffers):
        assert bytes(data[buffer.offset : buffer.offset + buffer.size]) == (
            b"" if each.data is None else bytes(each.data)
        )


@pytest.mark.parametrize(
    "context, lengths, in_mediapipe, in_litertlm",
    [
        (96, (24,), None, None),
        (96, (36,), 73, 73),
        (96, (8, 36), 81, None),
        (96, (10, 36), 83, 93),
        (96, (5, 10, 36), 83, 93),
        (80, (30,), 61, 61),
        (100, (36,), 73, 73),
        (100, (8, 36), 81, 97),
        (2000, (256,), 1793, 1793),
        (1023, (32, 256), 801, 993),
        (96, (), None, None),
        (96, (0,), None, None),
    ],
)
def test_from_which_prompt_on_a_chunk_runs_past_the_cache(context, lengths, in_mediapipe, in_litertlm):
    """Contexts of 96 were measured in LiteRT-LM 0.18.1, which refuses prompts from that length on; (36,) in 100 in
    MediaPipe web 0.10.29, which
    writes other text."""
    assert (overrun(context, lengths), overrun(context, lengths, fills=True)) == (in_mediapipe, in_litertlm)


def test_the_runtime_knows_the_operators_in_the_table_and_no_others():
    """Asked operator by operator: files that only declare one."""
    for name, number in vars(schema.BuiltinOperator).items():
        if not isinstance(number, int) or name in ("CUSTOM", "DELEGATE"):
            continue
        newest, oldest = NEWEST.get(name, 0), OLDEST.get(name, 1)
        assert [version for version in range(newest + 3) if _runtime_takes(number, version)] == list(
            range(oldest, newest + 1)
        ), name
    assert not _runtime_takes(max(OPERATORS) + 1, 1)


def _runtime_takes(number, version):
    code = schema.OperatorCodeT(builtinCode=number, deprecatedBuiltinCode=min(number, 127), version=version)
    graph = schema.SubGraphT(tensors=[], operators=[], inputs=[], outputs=[])
    builder = flatbuffers.Builder(256)
    builder.Finish(
        schema.ModelT(version=3, buffers=[schema.BufferT()], subgraphs=[graph], operatorCodes=[code]).Pack(builder),
        b"TFL3",
    )
    try:
        Interpreter(model_content=bytes(builder.Output()))
    except ValueError:
        return False
    return True


def _listed(numbers):
    return [] if numbers is None else list(map(int, numbers))
