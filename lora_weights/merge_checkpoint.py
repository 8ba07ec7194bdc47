"""A PEFT adapter into the weights of a checkpoint: the way that keeps whatever PEFT can express (DoRA, MLP, biases)."""

from __future__ import annotations

import warnings
from pathlib import Path

from transformers import GPT2LMHeadModel

from lora_weights.errors import LoraError
from lora_weights.peft_adapter import BIN, CONFIG, SAFETENSORS


def merge_into_checkpoint(model: GPT2LMHeadModel, adapter: Path) -> GPT2LMHeadModel:
    """`model` with the adapter merged, by peft itself. Changes `model`; raises LoraError if the adapter does not fit it."""
    from peft import PeftModel

    if not (adapter / CONFIG).is_file():
        raise LoraError(f"{adapter} has no {CONFIG}; merging into a checkpoint takes a PEFT folder")
    # peft would ask the hub for weights that are not there.
    if not any((adapter / name).is_file() for name in (SAFETENSORS, BIN)):
        raise LoraError(f"{adapter} has no weights; {SAFETENSORS} or {BIN} was expected. Save the adapter again")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            adapted = PeftModel.from_pretrained(model, adapter)
    # What peft raises for shapes and modules that are not the model's, and for damaged files, is of many kinds.
    except Exception as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise LoraError(f"{adapter} cannot be put on this model ({first}); give the model it was trained on") from error
    # peft only warns of tensors it does not find, and leaves their places as new ones, which change nothing.
    if lacking := [str(warning.message) for warning in caught if "missing adapter keys" in str(warning.message)]:
        raise LoraError(f"{adapter} lacks tensors its config describes ({lacking[0].splitlines()[0][:200]}); save the adapter again")
    if missing := [name for name, tensor in adapted.named_parameters() if "lora_" in name and not tensor.isfinite().all()]:
        raise LoraError(f"{adapter}: {missing[0]} has NaN or infinite values; give an earlier state of the adapter")
    return adapted.merge_and_unload(safe_merge=True)
