"""The signatures of a language model: the names that the engines look for, and what they say of the model.

The names are those of LiteRT-LM's open source (runtime/executor/litert_compiled_model_executor_utils.cc); MediaPipe's
are the same.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from bundler.system.file_section import FileSection
from bundler.tflite.graph import lookup_table
from bundler.tflite.model import Graph, Model, Signature, open_model
from bundler.tflite.placeholder_context import is_placeholder

PREFILL, DECODE = "prefill", "decode"
TOKENS, POSITIONS, MASKS, LOGITS = ("tokens", "token_ids"), ("input_pos", "positions"), ("mask", "attn_mask"), "logits"
# Instead of tokens, in models whose embedding is a file of its own.
EMBEDDINGS = ("embeddings", "input_embeds", "per_layer_embeddings")
CACHE = re.compile(r"kv_cache_([kv])_(\d{1,6})")
FIRST_KEYS, FIRST_VALUES = "kv_cache_k_0", "kv_cache_v_0"


@dataclass(frozen=True)
class LlmShape:
    """What the signatures say of the language model. None: cannot be told.

    `prefill`: the numbers of tokens that the prefill signatures take. `cache`: how many tokens the cache holds.
    `litertlm_context`: what LiteRT-LM takes it for. `mask`: whether the mask is an input. `width`: of the logits.
    `positions`: how many the model has embeddings for.
    """

    prefill: tuple[int, ...]
    layers: int
    cache: int | None
    litertlm_context: int | None
    mask: bool
    width: int | None
    positions: int | None = None

    @property
    def context(self) -> int | None:
        """How many tokens there is room for: in the cache, and among the positions."""
        return min((size for size in (self.cache, self.positions) if size), default=None)

    @property
    def placeholder(self) -> int | None:
        """The length of a cache in whose place LiteRT-LM puts another; None where it is no placeholder."""
        return self.cache if self.cache and is_placeholder(self.cache) else None


def llm_shape(model: Model) -> LlmShape:
    """The shape of the language model in `model`, LoRA variants included."""
    signatures = language_signatures(model)
    prefills = [signature for signature in signatures if signature.key.startswith(PREFILL)]
    lengths = tuple(
        sorted({length for signature in prefills if (length := signature_length(model, signature)) is not None})
    )
    decode = decode_signature(model)
    if decode is None:
        mask = any(first(signature.inputs, MASKS) is not None for signature in prefills)
        return LlmShape(lengths, 0, None, None, mask, None)
    inputs, outputs = model.inputs(decode), model.outputs(decode)
    mask, keys = first(inputs, MASKS), inputs.get(FIRST_KEYS)
    litertlm_context = mask.shape[3] if mask is not None and len(mask.shape) == 4 else None
    if mask is None and keys is not None and len(keys.shape) > 2:
        litertlm_context = keys.shape[2]
    logits = outputs.get(LOGITS)
    width = logits.shape[-1] if logits is not None and logits.shape else None
    positions = first(decode.inputs, POSITIONS)
    table = None if positions is None else lookup_table(model, model.graphs[decode.graph], positions)
    return LlmShape(
        lengths,
        layers_of(decode),
        _cache_length(model, decode),
        litertlm_context,
        mask is not None,
        width,
        None if table is None else next(iter(model.graphs[decode.graph].tensors[table].shape), None),
    )


def read_context(section: FileSection) -> int | None:
    """How many tokens a model in a file has room for; None if its signatures do not say. Raises BundleError."""
    return llm_shape(open_model(section)).context


def first(tensors: dict[str, Any], names: tuple[str, ...]) -> Any:
    """The tensor under the first of `names` that is there, or None."""
    return next((tensors[name] for name in names if name in tensors), None)


def language_signatures(model: Model) -> list[Signature]:
    """`decode`, and every one whose name begins with `prefill`, LoRA variants included."""
    return [signature for signature in model.signatures if signature.key.startswith((PREFILL, DECODE))]


def decode_signature(model: Model) -> Signature | None:
    """The plain `decode`; None if there is none."""
    return next((signature for signature in model.signatures if signature.key == DECODE), None)


def signature_length(model: Model, signature: Signature) -> int | None:
    """How many tokens the signature takes at once: what LiteRT-LM reads from the positions, [N] or [1, N]."""
    positions = first(model.inputs(signature), POSITIONS)
    return positions.shape[-1] if positions is not None and len(positions.shape) in (1, 2) else None


def layers_of(signature: Signature) -> int:
    """How many layers have keys among the inputs."""
    return sum(1 for name in signature.inputs if (match := CACHE.fullmatch(name)) and match[1] == "k")


def _cache_length(model: Model, decode: Signature) -> int | None:
    """The length of the cache: its size along the dimension in which what is written into it is smaller. Else the
    mask's.
    """
    graph = model.graphs[decode.graph]
    for name in (FIRST_KEYS, FIRST_VALUES):
        if name in decode.inputs and (size := _written_along(graph, decode.inputs[name])):
            return size
    mask = first(model.inputs(decode), MASKS)
    return mask.shape[3] if mask is not None and len(mask.shape) == 4 else None


def _written_along(graph: Graph, cache: int) -> int | None:
    shape = graph.tensors[cache].shape
    for operator in graph.operators:
        if cache not in operator.inputs or not any(graph.tensors[index].shape == shape for index in operator.outputs):
            continue
        for index in operator.inputs:
            part = graph.tensors[index].shape if index >= 0 and index != cache else ()
            different = [axis for axis, size in enumerate(part) if len(part) == len(shape) and size != shape[axis]]
            if len(different) == 1 and part[different[0]] < shape[different[0]]:
                return shape[different[0]]
    return None
