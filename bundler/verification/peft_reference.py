"""The checkpoint with PEFT adapters in PyTorch: what adapters in a bundle are held against."""

from __future__ import annotations

from pathlib import Path
from typing import Sequence

from bundler.checkpoints.checkpoint import Checkpoint
from bundler.verification.reference import Reference
from lora_weights.merge_checkpoint import check_for_peft


class PeftReference(Reference):
    """A Reference whose adapter can be chosen: one of the PEFT `folders` it was made with, or none."""

    def __init__(self, checkpoint: Checkpoint, vocabulary: int, folders: Sequence[Path]):
        from peft import PeftModel

        super().__init__(checkpoint, vocabulary)
        for folder in folders:
            check_for_peft(folder, [name for name, _ in self.model.named_modules()])
        first, *others = self._names = [f"adapter_{index}" for index in range(len(folders))]
        self.model = PeftModel.from_pretrained(self.model, folders[0], adapter_name=first)
        for name, folder in zip(others, folders[1:]):
            self.model.load_adapter(folder, adapter_name=name)
        self.model.eval()

    def use(self, index: int | None) -> PeftReference:
        """Compute with the adapter of folder number `index` from now on, or with the base alone. Returns itself."""
        if index is None:
            self.model.base_model.disable_adapter_layers()
        else:
            self.model.base_model.enable_adapter_layers()
            self.model.set_adapter(self._names[index])
        return self
