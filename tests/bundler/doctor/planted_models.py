"""Ways to break a good bundle's model: finding -> functions of (good files, folder) that give a broken file."""

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from doctor_files import edited_model, litertlm, signature, task, tensor, with_litertlm_model, with_model
from planted_containers import plants

from bundler.containers.litertlm import MODEL_SECTION
from bundler.containers.task import MODEL_ENTRY
from bundler.doctor.litertlm_survey import ARTISAN


def shapes(model, change):
    """`change` every tensor's shape, as a list."""
    for graph in model.subgraphs:
        for each in graph.tensors:
            if each.shape is not None and len(each.shape):
                each.shape = np.array(change(list(map(int, each.shape)), each.name), np.int32)


def head_bias(model):
    return next(
        model.buffers[each.buffer]
        for graph in model.subgraphs
        for each in graph.tensors
        if each.shape is not None and list(each.shape) == [552] and each.type == schema.TensorType.FLOAT32
    )


def zero_head_bias(model):
    head_bias(model).data = np.zeros(552 * 4, np.uint8)


@plants("model-unreadable")
def model_that_points_outside(good, folder):
    entries = good.entries()
    entries[MODEL_ENTRY] = b"\xf0\xff\xff\x7f" + entries[MODEL_ENTRY][4:]
    return task(folder, entries)


@plants("model-unreadable")
def operator_with_an_input_that_is_not_there(good, folder):
    def change(model):
        model.subgraphs[0].operators[5].inputs[0] = 100_000

    return with_model(good, folder, change)


@plants("model-unreadable")
def weights_beyond_the_end(good, folder):
    def change(model):
        model.buffers[50].data, model.buffers[50].offset, model.buffers[50].size = None, 1 << 30, 1024

    return with_model(good, folder, change)


@plants("model-web-only")
def weights_for_browsers(good, folder):
    weights = schema.ModelT(
        version=3,
        buffers=[schema.BufferT()],
        metadata=[schema.MetadataT(name=b"odml.infra.proto.LlmParameters", buffer=0)],
        subgraphs=[schema.SubGraphT(tensors=[], operators=[], inputs=[], outputs=[])],
        operatorCodes=[],
    )
    builder = flatbuffers.Builder(1024)
    builder.Finish(weights.Pack(builder), b"TFL3")
    return task(folder, {**good.entries(), MODEL_ENTRY: bytes(builder.Output())})


@plants("model-web-only")
def litertlm_for_browsers(good, folder):
    *others, (_, _, data) = good.sections()
    return litertlm(folder, [*others, (MODEL_SECTION, {"model_type": ARTISAN}, data)])


@plants("signatures-missing")
def decode_called_otherwise(good, folder):
    def change(model):
        signature(model, "decode").signatureKey = b"serving_default"

    return with_model(good, folder, change)


@plants("signature-input-missing")
def positions_called_otherwise(good, folder):
    def change(model):
        next(entry for entry in signature(model, "decode").inputs if entry.name == b"input_pos").name = b"position_ids"

    return with_model(good, folder, change)


@plants("signature-input-missing")
def decode_without_one_of_the_caches(good, folder):
    def change(model):
        decode = signature(model, "decode")
        decode.inputs = [entry for entry in decode.inputs if entry.name != b"kv_cache_v_1"]

    return with_model(good, folder, change)


@plants("signature-input-missing")
def graph_of_prefill_without_one_of_the_caches(good, folder):
    """Going in and coming out, and neither the signature nor its graph speaks of it."""

    def change(model):
        prefill = signature(model, "prefill_24")
        graph = model.subgraphs[prefill.subgraphIndex]
        for end in ("inputs", "outputs"):
            lost = next(entry for entry in getattr(prefill, end) if entry.name == b"kv_cache_v_1")
            getattr(prefill, end).remove(lost)
            setattr(
                graph, end, np.array([index for index in getattr(graph, end) if index != lost.tensorIndex], np.int32)
            )

    return with_model(good, folder, change)


@plants("signature-output-missing")
def logits_called_otherwise(good, folder):
    def change(model):
        next(entry for entry in signature(model, "decode").outputs if entry.name == b"logits").name = b"output"

    return with_model(good, folder, change)


@plants("tensor-shape-unexpected")
def name_and_length_of_prefill_differ(good, folder):
    def change(model):
        signature(model, "prefill_24").signatureKey = b"prefill_32"

    return with_model(good, folder, change)


