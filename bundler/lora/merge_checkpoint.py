"""A checkpoint and a PEFT folder -> a checkpoint folder with the adapter in its weights."""

from __future__ import annotations

import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Sequence

from bundler.checkpoints.checkpoint import open_checkpoint
from bundler.checkpoints.hub_id import HubAccess
from bundler.errors import VerificationError
from lora_weights.merge_checkpoint import check_additive, logits_apart, merge_into_checkpoint, sample_logits
from tokenizer_tools.auto_tokenizer import TOKENIZER_FILES


def merge_checkpoint_folder(
    base: str,
    adapters: Sequence[Path],
    output: Path,
    *,
    scales: Sequence[float] = (1.0,),
    tokenizer: Path | None = None,
    hub: HubAccess = HubAccess(),
) -> None:
    """Write the merged model (float32 safetensors) with the base's vocabulary into the folder `output`.

    Each adapter's deltas are multiplied by its scale.

    Raises BundleError, LoraError, or VerificationError if what was written is not what was merged.
    """
    if len(adapters) > 1 or scales[0] != 1:
        for adapter in adapters:
            check_additive(adapter)
    checkpoint = open_checkpoint(base, tokenizer=tokenizer, hub=hub)
    folder = checkpoint.folder
    merged = checkpoint.reference_model()
    for adapter, scale in zip(adapters, scales):
        merged = merge_into_checkpoint(merged, adapter, scale)
    logits = sample_logits(merged)
    merged.save_pretrained(output)
    for name in TOKENIZER_FILES:
        if (folder / name).is_file():
            shutil.copyfile(folder / name, output / name)
    del merged  # a model at a time
    if (difference := logits_apart(sample_logits(open_checkpoint(output).reference_model()), logits)) is not None:
        raise VerificationError(
            f"the merged checkpoint, read again, gives logits up to {difference:.2g} away from those before "
            f"transformers {version('transformers')} saved it; nothing was written. Install the version that "
            "task-bundler is pinned to"
        )
