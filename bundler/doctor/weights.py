"""Whether the constants of a model are finite, and their scales above zero."""

from __future__ import annotations

import numpy as np

from bundler.doctor.report import Finding
from bundler.tflite.graph import MATRIX
from bundler.tflite.model import Buffer, Model, Tensor
from bundler.tflite.weights import FLOATS, values_of

_CHUNK = 1 << 22  # values looked at in one go
# The operators that XNNPACK multiplies for, with integer weights as they are; in others a scale of zero is a row of
# zeros.
_MULTIPLYING = (*MATRIX, "CONV_2D", "DEPTHWISE_CONV_2D")
_MASK_DIMENSIONS = 4  # a causal mask stored as a constant is infinite by design, and has as many


def check_finite(model: Model, data: bytes | memoryview) -> list[Finding]:
    """NaN nowhere, infinity only in what can be a mask. Every buffer is looked at once, in pieces."""
    findings, seen, seen_scales = [], set(), set()
    for graph in model.graphs:
        for tensor in graph.tensors:
            if tensor.quantization is not None and id(tensor.quantization.scales) not in seen_scales:
                seen_scales.add(id(tensor.quantization.scales))
                if not np.isfinite(tensor.quantization.scales).all():
                    findings.append(Finding("weights-not-finite", tensor.name, "a scale is NaN or infinite"))
            buffer = model.buffers[tensor.buffer]
            if (
                tensor.type in FLOATS
                and buffer.size
                and buffer not in seen
                and buffer.size % np.dtype(FLOATS[tensor.type]).itemsize == 0
            ):
                seen.add(buffer)
                if wrong := _not_finite(tensor, buffer, data):
                    findings.append(Finding("weights-not-finite", tensor.name, wrong))
    return findings


def check_scales(model: Model, data: bytes | memoryview) -> list[Finding]:
    """The scales of the matrices that layers multiply by are above zero. Every set of scales is looked at once."""
    findings, seen = [], set()
    for graph in model.graphs:
        for index in (
            index
            for operator in graph.operators
            if operator.name in _MULTIPLYING
            for index in operator.inputs
            if index >= 0
        ):
            tensor = graph.tensors[index]
            if tensor.quantization is None or not model.buffers[tensor.buffer].size:
                continue
            scales, key = tensor.quantization.scales, id(tensor.quantization.scales)
            if tensor.quantization.block:
                holder = graph.tensors[tensor.quantization.scales_tensor]
                key = model.buffers[holder.buffer]
                scales = values_of(key, holder, data) if key not in seen else None
            if key in seen or scales is None:
                continue
            seen.add(key)
            # NaN is among them. XNNPACK takes no subnormal numbers either.
            wrong = scales[~(scales >= np.finfo(np.float32).tiny)]
            if wrong.size:
                findings.append(
                    Finding(
                        "scale-not-positive",
                        tensor.name,
                        f"{wrong.size} of {scales.size} scales, the first is {wrong[0]:.3g}",
                    )
                )
    return findings


def _not_finite(tensor: Tensor, buffer: Buffer, data: bytes | memoryview) -> str:
    form = np.dtype(FLOATS[tensor.type])
    nans = infinite = 0
    only_mask = True  # nothing but zeros beside the infinite values
    for start in range(buffer.offset, buffer.offset + buffer.size, _CHUNK * form.itemsize):
        part = np.frombuffer(
            bytes(data[start : min(start + _CHUNK * form.itemsize, buffer.offset + buffer.size)]), form
        )
        finite = np.isfinite(part)
        if not finite.all():
            here = int(np.isnan(part).sum())
            nans, infinite = nans + here, infinite + int((~finite).sum()) - here
        only_mask = only_mask and (not infinite or not part[finite].any())
    if tensor.values <= 1:  # what a mask is filled with, or a place that is not there
        return ""
    mask = only_mask or len(tensor.shape) >= _MASK_DIMENSIONS
    if nans or infinite and not mask:
        return f"{nans} NaN and {infinite} infinite values of {buffer.size // form.itemsize}"
    return ""
