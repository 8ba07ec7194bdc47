"""Which operators a model has, and which of them an engine's GPU or CPU does not."""

from __future__ import annotations

from collections import Counter

from bundler.doctor.report import Finding
from bundler.doctor.signatures import language_signatures
from bundler.doctor.tflite_model import Model

# What TFLite's open GPU delegate takes (delegates/gpu/common/model_builder.cc, NewOperationParser), and three that the GPU engines of
# LiteRT-LM and MediaPipe take beyond it: lookups, cache updates and composites.
GPU = frozenset("""ABS ADD ADD_N AVERAGE_POOL_2D BATCH_MATMUL CAST CONCATENATION CONV_2D COS CUMSUM DENSIFY DEPTHWISE_CONV_2D DEPTH_TO_SPACE
DEQUANTIZE DIV EQUAL ELU EXP FLOOR FLOOR_DIV FLOOR_MOD FULLY_CONNECTED GATHER GELU GREATER GREATER_EQUAL HARD_SWISH LESS LESS_EQUAL LOGISTIC LOG
LOGICAL_AND LSTM MAXIMUM MAX_POOL_2D MEAN MINIMUM MIRROR_PAD MUL NEG NOT_EQUAL ONE_HOT PACK PAD PADV2 POW REDUCE_MAX REDUCE_MIN REDUCE_PROD
QUANTIZE RELU RELU6 RELU_0_TO_1 RELU_N1_TO_1 LEAKY_RELU PRELU RESHAPE RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR RSQRT SELECT SELECT_V2 SIGN SIN
SLICE SOFTMAX SPACE_TO_DEPTH SPLIT SPLIT_V SQRT SQUARE SQUARED_DIFFERENCE STRIDED_SLICE SUB SUM TANH TILE TRANSPOSE TRANSPOSE_CONV UNPACK
EMBEDDING_LOOKUP DYNAMIC_UPDATE_SLICE STABLEHLO_COMPOSITE""".split())
# Composites and custom operators that the engines bring along: odml.rms_norm, odml.update_kv_cache, odml.scaled_dot_product_attention, …
_GENAI = "odml."


def operator_counts(model: Model) -> dict[str, int]:
    """How often each operator stands in the graphs of the language model's signatures."""
    graphs = {signature.graph for signature in language_signatures(model)}
    return dict(Counter(operator.name for index in graphs for operator in model.graphs[index].operators).most_common())


def check_operators(model: Model, kind: str) -> list[Finding]:
    """`kind` is that of the file: what MediaPipe's GPU cannot look tokens up in concerns a .task alone."""
    found, counts = [], operator_counts(model)
    custom = sorted({operator.name for graph in model.graphs for operator in graph.operators if operator.custom})
    if foreign := [name for name in custom if not name.startswith(_GENAI)]:
        found.append(Finding("operator-not-built-in", "", f"custom operators {', '.join(foreign[:8])}"))
    if unsupported := [name for name in counts if name not in GPU and name not in custom and not name.startswith(_GENAI)]:
        found.append(Finding("gpu-operators-unsupported", "", ", ".join(f"{counts[name]} {name}" for name in unsupported[:8])))
    if kind == ".task" and (tables := _tables_off_the_gpu(model)):
        found.append(Finding("embedding-not-on-gpu", "", ", ".join(tables)))
    return found


def _tables_off_the_gpu(model: Model) -> list[str]:
    """How the tables of EMBEDDING_LOOKUP are stored that are not integers with scales, once each."""
    found = {}
    for graph in (model.graphs[index] for index in {signature.graph for signature in language_signatures(model)}):
        for operator in graph.operators:
            if operator.name == "EMBEDDING_LOOKUP" and len(operator.inputs) >= 2:
                table = graph.tensors[operator.inputs[1]]
                if not model.buffers[table.buffer].size:
                    found["a table that is dequantised as a whole first"] = None
                elif not table.type.startswith("INT"):
                    found[f"a table of {table.type.lower()}"] = None
    return list(found)
