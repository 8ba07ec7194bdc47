"""Ways to break a good adapter file: finding -> functions of (good files, folder) that give a broken file."""

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from doctor_files import edited_model
from planted_containers import plants, write

from lora_weights.adapter import Base
from lora_weights.adapter_file import PAGE, _point_inside, encode_adapter, zero_adapter


def adapter(folder, rank=32, change=lambda model: None, outside=True):
    """An adapter of zeros after a change, with its data where both engines look, or only inside of the buffers."""
    data = bytearray(
        edited_model(
            encode_adapter(zero_adapter(Base(2, 32, (0.25, 0.25)), rank)), lambda model: _clear_places(model, change)
        )
    )
    if outside:
        model = schema.Model.GetRootAs(data, 0)
        _point_inside(schema, data, sum(bool(model.Buffers(index).Size()) for index in range(model.BuffersLength())))
    return write(folder, "broken.tflite", bytes(data) + bytes(-len(data) % PAGE))


def _clear_places(model, change):
    change(model)
    for buffer in model.buffers:
        buffer.offset = 1 if buffer.size else 0  # a place to be filled in when the bytes are laid out


def of(model, name):
    return next(each for each in model.subgraphs[0].tensors if each.name == name.encode())


@plants("adapter-unreadable")
def adapter_cut_short(good, folder):
    return write(folder, "cut.tflite", good.adapter.read_bytes()[:PAGE])


@plants("adapter-unreadable")
def adapter_with_a_damaged_header(good, folder):
    return write(folder, "broken.tflite", good.adapter.read_bytes().replace(b'"layers": 2', b'"layers": x'))


@plants("adapter-layout-ignored")
def adapter_for_mediapipe_only(good, folder):
    def change(model):
        for buffer in model.buffers:
            buffer.size = 0

    return adapter(folder, change=change, outside=False)


@plants("adapter-layout-ignored")
def adapter_for_litertlm_only(good, folder):
    """As LiteRT-LM's own converter writes them: the data after the flatbuffer."""
    data = bytearray(good.adapter.read_bytes())

    def change(model):
        for each in model.subgraphs[0].tensors:
            buffer = model.buffers[each.buffer]
            buffer.data, buffer.offset, buffer.size = None, 1 << 16, int(np.prod(each.shape)) * 4

    flat = edited_model(bytes(data), change)
    return write(folder, "broken.tflite", flat + bytes((1 << 17) - len(flat)))


@plants("adapter-copies-differ")
def adapter_with_two_versions_of_a_tensor(good, folder):
    data = bytearray(good.adapter.read_bytes())
    model = schema.Model.GetRootAs(data, 0)
    table = model.Buffers(1)._tab
    at = table.Pos + table.Offset(6)
    data[at : at + 8] = len(data).to_bytes(8, "little")
    return write(folder, "broken.tflite", bytes(data) + b"\1" * PAGE)


@plants("adapter-rank-missing")
def adapter_without_its_rank(good, folder):
    def change(model):
        model.metadata = [entry for entry in model.metadata if entry.name != b"lora_rank"]

    return adapter(folder, change=change)


@plants("adapter-rank-wrong")
def adapter_that_says_rank_16(good, folder):
    def change(model):
        next(entry for entry in model.metadata if entry.name == b"lora_rank").buffer = 16

    return adapter(folder, change=change)


@plants("adapter-rank-unsupported")
def adapter_of_rank_8(good, folder):
    return adapter(folder, rank=8)


@plants("adapter-tensor-missing")
def adapter_without_a_tensor(good, folder):
    def change(model):
        model.subgraphs[0].tensors.pop()

    return adapter(folder, change=change)


@plants("adapter-tensor-extra")
def adapter_with_a_tensor_of_the_mlp(good, folder):
    def change(model):
        of(model, "lora_atten_q_a_prime_weight_0").name = b"lora_mlp_a_prime_weight_0"

    return adapter(folder, change=change)


@plants("adapter-tensor-misshapen")
def adapter_with_a_factor_the_wrong_way_round(good, folder):
    def change(model):
        of(model, "lora_atten_o_b_prime_weight_1").shape = np.array([64, 16], np.int32)

    return adapter(folder, change=change)


@plants("adapter-not-finite")
def adapter_with_nan(good, folder):
    def change(model):
        buffer = model.buffers[of(model, "lora_atten_k_a_prime_weight_1").buffer]
        buffer.data = np.frombuffer(np.full(1024, np.nan, "<f4").tobytes(), np.uint8)

    return adapter(folder, change=change)


@plants("adapter-size-no-page-multiple")
def adapter_without_its_last_zeros(good, folder):
    data = good.adapter.read_bytes().rstrip(b"\0")
    return write(folder, "broken.tflite", data + bytes(-len(data) % 16))
