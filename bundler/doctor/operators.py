"""Which operators a model has, and which of them an engine's GPU or CPU does not."""

from __future__ import annotations

from collections import Counter

from bundler.doctor.report import Finding
from bundler.tflite.model import Model, OperatorKind
from bundler.tflite.signatures import language_signatures

# What TFLite's open GPU delegate takes (delegates/gpu/common/model_builder.cc, NewOperationParser), and three that the
# GPU engines of LiteRT-LM and MediaPipe take beyond it: lookups, cache updates and composites.
GPU = frozenset(
    """ABS ADD ADD_N AVERAGE_POOL_2D BATCH_MATMUL CAST CONCATENATION CONV_2D COS CUMSUM DENSIFY DEPTHWISE_CONV_2D
DEPTH_TO_SPACE DEQUANTIZE DIV EQUAL ELU EXP FLOOR FLOOR_DIV FLOOR_MOD FULLY_CONNECTED GATHER GELU GREATER
GREATER_EQUAL HARD_SWISH LESS LESS_EQUAL LOGISTIC LOG LOGICAL_AND LSTM MAXIMUM MAX_POOL_2D MEAN MINIMUM
MIRROR_PAD MUL NEG NOT_EQUAL ONE_HOT PACK PAD PADV2 POW REDUCE_MAX REDUCE_MIN REDUCE_PROD QUANTIZE RELU RELU6
RELU_0_TO_1 RELU_N1_TO_1 LEAKY_RELU PRELU RESHAPE RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR RSQRT SELECT SELECT_V2
SIGN SIN SLICE SOFTMAX SPACE_TO_DEPTH SPLIT SPLIT_V SQRT SQUARE SQUARED_DIFFERENCE STRIDED_SLICE SUB SUM TANH
TILE TRANSPOSE TRANSPOSE_CONV UNPACK EMBEDDING_LOOKUP DYNAMIC_UPDATE_SLICE STABLEHLO_COMPOSITE""".split()
)
# Newest version -> the operators of which LiteRT knows the versions up to it (ai-edge-litert 2.3.0, asked operator by
# operator, and LiteRT-LM 0.18.1 knows them all); no others.
_NEWEST = {
    1: """FLOOR HASHTABLE_LOOKUP L2_POOL_2D LOCAL_RESPONSE_NORMALIZATION LSH_PROJECTION RELU_N1_TO_1 RESHAPE SKIP_GRAM
EMBEDDING_LOOKUP_SPARSE PRELU NEG EXPAND_DIMS SHAPE POW LOGICAL_OR ONE_HOT LOGICAL_AND LOGICAL_NOT REDUCE_ANY
SQUARE ZEROS_LIKE UNIQUE CEIL ADD_N RANK ELU REVERSE_SEQUENCE MATRIX_DIAG MATRIX_SET_DIAG ROUND HARD_SWISH IF
WHILE NON_MAX_SUPPRESSION_V4 NON_MAX_SUPPRESSION_V5 SCATTER_ND DENSIFY SEGMENT_SUM CUMSUM CALL_ONCE RFFT2D
CONV_3D IMAG REAL COMPLEX_ABS HASHTABLE HASHTABLE_FIND HASHTABLE_IMPORT HASHTABLE_SIZE REDUCE_ALL
CONV_3D_TRANSPOSE VAR_HANDLE READ_VARIABLE ASSIGN_VARIABLE BROADCAST_ARGS RANDOM_STANDARD_NORMAL BUCKETIZE
RANDOM_UNIFORM MULTINOMIAL RELU_0_TO_1 UNSORTED_SEGMENT_PROD UNSORTED_SEGMENT_MAX UNSORTED_SEGMENT_SUM ATAN2
UNSORTED_SEGMENT_MIN BITCAST BITWISE_XOR RIGHT_SHIFT STABLEHLO_ADD STABLEHLO_MULTIPLY STABLEHLO_MAXIMUM
STABLEHLO_AND STABLEHLO_MINIMUM STABLEHLO_SCATTER STABLEHLO_PAD STABLEHLO_REDUCE_WINDOW STABLEHLO_GATHER DILATE
STABLEHLO_RNG_BIT_GENERATOR REDUCE_WINDOW STABLEHLO_COMPOSITE STABLEHLO_SHIFT_LEFT STABLEHLO_CASE""",
    2: """DEPTH_TO_SPACE L2_NORMALIZATION SPACE_TO_DEPTH DIV SQUEEZE EXP LOG_SOFTMAX GREATER LESS_EQUAL SIN LOG SUM SQRT
FAKE_QUANT REDUCE_PROD FLOOR_MOD RANGE LEAKY_RELU SQUARED_DIFFERENCE COS WHERE SELECT_V2 SIGN""",
    3: """AVERAGE_POOL_2D LOGISTIC MAX_POOL_2D RELU RELU6 RNN TANH UNIDIRECTIONAL_SEQUENCE_RNN MEAN
BIDIRECTIONAL_SEQUENCE_RNN TOPK_V2 BIDIRECTIONAL_SEQUENCE_LSTM ARG_MAX LESS GREATER_EQUAL SPARSE_TO_DENSE TILE
RSQRT ARG_MIN REDUCE_MAX REDUCE_MIN FLOOR_DIV MIRROR_PAD SPLIT_V GELU""",
    4: """LSTM RESIZE_BILINEAR SOFTMAX SVDF BATCH_TO_SPACE_ND SPACE_TO_BATCH_ND UNIDIRECTIONAL_SEQUENCE_LSTM MAXIMUM
MINIMUM SELECT NOT_EQUAL RESIZE_NEAREST_NEIGHBOR REVERSE_V2 BATCH_MATMUL BROADCAST_TO""",
    5: """EMBEDDING_LOOKUP SUB SPLIT TRANSPOSE_CONV EQUAL PACK FILL ABS""",
    6: """ADD PAD PADV2 UNPACK GATHER_ND QUANTIZE DYNAMIC_UPDATE_SLICE""",
    7: """CONCATENATION DEPTHWISE_CONV_2D""",
    8: """CONV_2D MUL GATHER STRIDED_SLICE SLICE""",
    9: """DEQUANTIZE TRANSPOSE CAST""",
    14: """FULLY_CONNECTED""",
}
NEWEST = {name: version for version, names in _NEWEST.items() for name in names.split()}
OLDEST = {"BROADCAST_TO": 2}  # every other one begins at 1
# Composites and custom operators that the engines bring along: odml.rms_norm, odml.update_kv_cache,
# odml.scaled_dot_product_attention, …
_GENAI = "odml."