@plants("mask-inside-graph")
def no_mask_among_the_inputs(good, folder):
    def change(model):
        for each in model.signatureDefs:
            each.inputs = [entry for entry in each.inputs if entry.name != b"mask"]

    return with_model(good, folder, change)


@plants("context-misread")
def cache_with_the_context_first_and_no_mask(good, folder):
    def change(model):
        for each in model.signatureDefs:
            each.inputs = [entry for entry in each.inputs if entry.name != b"mask"]
        # keys [1, heads, context or new, head_dim] -> [1, context or new, heads, head_dim]
        shapes(
            model,
            lambda shape, _: (
                [1, shape[2], shape[1], 16]
                if len(shape) == 4 and shape[0] == 1 and shape[1] == 2 and shape[3] == 16
                else shape
            ),
        )

    return with_model(good, folder, change)


@plants("placeholder-in-sizes")
def a_constant_that_is_a_multiple_of_the_placeholder(good, folder):
    """The head's bias has 552 values; with a placeholder of 23 for the context, LiteRT-LM would change it too."""
    return with_model(good, folder, lambda model: shapes(model, lambda shape, _: [23 if n == 96 else n for n in shape]))


@plants("prefill-over-context")
def prefill_longer_than_the_cache(good, folder):
    def change(model):
        signature(model, "prefill_24").signatureKey = b"prefill_200"
        shapes(model, lambda shape, _: [200 if size == 24 else size for size in shape])

    return with_model(good, folder, change)


@plants("prefill-past-cache")
def prefill_that_does_not_divide_the_context(good, folder):
    """After two chunks of 36 there are 24 places left of 96."""

    def change(model):
        signature(model, "prefill_24").signatureKey = b"prefill_36"
        shapes(model, lambda shape, _: [36 if size == 24 else size for size in shape])

    return with_model(good, folder, change)


@plants("cache-shapes-inconsistent")
def another_context_in_decode(good, folder):
    def change(model):
        tensor(model, "decode", "kv_cache_v_1").shape = np.array([1, 2, 16, 64], np.int32)

    return with_model(good, folder, change)


@plants("logits-width-not-multiple-of-4")
def logits_without_padding(good, folder):
    def change(model):
        tensor(model, "decode", "logits", "outputs").shape = np.array([1, 1, 549], np.int32)

    return with_model(good, folder, change)


@plants("logits-width-unlike-vocabulary")
def logits_of_another_vocabulary(good, folder):
    def change(model):
        tensor(model, "decode", "logits", "outputs").shape = np.array([1, 1, 300], np.int32)

    return with_model(good, folder, change)


@plants("alias-ids-generatable")
def aliases_not_held_down(good, folder):
    return with_model(good, folder, zero_head_bias)


@plants("padding-ids-generatable")
def padding_not_held_down(good, folder):
    return with_litertlm_model(good, folder, zero_head_bias)


@plants("weights-not-finite")
def nan_among_the_weights(good, folder):
    def change(model):
        bias = head_bias(model)
        values = np.frombuffer(bytes(bias.data), "<f4").copy()
        values[17] = np.nan
        bias.data = np.frombuffer(values.tobytes(), np.uint8)

    return with_model(good, folder, change)


@plants("gpu-operators-unsupported")
def operator_for_the_cpu_only(good, folder):
    def change(model):
        code = next(code for code in model.operatorCodes if code.builtinCode == schema.BuiltinOperator.GELU)
        code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.GATHER_ND

    return with_model(good, folder, change)


def gelu(model):
    return next(code for code in model.operatorCodes if code.builtinCode == schema.BuiltinOperator.GELU)


@plants("operator-unknown")
def version_of_the_future(good, folder):
    def change(model):
        gelu(model).version = 99

    return with_model(good, folder, change)


@plants("operator-unknown")
def operator_of_the_future(good, folder):
    def change(model):
        code = gelu(model)
        code.builtinCode, code.deprecatedBuiltinCode = 250, 127

    return with_model(good, folder, change)


@plants("operator-unknown")
def unused_operator_of_the_future(good, folder):
    def change(model):
        model.operatorCodes.append(
            schema.OperatorCodeT(builtinCode=schema.BuiltinOperator.ADD, deprecatedBuiltinCode=0, version=7)
        )

    return with_model(good, folder, change)


