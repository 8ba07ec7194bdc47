"""What a checkpoint format reads: a GPT-2 as its files hold it, before names and shapes are checked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bundler.checkpoints.architecture import GPT2Architecture
from bundler.checkpoints.weight_files import StoredTensor


@dataclass(frozen=True)
class SpecialTokens:
    """The token ids that generation_config.json, else config.json, names. Nobody has looked whether the vocabulary has
    them.
    """

    bos: int | None = None
    eos: tuple[int, ...] = ()

    def document_start(self, vocabulary: int, end_of_text: int | None) -> int | None:
        """The id that stands before each document of a text to train on."""
        named = next((index for index in (self.bos, *self.eos) if index is not None), None)
        return named if named is not None and named < vocabulary else end_of_text


@dataclass(frozen=True)
class StoredModel:
    """A model in its files. `kind` and `name` are for the bundle's manifest; `files` are all that were read.

    `path` is the folder of the checkpoint, which may hold its vocabulary, or the one file that it is.
    """

    kind: str
    name: str
    path: Path
    architecture: GPT2Architecture
    tensors: dict[str, StoredTensor]
    files: tuple[Path, ...]
    special: SpecialTokens = SpecialTokens()
