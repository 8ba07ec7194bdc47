"""A checkpoint and a PEFT folder -> a checkpoint folder with the adapter in its weights."""

from __future__ import annotations

import shutil
from pathlib import Path

from bundler.checkpoint import VOCABULARY_FILES, open_checkpoint
from bundler.hub_id import HubAccess
from lora_weights.merge_checkpoint import merge_into_checkpoint


def merge_checkpoint_folder(base: str, adapter: Path, output: Path, *, tokenizer: Path | None = None,
                            hub: HubAccess = HubAccess()) -> None:
    """Write the merged model (float32 safetensors) with the base's vocabulary into the folder `output`. Raises BundleError or LoraError."""
    checkpoint = open_checkpoint(base, tokenizer=tokenizer, hub=hub)
    folder = checkpoint.folder
    merged = merge_into_checkpoint(checkpoint.reference_model(), adapter)
    merged.save_pretrained(output)
    for name in VOCABULARY_FILES:
        if (folder / name).is_file():
            shutil.copyfile(folder / name, output / name)
