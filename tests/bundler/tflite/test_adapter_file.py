"""The adapter file: the same bytes each time, readable by either runtime's rules, and nothing else is taken for one."""

import struct

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import given, settings
from hypothesis import strategies as st
from peft_folders import LAYERS, WIDTH, write_adapter

from bundler.tflite.adapter_file import decode_adapter, read_adapter_file
from lora_weights.adapter import Base
from lora_weights.adapter_file import (
    PAGE,
    adapter_file,
    encode_adapter,
    zero_adapter,
)
from lora_weights.errors import LoraError
from lora_weights.peft_adapter import read_peft

BASE = Base(LAYERS, WIDTH, (0.25, 0.3), "f" * 64)


@pytest.fixture(scope="module")
def adapter(tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapters") / "pirate"
    write_adapter(folder, target_modules=["c_attn"])
    return read_peft(folder, LAYERS)


@pytest.fixture(scope="module")
def encoded(adapter):
    return encode_adapter(adapter_file(adapter, BASE, 16))


def test_bytes_are_a_function_of_the_content(adapter, encoded):
    assert encode_adapter(adapter_file(adapter, BASE, 16)) == encoded
    assert encode_adapter(decode_adapter(encoded)) == encoded


def test_padding_changes_no_delta_and_q_is_scaled(adapter, encoded):
    file = decode_adapter(encoded)
    assert list(file.tensors)[:3] == [
        "lora_atten_q_a_prime_weight_0",
        "lora_atten_q_b_prime_weight_0",
        "lora_atten_k_a_prime_weight_0",
    ]
    assert len(file.tensors) == 8 * LAYERS
    for layer in range(LAYERS):
        for projection in "qkvo":
            a, b = (file.tensors[f"lora_atten_{projection}_{factor}_prime_weight_{layer}"] for factor in "ab")
            assert a.shape == (WIDTH, 16) and b.shape == (16, WIDTH) and not a[:, 4:].any() and not b[4:].any()
            pair = adapter.pairs.get((layer, projection))
            scale = BASE.query_scale[layer] if projection == "q" else 1
            np.testing.assert_allclose(
                a @ b, np.zeros_like(a @ b) if pair is None else pair.a @ pair.b * scale, atol=1e-6
            )


def test_both_runtimes_find_the_same_bytes(encoded):
    """MediaPipe's way: the buffer's data. LiteRT-LM's way: offset and size; `lora_rank`'s buffer is the rank."""
    model = schema.Model.GetRootAs(encoded, 0)
    assert encoded[4:8] == b"TFL3" and len(encoded) % PAGE == 0
    assert {model.Metadata(i).Name(): model.Metadata(i).Buffer() for i in range(model.MetadataLength())}[
        b"lora_rank"
    ] == 16
    graph = model.Subgraphs(0)
    for index in range(graph.TensorsLength()):
        buffer = model.Buffers(graph.Tensors(index).Buffer())
        outside = encoded[buffer.Offset() : buffer.Offset() + buffer.Size()]
        assert bytes(buffer.DataAsNumpy()) == outside and buffer.Offset() % 16 == 0 and len(outside) == 4 * WIDTH * 16


def test_a_file_is_hardly_larger_than_its_payload():
    """At GPT-2's own size: 12 layers, width 768, rank 16."""
    payload = 12 * 8 * 768 * 16 * 4
    assert payload < len(encode_adapter(zero_adapter(Base(12, 768, (0.125,) * 12), 16))) <= 1.02 * payload


@pytest.mark.parametrize(
    "base, named",
    [
        (Base(LAYERS, 2 * WIDTH, BASE.query_scale), f"width {WIDTH}.*{2 * WIDTH}"),
        (Base(LAYERS + 1, WIDTH, (1.0,) * 3), "layers 2.*has 3"),
        (Base(LAYERS, WIDTH, BASE.query_scale, "e" * 64), "fingerprint f{16}.*e{16}"),
        (Base(LAYERS, WIDTH, (0.5, 0.5), "f" * 64), "scaled by 0.25.*0.5"),
    ],
)
def test_another_base_is_refused(encoded, base, named):
    with pytest.raises(LoraError, match=named):
        decode_adapter(encoded).check_base(base)


def test_a_rank_that_does_not_fit(adapter):
    with pytest.raises(LoraError, match="rank 4 .*more than the 2"):
        adapter_file(adapter, BASE, 2)


def rewritten(encoded, change):
    file = decode_adapter(encoded)
    tensors = {name: tensor.copy() for name, tensor in file.tensors.items()}
    change(tensors)
    return encode_adapter(type(file)(file.header, tensors))


NAME = "lora_atten_v_b_prime_weight_1"


@pytest.mark.parametrize(
    "change, named",
    [
        (lambda tensors: tensors.pop(NAME), f"lacks 1 of 16 tensors, first {NAME}"),
        (
            lambda tensors: tensors.update({"lora_atten_v_b_prime_weight_2": tensors[NAME]}),
            "holds lora_atten_v_b_prime_weight_2",
        ),
        (lambda tensors: tensors.update({NAME: tensors[NAME][:, :-1]}), f"{NAME} has the shape"),
        (lambda tensors: tensors[NAME].__setitem__((0, 0), np.nan), f"{NAME} has 1 NaN"),
        (lambda tensors: tensors[NAME].__setitem__((0, 0), -np.inf), f"{NAME} has 1 NaN or infinite"),
    ],
)
def test_wrong_tensors_are_named(encoded, change, named):
    with pytest.raises(LoraError, match=named):
        decode_adapter(rewritten(encoded, change), "a.tflite")


@pytest.mark.parametrize("size", [0, 7, 100, 1000, PAGE, PAGE + 1, -PAGE, -1])
def test_a_truncated_file(encoded, size, tmp_path):
    path = tmp_path / "cut.tflite"
    path.write_bytes(encoded[:size])
    with pytest.raises(LoraError, match="cut.tflite"):
        read_adapter_file(path)


def test_where_litertlm_would_read_something_else(encoded):
    model = schema.Model.GetRootAs(encoded, 0)
    table = model.Buffers(3)._tab
    data = bytearray(encoded)
    struct.pack_into("<Q", data, table.Pos + table.Offset(6), 64)
    with pytest.raises(LoraError, match="LiteRT-LM is told .* bytes at 64"):
        decode_adapter(bytes(data))


def test_a_file_of_another_kind(tmp_path):
    (tmp_path / "a.tflite").write_bytes(b"PK\3\4" + bytes(40))
    with pytest.raises(LoraError, match="lora export"):
        read_adapter_file(tmp_path / "a.tflite")
    with pytest.raises(LoraError, match="cannot be read"):
        read_adapter_file(tmp_path / "none.tflite")


@given(st.lists(st.tuples(st.integers(0, 1 << 13), st.integers(0, 255)), min_size=1, max_size=12))
@settings(max_examples=150, deadline=None)
def test_damage_is_refused_or_harmless(encoded, changes):
    """Whatever bytes change, either the file is refused with our error, or what is read is sound."""
    data = bytearray(encoded)
    for place, value in changes:
        data[place % len(data)] = value
    try:
        file = decode_adapter(bytes(data))
    except LoraError:
        return
    assert all(np.isfinite(tensor).all() for tensor in file.tensors.values())