def operator_counts(model: Model) -> dict[str, int]:
    """How often each operator stands in the graphs of the language model's signatures."""
    graphs = {signature.graph for signature in language_signatures(model)}
    return dict(Counter(operator.name for index in graphs for operator in model.graphs[index].operators).most_common())


def check_operators(model: Model, kind: str) -> list[Finding]:
    """`kind` is that of the file: what MediaPipe's GPU cannot look tokens up in concerns a .task alone."""
    findings, counts = [], operator_counts(model)
    custom = sorted({operator.name for graph in model.graphs for operator in graph.operators if operator.custom})
    if unknown := [
        _unknown(kind)
        for kind in model.operator_kinds
        if not kind.custom and not OLDEST.get(kind.name, 1) <= kind.version <= NEWEST.get(kind.name, 0)
    ]:
        findings.append(Finding("operator-unknown", "", ", ".join(unknown[:8])))
    if foreign := [name for name in custom if not name.startswith(_GENAI)]:
        findings.append(Finding("operator-not-built-in", "", f"custom operators {', '.join(foreign[:8])}"))
    if unsupported := [
        name for name in counts if name not in GPU and name not in custom and not name.startswith(_GENAI)
    ]:
        findings.append(
            Finding("gpu-operators-unsupported", "", ", ".join(f"{counts[name]} {name}" for name in unsupported[:8]))
        )
    if kind == ".task" and (tables := _tables_off_the_gpu(model)):
        findings.append(Finding("embedding-not-on-gpu", "", ", ".join(tables)))
    return findings


def _unknown(kind: OperatorKind) -> str:
    newest = NEWEST.get(kind.name)
    return (
        f"{kind.name}, which there is none of"
        if newest is None
        else f"version {kind.version} of {kind.name}, the newest is {newest}"
    )


def _tables_off_the_gpu(model: Model) -> list[str]:
    """How the tables of EMBEDDING_LOOKUP are stored that are not integers with scales, once each."""
    storage = {}
    for graph in (model.graphs[index] for index in {signature.graph for signature in language_signatures(model)}):
        for operator in graph.operators:
            if operator.name == "EMBEDDING_LOOKUP" and len(operator.inputs) >= 2:
                table = graph.tensors[operator.inputs[1]]
                if not model.buffers[table.buffer].size:
                    storage["a table that is dequantized as a whole first"] = None
                elif not table.type.startswith("INT"):
                    storage[f"a table of {table.type.lower()}"] = None
    return list(storage)