def matrices(model):
    """The tensors of matrices with a scale for each row."""
    return [
        each
        for graph in model.subgraphs
        for each in graph.tensors
        if each.type == schema.TensorType.INT8
        and each.quantization is not None
        and each.quantization.scale is not None
        and len(each.quantization.scale) > 1
    ]


@plants("scale-not-positive")
def scale_of_zero(good, folder):
    def change(model):
        matrices(model)[0].quantization.scale[3] = 0

    return with_model(good, folder, change)


@plants("scale-not-positive")
def scale_below_zero(good, folder):
    def change(model):
        matrices(model)[0].quantization.scale[3] = -0.5

    return with_model(good, folder, change)


@plants("scale-not-positive")
def scale_of_a_block(good, folder):
    """In blockwise quantization the scales are a tensor of float16."""
    from reference_quantizer import quantize

    (folder / "fp32.tflite").write_bytes(good.entries("fp32_task")[MODEL_ENTRY])
    quantize(folder / "fp32.tflite", "int4-block32", folder / "model.tflite")

    def change(model):
        graph = model.subgraphs[0]
        block = next(
            each.quantization.details
            for each in graph.tensors
            if hasattr(getattr(each.quantization, "details", None), "scales")
        )
        buffer = model.buffers[graph.tensors[block.scales].buffer]
        scales = np.frombuffer(bytes(buffer.data), "<f2").copy()
        scales[3] = -0.5
        buffer.data = np.frombuffer(scales.tobytes(), np.uint8)

    entries = good.entries("fp32_task")
    del entries["MANIFEST"]
    return task(folder, {**entries, MODEL_ENTRY: edited_model((folder / "model.tflite").read_bytes(), change)})


@plants("scale-not-positive")
def scale_of_nan(good, folder):
    def change(model):
        matrices(model)[0].quantization.scale[3] = np.nan

    return with_model(good, folder, change)


@plants("operator-not-built-in")
def operator_of_tensorflow(good, folder):
    def change(model):
        code = next(code for code in model.operatorCodes if code.builtinCode == schema.BuiltinOperator.GELU)
        code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
        code.customCode = b"FlexErf"

    return with_model(good, folder, change)


@plants("lora-layout-ignored")
def layout_of_mediapipe_in_a_litertlm(good, folder):
    *others, (type, pairs, _) = good.sections("lora_litertlm")
    return litertlm(folder, [*others, (type, pairs, good.entries("lora_task")[MODEL_ENTRY])])


@plants("lora-layout-ignored")
def layout_of_litertlm_in_a_task(good, folder):
    entries = good.entries("lora_task")
    del entries["MANIFEST"]
    return task(folder, {**entries, MODEL_ENTRY: good.sections("lora_litertlm")[-1][2]})


@plants("lora-rank-unsupported")
def rank_8_in_a_litertlm(good, folder):
    def change(model):
        for each in model.signatureDefs:
            for entry in each.inputs:
                if entry.name.startswith(b"lora_"):
                    factor = model.subgraphs[each.subgraphIndex].tensors[entry.tensorIndex]
                    factor.shape = np.array([32, 8] if b"_a_" in entry.name else [8, 32], np.int32)

    return with_litertlm_model(good, folder, change, of="lora_litertlm")


@plants("lora-inputs-incomplete")
def one_lora_input_less(good, folder):
    def change(model):
        inputs = signature(model, "decode_lora_r16").inputs
        inputs.remove(next(entry for entry in inputs if entry.name == b"lora_atten_v_b_prime_weight_1"))

    return with_model(good, folder, change, of="lora_task")


@plants("lora-signature-shadows-base")
def plain_signatures_first(good, folder):
    def change(model):
        model.signatureDefs.reverse()

    return with_model(good, folder, change, of="lora_task")


@plants("embedding-not-on-gpu")
def table_of_floats(good, folder):
    return good.fp32_task


@plants("embedding-not-on-gpu")
def table_that_is_dequantized(good, folder):
    """As int8-weight-only stores it."""
    from reference_quantizer import quantize

    model = folder / "model.tflite"
    (folder / "fp32.tflite").write_bytes(good.entries("fp32_task")[MODEL_ENTRY])
    quantize(folder / "fp32.tflite", "int8-weight-only", model)
    return task(folder, {**good.entries("fp32_task"), MODEL_ENTRY: model.read_bytes()})
