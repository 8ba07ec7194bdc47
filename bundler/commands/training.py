"""What the commands that train share: options, progress, the model they begin with."""

from __future__ import annotations

import os
import shlex
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Iterator

import click

from bundler.checkpoints.hub_id import HubAccess
from bundler.commands.console import COUNT, Terminal

if TYPE_CHECKING:
    from gpt2_training.base_model import BaseModel
    from gpt2_training.corpus import Corpus
    from gpt2_training.loop import Step

RESTART = click.option("--restart", is_flag=True, help="Begin anew, whatever state an earlier training left.")
_LINE_EVERY = 5.0  # seconds, where the progress is no terminal's
_SMOOTH = 0.9  # of the speed that is shown, what comes from the steps before


def training_options(**shown: object) -> Callable:
    """Add the options of every training to a click command. `shown` are the defaults that its help tells; they are not
    passed on: what was not given is None, and the recipe decides.
    """

    def option(flag: str, kind: click.ParamType | type, text: str | None = None) -> Callable:
        name = flag.removeprefix("--").replace("-", "_")
        return click.option(flag, type=kind, help=text, show_default=str(shown[name]) if name in shown else False)

    options = (
        option("--steps", COUNT),
        option("--batch", COUNT, "Sequences that are computed at a time."),
        option("--accumulate", COUNT, "Batches in a step: a larger step in the same memory."),
        option("--context", COUNT, "Tokens of a sequence."),
        option("--learning-rate", click.FloatRange(0)),
        option("--warmup", click.IntRange(0), "Steps until the learning rate is reached."),
        option("--weight-decay", click.FloatRange(0)),
        option("--beta2", click.FloatRange(0, 1, max_open=True), "AdamW's, of squared gradients."),
        option("--dropout", click.FloatRange(0, 1, max_open=True), "Helpful when a small text is read many times."),
        option("--evaluate-every", COUNT, "Steps between held-out losses and saved states."),
        option(
            "--patience",
            click.IntRange(0),
            "End after so many evaluations without a better one, and keep the best weights. 0: train all steps.",
        ),
        option("--seed", click.IntRange(0, (1 << 32) - 1)),
        option("--threads", click.IntRange(0), "0 leaves it to PyTorch."),
        click.option(
            "--device",
            type=click.Choice(["auto", "cpu", "cuda", "mps"]),
            default="auto",
            show_default=True,
            help="auto: a GPU if PyTorch finds one.",
        ),
        click.option(
            "--bfloat16/--float32",
            default=None,
            help=f"Arithmetic of the forward pass. [default: {shown.get('precision', 'bfloat16 where it is faster')}]",
        ),
        click.option("--force", is_flag=True, help="Replace an output that exists."),
    )

    def decorate(function: Callable) -> Callable:
        for add in reversed(options):
            function = add(function)
        return function

    return decorate


def given(recipe: dict[str, Any]) -> dict[str, Any]:
    """The options of a training that the user gave, as fields of its recipe."""
    return {name: value for name, value in recipe.items() if value is not None and (name, value) != ("device", "auto")}


def command_line() -> str:
    """What the user typed, for records."""
    return shlex.join(["task-bundler", *sys.argv[1:]])


def paths(*inputs: str | Path | None) -> list[Path]:
    """Those inputs that were given, as the paths that they may be."""
    return [Path(os.path.expanduser(path)) for path in inputs if path is not None]


def open_base(model: str, tokenizer: Path | None, hub: HubAccess) -> BaseModel:
    """The model in PyTorch, its tokenizer, its fingerprint, and the files of its vocabulary."""
    from bundler.checkpoints.checkpoint import open_checkpoint
    from bundler.doctor.own_pieces import read_sound_vocabulary
    from bundler.lora.facts import weights_fingerprint
    from gpt2_training.base_model import BaseModel
    from tokenizer_tools.auto_tokenizer import TOKENIZER_FILES
    from tokenizer_tools.vocabulary import reference_tokenizer

    checkpoint = open_checkpoint(model, tokenizer=tokenizer, hub=hub)
    vocabulary = read_sound_vocabulary(checkpoint.folder)
    checkpoint.check_vocabulary(len(vocabulary))
    return BaseModel(
        checkpoint.reference_model(),
        reference_tokenizer(vocabulary),
        model,
        weights_fingerprint(checkpoint),
        checkpoint.special.document_start(len(vocabulary), vocabulary.end_of_text),
        tuple(path for name in TOKENIZER_FILES if (path := checkpoint.folder / name).is_file()),
    )


