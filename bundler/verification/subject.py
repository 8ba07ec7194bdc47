"""What is verified: the one value that every gate begins with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bundler.verification.runtimes import Runtimes

if TYPE_CHECKING:
    from bundler.checkpoints.checkpoint import Checkpoint
    from bundler.containers.tokenizer import BundleTokenizer
    from lora_weights.adapter import Base
    from tokenizer_tools.report import MismatchReport

LITERTLM, MEDIAPIPE = "litert-lm", "mediapipe"


@dataclass(frozen=True)
class Variant:
    """A set of signatures that take adapters: those named `_lora_rR`, or with `plain` those of the plain names.
    `unpacked`: decode adds up in another order than that of the subject's model, see unpacked_decode.
    """

    name: str
    model: Path
    rank: int
    plain: bool = False
    unpacked: bool = False


@dataclass(frozen=True)
class Lora:
    """The LoRA part of a subject: the PEFT folders `adapters`, and the signatures that take them.

    `variants`: those of the .task's model, then that of the .litertlm's. `converted`: the same before quantization, if
    the recipe quantizes. Adapters are merged into `task` and swapped in `litertlm`; None: not tried.
    """

    base: Base
    adapters: tuple[Path, ...]
    variants: tuple[Variant, ...]
    converted: tuple[Variant, ...] = ()
    task: Path | None = None
    litertlm: Path | None = None


@dataclass(frozen=True)
class Trainer:
    """A trainer file, and the recipe that its weights are stored in."""

    path: Path
    recipe: str


@dataclass(frozen=True)
class Subject:
    """A TFLite model, the tokenizer and the bundles that go with it, and the checkpoint they are held against.

    The model's plain signatures take no adapter. `recipe` names the limits. `texts`: files or folders of the user's
    own text. `comparison` and `files` are a build's: its tokenizer's full comparison, and what the doctor examines.
    `runtimes` run it.
    """

    checkpoint: Checkpoint
    model: Path
    recipe: str
    tokenizer: BundleTokenizer
    bundles: tuple[Path, ...] = ()
    engines: tuple[str, ...] = (LITERTLM,)
    texts: tuple[Path, ...] = ()
    comparison: MismatchReport | None = None
    files: tuple[Path, ...] = ()
    lora: Lora | None = None
    trainer: Trainer | None = None
    runtimes: Runtimes = Runtimes()
