"""A PEFT adapter into the weights of a checkpoint: the way that keeps whatever PEFT can express (DoRA, MLP, biases,
embeddings).
"""

from __future__ import annotations

import math
import re
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from lora_weights.errors import LoraError
from lora_weights.peft_adapter import read_tensors
from lora_weights.peft_config import CONFIG, REFUSED_FIELDS, check_patterns, read_config
from tokenizer_tools.errors import brief

if TYPE_CHECKING:
    from transformers import GPT2LMHeadModel

# One iteration is a product with the whole matrix; PEFT's own examples take 16.
_ENDLESS_PISSA = re.compile(r"pissa_niter_\d{3,}")
_MOST_LAYERS = 1000

# How far logits may be apart: the same sums in another order, in float32. The second is a part of the largest logit.
MAX_LOGIT_DIFFERENCE, MAX_RELATIVE_DIFFERENCE = 1e-3, 1e-5
SAMPLES, SAMPLE_LENGTH = 4, 64


def merge_into_checkpoint(model: GPT2LMHeadModel, adapter: Path, scale: float = 1.0) -> GPT2LMHeadModel:
    """`model` with the adapter, its deltas times `scale`, merged by peft itself. Changes `model`.

    A head that is tied to the embedding stays so only if the adapter leaves both equal; see
    `config.tie_word_embeddings`. Raises LoraError if the adapter does not fit the model, or if merged it gives other
    logits than beside the weights.
    """
    from peft import PeftModel

    check_for_peft(adapter, [name for name, _ in model.named_modules()])
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            adapted = PeftModel.from_pretrained(model, adapter).eval()
            _scale_deltas(adapted, scale)
            merged = _merged(adapted, adapter)
    except LoraError:
        raise
    # What peft raises for shapes and modules that are not the model's, and for damaged files, is of many kinds.
    except Exception as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise LoraError(f"{adapter} cannot be put on this model ({first}); give the model it was trained on") from error
    # peft only warns of tensors it does not find, and leaves their places as new ones, which change nothing.
    if lacking := [str(warning.message) for warning in caught if "missing adapter keys" in str(warning.message)]:
        raise LoraError(
            f"{adapter} lacks tensors its config describes ({lacking[0].splitlines()[0][:200]}); save the adapter again"
        )
    return merged


def check_additive(adapter: Path) -> None:
    """Raise LoraError for an adapter that is more than deltas: it can be neither scaled nor added to another."""
    config = read_config(adapter)
    for field, (harmless, effect) in REFUSED_FIELDS.items():
        if config.get(field) not in harmless:
            raise LoraError(
                f"{adapter / CONFIG} sets {field}, which {effect}; that can be neither scaled nor added to another "
                "adapter. Merge it alone, and without `scales`"
            )


def _scale_deltas(adapted: nn.Module, scale: float) -> None:
    from peft.tuners.lora import LoraLayer

    for module in adapted.modules():
        if isinstance(module, LoraLayer):
            module.scaling = {name: scaling * scale for name, scaling in module.scaling.items()}


def check_for_peft(adapter: Path, modules: list[str]) -> None:
    """Raise LoraError for a folder on which peft, which reads it again, would ask the hub, run without end or take all
    memory.

    `modules` are the names of the model's modules.
    """
    path = adapter / CONFIG
    config = read_config(adapter)
    if config.get("megatron_config"):
        raise LoraError(
            f"{path} sets megatron_config, for layers that are split over machines; a GPT-2 has none. Save the adapter "
            "without it"
        )
    if _ENDLESS_PISSA.match(str(config.get("init_lora_weights"))):
        raise LoraError(
            f"{path} has init_lora_weights {brief(config['init_lora_weights'])}; at most 99 iterations were expected. "
            "Save the adapter again"
        )
    if _replicated(config.get("layer_replication")) > _MOST_LAYERS:
        raise LoraError(
            f"{path} has layer_replication {brief(config['layer_replication'])}; lists of two layers were expected, "
            f"for at most {_MOST_LAYERS} layers in all. Save the adapter again"
        )
    stored = read_tensors(adapter)
    largest = max(
        (
            tensor.shape[0]
            for name, tensor in stored.tensors.items()
            if tensor.ndim and re.search(r"\.lora_(embedding_)?A\b", name)
        ),
        default=0,
    )
    for rank in (config.get("r") or 8, *(config.get("rank_pattern") or {}).values()):
        if rank > max(largest, 8):  # PEFT's default
            raise LoraError(
                f"{path} has rank {brief(rank)}, but the largest in {stored.file.name} is {largest}; give the config "
                "that belongs to it"
            )
    check_patterns(config, modules, path)


def _replicated(ranges: Any) -> float:
    """The number of layers that layer_replication makes; infinite if it is not of PEFT's form."""
    try:
        return sum(abs(end - start) for start, end in ranges or ())
    except (TypeError, ValueError):
        return math.inf


@torch.inference_mode()
def sample_logits(model: nn.Module) -> Tensor:
    """float32 [SAMPLES, length, vocabulary]: a model's logits on random sequences, always the same for models of one
    shape.
    """
    size = (SAMPLES, min(SAMPLE_LENGTH, model.config.n_positions))
    return model(
        torch.randint(model.config.vocab_size, size, generator=torch.Generator().manual_seed(0)), use_cache=False
    ).logits


def logits_apart(logits: Tensor, expected: Tensor) -> float | None:
    """The largest difference between two models' logits; None if it is no more than float32 rounds."""
    difference = float((logits - expected).abs().max())
    limit = max(MAX_LOGIT_DIFFERENCE, MAX_RELATIVE_DIFFERENCE * float(expected.abs().max()))
    return None if difference <= limit < math.inf else difference  # NaN is a difference


def _merged(adapted: nn.Module, adapter: Path) -> GPT2LMHeadModel:
    """The model inside of the PEFT model `adapted`, merged, and held against `adapted`'s own logits."""
    tied = adapted.config.tie_word_embeddings
    expected = sample_logits(adapted)
    _untie(adapted)
    try:
        merged = adapted.merge_and_unload(safe_merge=True)
    except ValueError as error:  # what peft's safe_merge raises
        raise LoraError(
            f"{adapter}: merged weights are NaN or infinite ({error}); give an earlier state of the adapter"
        ) from error
    merged.config.tie_word_embeddings = tied and torch.equal(merged.transformer.wte.weight, merged.lm_head.weight)
    merged.tie_weights()
    if (difference := logits_apart(sample_logits(merged), expected)) is not None:
        raise LoraError(
            f"{adapter}: merged into the weights it gives logits up to {difference:.2g} away from those it gives "
            f"beside them; the same were expected. peft {version('peft')} cannot merge this kind of adapter; train it "
            "on other modules"
        )
    return merged


def _untie(model: nn.Module) -> None:
    """Give every module weights of its own.

    A tied head shares the embedding's, and what an adapter adds to one of the two would be added to the other.
    """
    seen = set()
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
            if id(parameter) in seen:
                setattr(module, name, nn.Parameter(parameter.detach().clone(), requires_grad=False))
            seen.add(id(parameter))