def read_text(terminal: Terminal, text: str) -> Corpus:
    """The corpus; files that were passed over are told."""
    from gpt2_training.corpus import read_corpus

    with terminal.stage("Reading the text"):
        corpus = read_corpus(text)
    if corpus.passed_over:
        terminal.say(f"{text}: {corpus.passed_over} files are no UTF-8 text and were passed over")
    return corpus


def write_pictures(record: dict, folder: Path) -> None:
    """The loss curve, beside the checkpoint."""
    from gpt2_training.curve import write_curve

    write_curve(record, folder / "training.svg")


def say_result(terminal: Terminal, output: Path, record: dict) -> None:
    """What came of a training of all weights."""
    before = f"held-out perplexity {record['held_out_perplexity_before']:.3f} before, " if "base" in record else ""
    early = "" if record["best_step"] == record["config"]["steps"] else f" (weights of step {record['best_step']:,})"
    terminal.show(
        f"{output}: {record['parameters']:,} parameters, {before}held-out perplexity "
        f"{record['held_out_perplexity']:.3f} ± {record['held_out_perplexity_standard_error']:.3f}, "
        f"{record['held_out_bits_per_byte']:.3f} bits a byte{early}"
    )
    if outside := record.get("held_out_outside_alphabet"):
        terminal.say(
            f"{len(outside)} characters of the held-out text are not in the alphabet of {len(record['alphabet'])}, and "
            f"are spelled in bytes: {outside[:40]}",
            soft_wrap=True,
        )
    terminal.result({key: value for key, value in record.items() if key != "curve"})


@contextmanager
def training_progress(terminal: Terminal, steps: int, state: Path | None = None) -> Iterator[Callable[..., None]]:
    """Yield a function to be told of each step, and of the name of what is trained: it keeps a bar, or writes a line
    every few seconds where there is no terminal.
    """
    text = _StepText(steps)
    if terminal.console.is_terminal:
        with terminal.bar("training", total=steps) as advance:

            def show(step: Step, name: str = "") -> None:
                _say_where_it_goes_on(terminal, text, step, state)
                advance(completed=step.step, description=text.after(step, name))

            yield show
        return
    written = time.monotonic()

    def write(step: Step, name: str = "") -> None:
        nonlocal written
        _say_where_it_goes_on(terminal, text, step, state)
        line = text.after(step, name)
        if time.monotonic() - written >= _LINE_EVERY or step.step == steps:
            terminal.say(line, soft_wrap=True)
            written = time.monotonic()

    yield write


def _say_where_it_goes_on(terminal: Terminal, text: _StepText, step: Step, state: Path | None) -> None:
    if text.first is None and step.step > 1 and state:
        terminal.say(f"going on after step {step.step - 1:,}, from {state}", soft_wrap=True)


class _StepText:
    """A step in words: what of all, loss, speed, and the time left by the speed so far."""

    def __init__(self, steps: int) -> None:
        self.steps, self.first, self._speed, self._held_out = steps, None, 0.0, ""

    def after(self, step: Step, name: str) -> str:
        import math

        now = time.monotonic()
        if self.first is None:
            self.first, self._speed = (step.step, now), step.tokens_per_second
        if step.held_out is not None:
            self._held_out = f", held-out perplexity {math.exp(min(step.held_out, 700)):.2f}"
        self._speed = _SMOOTH * self._speed + (1 - _SMOOTH) * step.tokens_per_second
        since = step.step - self.first[0]
        left = f", {_duration((now - self.first[1]) / since * (self.steps - step.step))} left" if since else ""
        what = f"{name}{', ' if name else ''}step {step.step:,} of {self.steps:,}, loss {step.loss:.3f}{self._held_out}"
        return f"{what}, {self._speed:,.0f} tokens/s{left}"


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


def say_how_to_go_on(terminal: Terminal, state: Path) -> None:
    """That more steps can follow, and what they need."""
    if state.is_file():
        terminal.say(
            f"{state} ({state.stat().st_size / 1e6:,.1f} MB) is kept: the same command with more --steps and --force "
            "goes on from there; delete it when you are done",
            soft_wrap=True,
        )
