"""The examination of a TFLite language model, alone or in a bundle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bundler.doctor.lora_inputs import check_lora
from bundler.doctor.operators import check_operators, operator_counts
from bundler.doctor.report import Finding, Report
from bundler.doctor.signatures import check_signatures, signature_table
from bundler.doctor.weights import check_finite, check_scales
from bundler.system.file_section import FileSection
from bundler.tflite.flatbuffer import Damaged
from bundler.tflite.lora_inputs import LoraLayout, lora_layout
from bundler.tflite.model import Model, read_model
from bundler.tflite.signatures import LlmShape, llm_shape
from bundler.tflite.trainer import FACTS
from bundler.tflite.weights import Embedding, embedding_of, weight_table

LARGE = 1 << 31  # bytes
# What MediaPipe's converter for browsers puts into a TFLite file beside the weights, in place of a graph.
_WEB_METADATA = ("odml.infra.proto.LlmParameters", "spm_vocab_model", "backend")
_WEB_TENSORS = ("params.lm.", "transformer.", "llm.")


@dataclass(frozen=True)
class LanguageModel:
    """What the other checks need of a model that could be read."""

    shape: LlmShape
    embedding: Embedding
    lora: LoraLayout


def examine_model(report: Report, section: FileSection) -> LanguageModel | None:
    """Add the facts and findings on a model in a bundle, or on a whole file; None if it cannot be read."""
    if section.size >= LARGE:
        report.findings.append(Finding("model-over-2gib", section.name, f"{section.size} bytes"))
    with section.map() as data:
        try:
            model = read_model(data)
        except Damaged as damage:
            report.findings.append(Finding("model-unreadable", section.name, str(damage)))
            return None
        return describe_model(report, model, data, section.name)


def describe_model(report: Report, model: Model, data: bytes | memoryview, where: str) -> LanguageModel | None:
    """`examine_model` of a model that was read."""
    report.findings += [Finding("model-unreadable", where, defect) for defect in (*model.damage, *model.missized)]
    report.facts["model"] = {
        "description": model.description,
        "metadata": sorted(model.metadata)[:32],
        "signatures": signature_table(model),
    }
    if is_web_only(model):
        report.findings.append(
            Finding("model-web-only", where, f"no operators, and the metadata {', '.join(sorted(model.metadata)[:8])}")
        )
        return None
    if model.damage:
        return None  # what goes through the graphs relies on their indices
    if FACTS in model.metadata:  # it trains adapters, and no engine writes with it
        report.findings += check_operators(model, report.kind) + check_finite(model, data) + check_scales(model, data)
        return None
    shape, lora = llm_shape(model), lora_layout(model)
    embedding = embedding_of(model, data)
    report.findings += check_signatures(model, shape) + check_lora(model, lora, report.kind)
    report.findings += check_operators(model, report.kind) + check_finite(model, data) + check_scales(model, data)
    report.facts["model"] |= _facts(model, shape, lora, embedding)
    return LanguageModel(shape, embedding, lora)


def is_web_only(model: Model) -> bool:
    """Weights for MediaPipe's own kernels: there is no graph to run."""
    if any(graph.operators for graph in model.graphs):
        return False
    return any(name in model.metadata for name in _WEB_METADATA) or any(
        tensor.name.startswith(_WEB_TENSORS) for graph in model.graphs for tensor in graph.tensors
    )


def _facts(model: Model, shape: LlmShape, lora: LoraLayout, embedding: Embedding) -> dict[str, Any]:
    return {
        "layers": shape.layers,
        "width": embedding.width,
        "prefill_lengths": list(shape.prefill),
        "logits_width": shape.width,
        "embedding_rows": embedding.rows,
        "context": {
            "cache": shape.context,
            "LiteRT-LM": shape.litertlm_context,
            **({"placeholder": shape.placeholder} if shape.placeholder else {}),
        },
        "mask_input": shape.mask,
        "lora": {"LiteRT-LM layout, rank": lora.plain, "MediaPipe layout, ranks": list(lora.extra)},
        "weights": weight_table(model),
        "operators": operator_counts(model),
    }
