"""An adapter file of any maker: which engine can read it, and whether its tensors are what a model's LoRA inputs take.

MediaPipe reads the data inside of the flatbuffer's buffers, LiteRT-LM `offset` and `size` bytes of the file;
docs/LORA.md.
"""

from __future__ import annotations

import re
from typing import Any, Callable

import numpy as np

from bundler.doctor.report import Finding, Report
from bundler.tflite.adapter_file import header_fields
from bundler.tflite.flatbuffer import Damaged
from bundler.tflite.model import Model, Tensor
from lora_weights.adapter import LITERTLM_RANKS, tensor_names
from lora_weights.adapter_file import FORMAT, OWN_METADATA, PAGE, RANK_METADATA

_NAME = re.compile(r"lora_atten_([qkvo])_([ab])_prime_weight_(\d{1,5})")
_FIRST = "lora_atten_q_a_"  # of [width, rank]
_HEADER = ("format", "name", "layers", "width", "rank", "alpha", "licence", "base_fingerprint")
_MOST_LAYERS = 1 << 12


def is_adapter(model: Model) -> bool:
    """A file without a graph that holds LoRA tensors, or says that it does."""
    if any(graph.operators for graph in model.graphs) or model.signatures:
        return False
    return (
        RANK_METADATA in model.metadata
        or OWN_METADATA in model.metadata
        or any(tensor.name.startswith("lora_") for graph in model.graphs for tensor in graph.tensors)
    )


def describe_adapter(report: Report, model: Model, data: bytes | memoryview) -> None:
    """Add the facts and findings on an adapter file."""

    def tell(code: str, text: str, where: str = "") -> None:
        report.findings.append(Finding(code, where, text))

    for defect in model.damage:
        tell("adapter-unreadable", defect)
    for defect in model.missized:
        tell("adapter-tensor-misshapen", defect)
    tensors: dict[str, Tensor] = {}
    for tensor in (tensor for graph in model.graphs for tensor in graph.tensors):
        if tensor.name in tensors or not _NAME.fullmatch(tensor.name):
            tell(
                "adapter-tensor-extra",
                "it is there twice" if tensor.name in tensors else "no LoRA input has this name",
                tensor.name,
            )
        tensors.setdefault(tensor.name, tensor)
    header = _header(model, data, tell)
    ranks = _check_tensors(tensors, header, tell)
    _check_rank(model, ranks, header, tell)
    if not model.damage:
        _check_data(model, tensors, data, tell)
    if beyond := report.size % PAGE:
        tell("adapter-size-no-page-multiple", f"{report.size} bytes, {beyond} more than a multiple of {PAGE}")
    report.facts["adapter"] = {
        "tensors": len(tensors),
        "ranks": sorted(ranks),
        "rank_metadata": model.metadata.get(RANK_METADATA),
        "layers": len({match[3] for name in tensors if (match := _NAME.fullmatch(name))}),
        "width": next(
            (tensor.shape[0] for name, tensor in tensors.items() if name.startswith(_FIRST) and len(tensor.shape) == 2),
            None,
        ),
        "header": header,
    }


def _header(model: Model, data: bytes | memoryview, tell: Callable[..., None]) -> dict[str, Any] | None:
    """Our own JSON, without the long numbers; None in files of other makers."""
    if OWN_METADATA not in model.metadata:
        return None
    try:
        fields = header_fields(model, data)
        if fields["format"] != FORMAT:
            raise Damaged(f"format {fields['format']!r}; expected {FORMAT}")
    except Damaged as damage:
        tell("adapter-unreadable", str(damage))
        return None
    return {name: fields.get(name) for name in _HEADER}


def _check_tensors(tensors: dict[str, Tensor], header: dict[str, Any] | None, tell: Callable[..., None]) -> set[int]:
    """The ranks that the tensors have; one, if all is well."""
    named = {name: match for name in tensors if (match := _NAME.fullmatch(name))}
    layers = (
        header["layers"]
        if header
        else min(_MOST_LAYERS, 1 + max((int(match[3]) for match in named.values()), default=0))
    )
    expected = tensor_names(layers)
    if missing := [name for name in expected if name not in tensors]:
        tell("adapter-tensor-missing", f"{len(missing)} of {len(expected)} are not there", missing[0])
    if beyond := sorted(named.keys() - set(expected)):
        tell("adapter-tensor-extra", f"a tensor of a layer beyond the {layers} of the model", beyond[0])
    shapes: dict[tuple[str, str], tuple[int, ...]] = {}
    ranks: set[int] = set()
    for name, match in named.items():
        tensor, factor = tensors[name], match[2]
        if tensor.type != "FLOAT32" or len(tensor.shape) != 2:
            tell(
                "adapter-tensor-misshapen",
                f"{tensor}; expected float32 {'[width, rank]' if factor == 'a' else '[rank, width]'}",
                name,
            )
            continue
        like = shapes.setdefault((match[1], factor), tensor.shape)
        if header:
            like = (header["width"], header["rank"]) if factor == "a" else (header["rank"], header["width"])
        if tensor.shape != like:
            tell("adapter-tensor-misshapen", f"{tensor}; expected {list(like)}", name)
        ranks.add(tensor.shape[1 if factor == "a" else 0])
    return ranks


def _check_rank(model: Model, ranks: set[int], header: dict[str, Any] | None, tell: Callable[..., None]) -> None:
    stated = model.metadata.get(RANK_METADATA)
    if stated is None:
        tell("adapter-rank-missing", f"metadata: {', '.join(sorted(model.metadata)[:8]) or 'none'}")
    wrong = [
        f"{source} says {rank}"
        for source, rank in (("the metadata", stated), ("the header", header and header["rank"]))
        if rank is not None and ranks and rank not in ranks
    ]
    if wrong:
        tell("adapter-rank-wrong", f"{' and '.join(wrong)}, the tensors have {', '.join(map(str, sorted(ranks)))}")
    elif len(ranks) == 1 and not ranks & set(LITERTLM_RANKS):
        tell("adapter-rank-unsupported", f"rank {min(ranks)}")


def _check_data(model: Model, tensors: dict[str, Tensor], data: bytes | memoryview, tell: Callable[..., None]) -> None:
    without: dict[str, list[str]] = {"MediaPipe": [], "LiteRT-LM": []}
    seen = set()
    for name, tensor in tensors.items():
        inside, outside = model.inside[tensor.buffer], model.outside[tensor.buffer]
        if not inside.size:
            without["MediaPipe"].append(name)
        if outside.offset <= 1 or not outside.size:
            without["LiteRT-LM"].append(name)
        places = {
            (place.offset, place.size)
            for place in (inside, outside)
            if place.size and (place is inside or place.offset > 1)
        }
        if places <= seen:
            continue
        seen |= places
        copies = [bytes(data[offset : offset + size]) for offset, size in places]
        if copies[1:] not in ([], copies[:1]):
            tell("adapter-copies-differ", "the data in the buffer is not the data at offset and size", name)
        if tensor.type == "FLOAT32" and len(copies[0]) % 4 == 0:
            values = np.frombuffer(copies[0], "<f4")
            if wrong := int((~np.isfinite(values)).sum()):
                tell("adapter-not-finite", f"{wrong} of {values.size} values are NaN or infinite", name)
    for engine, missing in without.items():
        if missing:
            tell(
                "adapter-layout-ignored",
                f"{len(missing)} of {len(tensors)} tensors hold nothing that {engine} reads",
                missing[0],
            )
