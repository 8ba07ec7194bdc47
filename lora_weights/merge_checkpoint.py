"""A PEFT adapter into the weights of a checkpoint: the way that keeps whatever PEFT can express (DoRA, MLP, biases)."""

from __future__ import annotations

import math
import re
import warnings
from pathlib import Path
from typing import Any

from transformers import GPT2LMHeadModel

from lora_weights.errors import LoraError
from lora_weights.peft_adapter import read_tensors
from lora_weights.peft_config import CONFIG, check_patterns, read_config
from tokenizer_tools.errors import brief

# One iteration is a product with the whole matrix; PEFT's own examples take 16.
_ENDLESS_PISSA = re.compile(r"pissa_niter_\d{3,}")
_MOST_LAYERS = 1000


def merge_into_checkpoint(model: GPT2LMHeadModel, adapter: Path) -> GPT2LMHeadModel:
    """`model` with the adapter merged, by peft itself. Changes `model`; raises LoraError if the adapter does not fit it."""
    from peft import PeftModel

    check_for_peft(adapter, [name for name, _ in model.named_modules()])
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            merged = PeftModel.from_pretrained(model, adapter).merge_and_unload(safe_merge=True)
    # What peft raises for shapes and modules that are not the model's, and for damaged files, is of many kinds.
    except Exception as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise LoraError(f"{adapter} cannot be put on this model ({first}); give the model it was trained on") from error
    # peft only warns of tensors it does not find, and leaves their places as new ones, which change nothing.
    if lacking := [str(warning.message) for warning in caught if "missing adapter keys" in str(warning.message)]:
        raise LoraError(f"{adapter} lacks tensors its config describes ({lacking[0].splitlines()[0][:200]}); save the adapter again")
    return merged


def check_for_peft(adapter: Path, modules: list[str]) -> None:
    """Raise LoraError for a folder on which peft, which reads it again, would ask the hub, run without end or take all memory.

    `modules` are the names of the model's modules.
    """
    path = adapter / CONFIG
    config = read_config(adapter)
    if config.get("megatron_config"):
        raise LoraError(f"{path} sets megatron_config, for layers that are split over machines; a GPT-2 has none. Save the adapter without it")
    if _ENDLESS_PISSA.match(str(config.get("init_lora_weights"))):
        raise LoraError(f"{path} has init_lora_weights {brief(config['init_lora_weights'])}; at most 99 iterations were expected. Save the adapter again")
    if _replicated(config.get("layer_replication")) > _MOST_LAYERS:
        raise LoraError(f"{path} has layer_replication {brief(config['layer_replication'])}; lists of two layers were expected, for at most "
                        f"{_MOST_LAYERS} layers in all. Save the adapter again")
    tensors, file = read_tensors(adapter)
    largest = max((tensor.shape[0] for name, tensor in tensors.items() if tensor.ndim and re.search(r"\.lora_(embedding_)?A\b", name)), default=0)
    for rank in (config.get("r") or 8, *(config.get("rank_pattern") or {}).values()):
        if rank > max(largest, 8):  # PEFT's default
            raise LoraError(f"{path} has rank {brief(rank)}, but the largest in {file.name} is {largest}; give the config that belongs to it")
    check_patterns(config, modules, path)


def _replicated(ranges: Any) -> float:
    """The number of layers that layer_replication makes; infinite if it is not of PEFT's form."""
    try:
        return sum(abs(end - start) for start, end in ranges or ())
    except (TypeError, ValueError):
        return math.inf
