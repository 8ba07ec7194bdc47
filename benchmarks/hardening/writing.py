"""Every command that writes, in two variants whose outputs differ, on a tiny checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from launcher import REPOSITORY, Job, Launcher
from trees import empty

PLACE = "place"  # the folder of the outputs, in that of the job


@dataclass(frozen=True)
class Writing:
    """`new` and `old`: arguments of the run that is attacked, and of that whose output it replaces. `outputs`: names in
    PLACE.
    `trains`: a state beside the output, from which the training goes on, may stay until it ends."""

    name: str
    new: tuple[str, ...]
    old: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    trains: bool = False


@dataclass(frozen=True)
class Inputs:
    """What the commands read: a checkpoint, two adapters of it, texts, and builds (plain, in fp32, and with LoRA
    ranks).
    """

    folder: Path

    def path(self, *names: str) -> str:
        return str(self.folder.joinpath(*names))


_MAKE = f"""
import sys
from pathlib import Path
sys.path[:0] = [{str(REPOSITORY / "tests")!r}, {str(REPOSITORY / "tests" / "lora_weights")!r}]
import torch
torch.set_num_threads(1)
from peft_folders import write_adapter
from tiny_gpt2 import write_tiny_checkpoint
from bundler.checkpoints.checkpoint import open_checkpoint
here = Path(sys.argv[1])
for number, name in enumerate(("base", "other")):
    write_tiny_checkpoint(here / name, seed=number)
for number, name in enumerate(("wave", "tide")):
    write_adapter(here / name, open_checkpoint(str(here / "base")).reference_model(), seed=number)
"""
BUILDS = {"plain": (), "fp32": ("--quant", "fp32"), "lora": ("--lora-ranks", "16,32", "--adapter", "wave")}


def make_inputs(folder: Path, launcher: Launcher) -> Inputs:
    """Write them to `folder`, which appears when all are there; raises RuntimeError with the command's own words where
    one fails.
    """
    partial, script, temporary = (
        folder.with_name(folder.name + suffix) for suffix in ("-partial", ".py", "-temporary")
    )
    empty(partial), empty(temporary)
    script.write_text(_MAKE)
    _run(launcher, Job((str(partial),), partial, temporary, script=script))
    (partial / "text.txt").write_text(
        "".join(f"{number} green bottles hanging on the wall, and the sea is calm.\n" for number in range(400))
    )
    for name in BUILDS:
        _run(
            launcher,
            Job(("build", "base", "-o", name, "--name", "tiny", *BUILDS[name]), partial, temporary, timeout=900),
        )
    partial.rename(folder)
    return Inputs(folder)


def _run(launcher: Launcher, job: Job) -> None:
    ended = launcher.run(job)
    if ended.code:
        raise RuntimeError(f"{' '.join(job.arguments)} ended with {ended.code}: {ended.stderr[-2000:]}")


def writing_commands(inputs: Inputs) -> list[Writing]:
    """All of them, the slowest first. Their outputs go to PLACE of the folder they are run in."""
    tiny_training = ("--batch", "2", "--context", "24", "--threads", "1", "--force")
    base, second, wave, tide, text, lora_task = (
        inputs.path(*names)
        for names in (("base",), ("other",), ("wave",), ("tide",), ("text.txt",), ("lora", "tiny.task"))
    )
    built = ("-o", f"{PLACE}/out", "--prefill", "16", "--force")

    def file(*arguments: str, to: str) -> tuple[str, ...]:
        return (*arguments, "-o", f"{PLACE}/{to}", "--force")

    def repack(build: str, source: str, target: str) -> tuple[str, ...]:
        return ("repack", inputs.path(build, source), f"{PLACE}/{target}", "--force")

    def train(seed: int) -> tuple[str, ...]:
        return (
            "lora",
            "train",
            base,
            text,
            "-o",
            f"{PLACE}/out",
            "--rank",
            "2",
            "--steps",
            "12",
            "--evaluate-every",
            "3",
            "--seed",
            str(seed),
            *tiny_training,
        )

    def compare(seed: int) -> tuple[str, ...]:
        return (
            "lora",
            "compare",
            base,
            text,
            "-o",
            f"{PLACE}/out",
            "--ranks",
            "1,2",
            "--steps",
            "6",
            "--evaluate-every",
            "3",
            "--seed",
            str(seed),
            "-p",
            "The sea",
            *tiny_training,
        )

    def pretrain(seed: int) -> tuple[str, ...]:
        return (
            "pretrain",
            text,
            "-o",
            f"{PLACE}/out",
            "--vocabulary",
            "300",
            "--layers",
            "1",
            "--heads",
            "2",
            "--width",
            "16",
            "--steps",
            "40",
            "--evaluate-every",
            "10",
            "--seed",
            str(seed),
            *tiny_training,
        )

    def tokenizer(checkpoint: str) -> tuple[str, ...]:
        return (
            *file("tokenizer", "build", "--tokenizer", checkpoint, to="tokenizer.model"),
            "--aliases",
            f"{PLACE}/aliases.json",
        )

    def report(suffix: str, generated: int) -> tuple[str, ...]:
        return (
            "tokenizer",
            "report",
            "--tokenizer",
            base,
            text,
            "--generated",
            str(generated),
            "--save",
            f"{PLACE}/report{suffix}",
            "--force",
        )

    return [
        Writing(
            "build", ("build", base, *built, "--adapter", wave), ("build", base, *built, "--context", "64"), ("out",)
        ),
        Writing(
            "repack to .task",
            repack("plain", "tiny.litertlm", "out.task"),
            repack("fp32", "tiny.litertlm", "out.task"),
            ("out.task",),
        ),
        Writing(
            "repack to .litertlm",
            repack("plain", "tiny.task", "out.litertlm"),
            repack("fp32", "tiny.task", "out.litertlm"),
            ("out.litertlm",),
        ),
        Writing(
            "lora export",
            file("lora", "export", wave, "--bundle", inputs.path("lora"), "--against", base, to="out.tflite"),
            file("lora", "export", tide, "--bundle", inputs.path("lora"), "--skip-gates", to="out.tflite"),
            ("out.tflite",),
        ),
        Writing("lora compare", compare(1), compare(2), ("out",)),
        Writing("pretrain", pretrain(1), pretrain(2), ("out",), trains=True),
        Writing("lora train", train(1), train(2), ("out",), trains=True),
        Writing("tokenizer build", tokenizer(base), tokenizer(second), ("tokenizer.model", "aliases.json")),
        Writing("tokenizer report as .html", report(".html", 20), report(".html", 40), ("report.html",)),
        Writing("tokenizer report as .json", report(".json", 20), report(".json", 40), ("report.json",)),
        Writing(
            "lora merge into a checkpoint",
            file("lora", "merge", base, wave, to="out"),
            file("lora", "merge", base, tide, to="out"),
            ("out",),
        ),
        Writing(
            "lora merge into a .task",
            file("lora", "merge", lora_task, wave, to="out.task"),
            file("lora", "merge", lora_task, tide, to="out.task"),
            ("out.task",),
        ),
        Writing(
            "run", ("run", inputs.path("plain", "tiny.litertlm"), "-p", "The sea", "-n", "24", "--temperature", "0")
        ),
    ]
