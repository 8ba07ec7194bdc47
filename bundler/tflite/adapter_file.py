"""Reading an adapter file, strictly: what `lora_weights.adapter_file` would not have written is refused.

The doctor takes files of other makers as well and lists what is wrong with them (bundler/doctor/adapter_check.py).
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from bundler.tflite.flatbuffer import Damaged
from bundler.tflite.model import AT, IDENTIFIER, Model, read_model
from lora_weights.adapter import check_finite, tensor_shapes
from lora_weights.adapter_file import FORMAT, OWN_METADATA, PAGE, RANK_METADATA, AdapterFile, AdapterHeader
from lora_weights.errors import LoraError

_LARGEST = 1 << 31  # bytes; a flatbuffer's limit. GPT-2 XL at rank 32 takes 79 MB
_HEADER_LIMIT = 1 << 20  # bytes of JSON; real ones have half a kilobyte
_LIMITS = {"layers": 1 << 12, "width": 1 << 20, "rank": 1 << 16}


def read_adapter_file(path: Path) -> AdapterFile:
    """Read and check an adapter file. Raises LoraError for anything that `encode_adapter` would not have written."""
    try:
        with open(path, "rb") as stream:
            size = stream.seek(0, 2)
            if size > _LARGEST:
                raise LoraError(
                    f"{path}: {size} bytes; an adapter file has at most {_LARGEST}; check that this is the right file"
                )
            stream.seek(0)
            data = stream.read()
    except OSError as error:
        raise LoraError(
            f"{path}: cannot be read ({error.strerror or error}); expected an adapter file; check the path"
        ) from error
    return decode_adapter(data, str(path))


def decode_adapter(data: bytes, where: str = "adapter") -> AdapterFile:
    """The content of an adapter file. `where` names it in errors; see `read_adapter_file`."""
    if data[AT] != IDENTIFIER:
        raise LoraError(
            f"{where}: begins with {data[:8]!r}; an adapter file is a TFLite flatbuffer; give what `task-bundler lora "
            "export` wrote"
        )
    try:
        model = read_model(data)
        if defects := [*model.damage, *model.missized]:
            raise Damaged(defects[0])
        if OWN_METADATA not in model.metadata:
            raise LoraError(
                f"{where}: a TFLite file without the metadata {OWN_METADATA}; give what `task-bundler lora export` "
                "wrote"
            )
        fields = header_fields(model, data)
        if fields["format"] != FORMAT:
            raise LoraError(
                f"{where}: format {fields['format']!r} of the adapter's header, expected {FORMAT}; use a release of "
                "task-bundler made for it"
            )
        header = _header(fields)
        tensors = _tensors(model, data)
        if len(data) % PAGE:
            raise Damaged(f"has {len(data)} bytes, no multiple of {PAGE}")
        if (rank := model.metadata.get(RANK_METADATA)) != header.rank:
            raise Damaged(f"says rank {rank} in its metadata and {header.rank} in its header")
    except Damaged as damage:
        raise LoraError(
            f"{where}: {damage}; expected a sound adapter file; copy it again, or export it again"
        ) from damage
    _check_tensors(tensors, header, where)
    return AdapterFile(header, tensors, hashlib.sha256(data).hexdigest())


def header_fields(model: Model, data: bytes | memoryview) -> dict[str, Any]:
    """The JSON in our own metadata, with its numbers checked. Raises Damaged; KeyError without such metadata."""
    index = model.metadata[OWN_METADATA]
    if index >= len(model.inside) or not 0 < model.inside[index].size <= _HEADER_LIMIT:
        raise Damaged(f"its metadata {OWN_METADATA} is in buffer {index} of {len(model.inside)}, or too long")
    place = model.inside[index]
    try:
        fields = json.loads(bytes(data[place.offset : place.offset + place.size]))
    except (ValueError, RecursionError) as error:
        raise Damaged(f"the JSON in its metadata {OWN_METADATA} cannot be read: {error}") from error
    if not isinstance(fields, dict):
        raise Damaged(f"its metadata {OWN_METADATA} is a {type(fields).__name__}")
    for name, limit in _LIMITS.items():
        if type(fields.get(name)) is not int or not 0 < fields[name] < limit:
            raise Damaged(f"its metadata {OWN_METADATA} says {name} {fields.get(name)!r}")
    return {"format": None, **fields}


def _header(fields: dict[str, Any]) -> AdapterHeader:
    scales = fields.get("query_scale")
    if not isinstance(scales, list) or not all(type(scale) in (int, float) for scale in scales):
        raise Damaged("its header has no list of query scales")
    if len(scales) != fields["layers"]:
        raise Damaged(f"{len(scales)} query scales for {fields['layers']} layers")
    values = {name: value for name, value in fields.items() if name != "format"} | {"query_scale": tuple(scales)}
    try:
        return AdapterHeader(**values)
    except TypeError as error:  # a field that is not there, or one too many
        raise Damaged(f"its header: {error}") from error


def _tensors(model: Model, data: bytes) -> dict[str, np.ndarray]:
    """Every tensor, by name. MediaPipe and LiteRT-LM have to find the same bytes."""
    tensors: dict[str, np.ndarray] = {}
    for tensor in (tensor for graph in model.graphs for tensor in graph.tensors):
        inside, outside = model.inside[tensor.buffer], model.outside[tensor.buffer]
        if tensor.name in tensors or tensor.type != "FLOAT32" or tensor.bytes != inside.size:
            raise Damaged(
                f"{tensor.name} is there twice, is not float32, or has {inside.size} bytes for the shape "
                f"{list(tensor.shape)}"
            )
        if (outside.offset, outside.size) != (inside.offset, inside.size):
            raise Damaged(
                f"{tensor.name} lies at byte {inside.offset}, but LiteRT-LM is told {outside.size} bytes at "
                f"{outside.offset}"
            )
        values = np.frombuffer(data, "<f4", tensor.values, inside.offset)
        tensors[tensor.name] = values.reshape(tensor.shape)
    return tensors


def _check_tensors(tensors: dict[str, np.ndarray], header: AdapterHeader, where: str) -> None:
    expected = tensor_shapes(header.layers, header.width, header.rank)
    if missing := [name for name in expected if name not in tensors]:
        raise LoraError(
            f"{where}: lacks {len(missing)} of {len(expected)} tensors, first {missing[0]}; an engine would use "
            "undefined memory in their place; export the adapter again"
        )
    if extra := [name for name in tensors if name not in expected]:
        raise LoraError(
            f"{where}: holds {extra[0]}, which an adapter of {header.layers} layers does not have; export it again"
        )
    for name, shape in expected.items():
        if tensors[name].shape != shape:
            raise LoraError(
                f"{where}: {name} has the shape {list(tensors[name].shape)}, expected {list(shape)}; export the "
                "adapter again"
            )
        check_finite(name, tensors[name], where)
