"""What every command shares with its user: messages and progress on stderr, results on stdout."""

from __future__ import annotations

import codecs
import functools
import json
import math
import os
import re
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Iterator

import click
from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task
from rich.text import Text

from tokenizer_tools.printable import printable
from tokenizer_tools.symbols import MODE_LETTERS, MODES

# What stands for the characters that we print ourselves, where a terminal's encoding lacks them.
_PLAIN = {
    "✓": "ok",
    "→": "->",
    "“": '"',
    "”": '"',
    "‘": "'",
    "’": "'",
    "…": "...",
    "–": "-",
    "—": "-",
    "±": "+-",
    "×": "x",
    "·": "-",
}
_PLAIN_ERRORS = "task-bundler.plain"  # a handler of encoding errors, as "replace" is
# Control characters but tab and line ends: what a model writes may be meant for the terminal it is shown in.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(_PLAIN.get(character, "?") for character in error.object[error.start : error.end]), error.end


codecs.register_error(_PLAIN_ERRORS, _plain)


def prepare_streams() -> None:
    """Let no command fail for its streams: closed ones lead to /dev/null, and what an encoding lacks is printed in
    ASCII.

    For the start of a program. Text that is not in stdin's encoding raises UnicodeDecodeError when it is read.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number is this one. Left free, the next file that is opened would take it, and get the
            # messages.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))
    sys.stdin.reconfigure(errors="strict")  # Python's choice for some locales makes lone surrogates of what is not text
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors=_PLAIN_ERRORS)


from bundler.checkpoints.adapter_source import check_adapter_source
from bundler.checkpoints.hub_id import BUNDLE_SUFFIXES, HubAccess, what_is_missing
from bundler.errors import OptionError


class InputPath(click.Path):
    """A file or folder to read, or one of `words`. What is not there is refused before any work, as a wrong use."""

    def __init__(self, *words: str, **kind: Any) -> None:
        super().__init__(**{"path_type": Path, **kind})
        self._words = words

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Any:
        if value in self._words:
            return value
        path = super().convert(value, parameter, context)
        if not os.path.exists(Path(path)):
            raise OptionError(f"{path} does not exist: {what_is_missing(Path(path))} Check the path")
        return path


class BundlePath(InputPath):
    """A .task or .litertlm file. A folder is refused, and the message names the bundles in it."""

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Any:
        path = super().convert(value, parameter, context)
        if not path.is_dir():
            return path
        bundles = sorted(str(file) for suffix in BUNDLE_SUFFIXES for file in path.glob(f"*{suffix}"))
        if bundles:
            remedy = f"give {' or '.join(bundles)}"
        elif (path / "config.json").exists():
            remedy = (
                f"this is a checkpoint; make a bundle of it: task-bundler build {path} -o out/{path.resolve().name}"
            )
        else:
            remedy = "there is none in it; give the file itself"
        raise OptionError(f"{path} is a folder; expected a .task or .litertlm file; {remedy}")


class AdapterPath(InputPath):
    """An adapter file. A PEFT adapter is refused, and the message says how to export it."""

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Any:
        path = super().convert(value, parameter, context)
        folder = path if path.is_dir() else path.parent
        peft = (folder / "adapter_config.json").exists()
        if path.is_dir() or (peft and path.suffix in (".safetensors", ".bin", ".json")):
            kind = "a PEFT adapter" if peft else "a folder"
            raise OptionError(
                f"{path} is {kind}; expected an adapter file (.tflite); write one: task-bundler lora export {folder} "
                f"--bundle OUT --against MODEL -o {folder.resolve().name}.tflite, OUT being the folder of a build with "
                "`lora_ranks`"
            )
        return path


class AdapterSource(click.ParamType):
    """A PEFT folder, an adapter file or a hub id, as text; `adapter_path` makes a path of it."""

    name = "adapter"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> str:
        check_adapter_source(value)
        return value


def scales_for(scales: tuple[float, ...], adapters: int) -> tuple[float, ...]:
    """A scale for each adapter: those that were given, or the one for all, or 1. Raises OptionError."""
    if len(scales) not in (0, 1, adapters) or not all(map(math.isfinite, scales)):
        raise OptionError(
            f"`scales` {', '.join(f'{scale:g}' for scale in scales)} with {adapters} adapters; give one number for "
            "all of them, or one for each, in their order"
        )
    return scales if len(scales) == adapters else (scales or (1.0,)) * adapters


class TokenizerMode(click.Choice):
    """A mode of the SentencePiece model, also by the letter that manifests have."""

    def __init__(self) -> None:
        super().__init__(MODES)

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Any:
        return super().convert(MODE_LETTERS.get(value, value), parameter, context)


def lengths(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    """For an option of whole numbers with commas between them."""
    if value is None:
        return None
    try:
        return tuple(int(part) for part in value.split(","))
    except ValueError:
        raise click.BadParameter(f"{value!r}; expected whole numbers with commas, such as 32,256") from None


COUNT = click.IntRange(1)
_FIELD = re.compile(r"`([a-z_]+)`")


def with_flags(text: str, program: click.Group) -> str:
    """`text` with each field that the library names in backticks, as `lora_ranks`, as the option of a command of
    `program` that sets it.
    """
    if not _FIELD.search(text):
        return text
    flags = dict(option_flags(program))
    return _FIELD.sub(lambda field: flags.get(field[1], field[0]), text)


def option_flags(program: click.Group) -> Iterator[tuple[str, str]]:
    """The field and the flag of every option of every command."""
    context = click.Context(program)
    for command in (program.get_command(context, name) for name in program.list_commands(context)):
        if isinstance(command, click.Group):
            yield from option_flags(command)
        yield from (
            (parameter.name, max(parameter.opts, key=len))
            for parameter in command.params
            if isinstance(parameter, click.Option)
        )


LINES_APART = 5.0  # seconds, where progress is not shown in a terminal


@dataclass
class Work:
    """How far some work is: `completed` of `total`, which is None where nothing can be counted."""

    text: str
    total: float | None
    completed: float = 0.0
    description: str = ""
    started: float = field(default_factory=lambda: time.monotonic())
    updated: float = 0.0

    def update(self, *, completed: float | None = None, total: float | None = None, description: str = "") -> None:
        if completed is not None and completed != self.completed:
            self.completed, self.updated = completed, self.seconds()
        self.total = total or self.total
        self.description = printable(description) or self.description

    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self.started

    def left(self) -> float | None:
        """The seconds it still takes, if it goes on as fast; None while that is not known."""
        if not self.total or not self.completed:
            return None
        whole = self.updated * self.total / self.completed
        return max(whole - self.seconds(), 0.0) if self.completed < self.total else 0.0

    def line(self) -> str:
        """In a line: what, how much of it, for how long, and how long still."""
        parts = [self.description or self.text]
        if self.total:
            parts.append(f"{self.completed / self.total:.0%}")
        parts.append(_clock(self.seconds()))
        if (left := self.left()) is not None and self.completed < self.total:
            parts.append(f"about {_clock(left)} left")
        return ", ".join(parts)


class _WorkColumn(ProgressColumn):
    def __init__(self, work: Work) -> None:
        super().__init__()
        self._work = work

    def render(self, task: Task) -> Text:
        return Text(f"{self._work.text} {_clock(self._work.seconds())}" if task.finished else self._work.line())


@contextmanager
def _lines(work: Work, write: Callable[[str], None]) -> Iterator[None]:
    """Write a line of `work` every few seconds while the block works."""
    ended = threading.Event()

    def tell() -> None:
        while not ended.wait(LINES_APART):
            write(work.line())

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"


@dataclass
class Terminal:
    """Prints for people unless `quiet`, and one JSON object on stdout when `as_json`."""

    as_json: bool = False
    quiet: bool = False

    def __post_init__(self) -> None:
        # A descriptor of its own, so that progress stays visible while native_output.quiet holds number 2.
        stream = None if self.quiet else os.fdopen(os.dup(2), "w", encoding=sys.stderr.encoding, errors=_PLAIN_ERRORS)
        self.console = Console(file=stream, stderr=True, quiet=self.quiet, highlight=False)

    def say(self, what: RenderableType, *, style: str = "", soft_wrap: bool = False) -> None:
        """A line, or any rich renderable, on stderr. Nothing in a string is markup, and what could drive a terminal is
        escaped.
        """
        self.console.print(Text(printable(what), style) if isinstance(what, str) else what, soft_wrap=soft_wrap)

    def show(self, what: RenderableType) -> None:
        """A line of the command's result, or any rich renderable, on stdout; nothing under --json and --quiet."""
        if self.as_json or self.quiet:
            return
        if isinstance(what, str):
            sys.stdout.write(printable(what) + "\n")
        else:
            Console(file=sys.stdout, highlight=False).print(what)
        sys.stdout.flush()

    def result(self, value: dict) -> None:
        """The command's result, on stdout, only under --json."""
        if not self.as_json:
            return
        text = json.dumps(value, ensure_ascii=False, indent=1)
        try:
            text.encode(sys.stdout.encoding or "utf-8")
        except UnicodeEncodeError:  # of another encoding, or a file's name that is no text
            text = json.dumps(value, indent=1)
        sys.stdout.write(text + "\n")

    def write(self, text: str) -> None:
        """Text that was asked for, on stdout at once, unless there will be JSON."""
        if not self.as_json:
            sys.stdout.write(_CONTROL.sub(lambda match: printable(match[0]), text) if sys.stdout.isatty() else text)
            sys.stdout.flush()

    @contextmanager
    def stage(self, text: str) -> Iterator[None]:
        """Show `text` with a running clock while the block works; leave it as a finished line."""
        with self._progress(text, None):
            yield

    @contextmanager
    def bar(self, text: str, total: float) -> Iterator[Callable[..., None]]:
        """A progress bar with the time left; the block calls the yielded function with `completed=` and, if it likes,
        `total=` and `description=`.
        """
        with self._progress(text, total) as update:
            yield update

    @contextmanager
    def _progress(self, text: str, total: float | None) -> Iterator[Callable[..., None]]:
        work = Work(printable(text), total)
        unicode = self.console.encoding.startswith("utf")
        finished = Text("\u2713", "green")
        if not self.console.is_terminal:
            with _lines(work, lambda line: self.console.print(Text(line), soft_wrap=True)):
                yield work.update
            self.console.print(finished, Text(f"{work.text} {_clock(work.seconds())}"), soft_wrap=True)
            return
        spinner = SpinnerColumn("dots" if unicode else "line", finished_text=finished)
        shown = (spinner, _WorkColumn(work)) if total is None else (spinner, _WorkColumn(work), BarColumn(bar_width=12))
        with Progress(*shown, console=self.console) as progress:
            task = progress.add_task("", total=total or 1)

            def update(**fields: Any) -> None:
                work.update(**fields)
                progress.update(task, completed=work.completed, total=work.total)

            yield update
            progress.update(task, completed=progress.tasks[0].total)


# Obeyed by what is not ours and may start later: transformers and peft in this process, npm in a child.
OFFLINE = {"HF_HUB_OFFLINE": "1", "npm_config_offline": "true"}


def hub_options(command: Callable) -> Callable:
    """Add --offline to a click command whose model may be a hub id, and hand it a HubAccess as `hub`; below
    terminal_options.
    """

    @click.option("--offline", is_flag=True, help="Ask nothing of the network: a hub id is taken from the cache.")
    @functools.wraps(command)
    def wrapped(terminal: Terminal, *args: Any, offline: bool, **kwargs: Any) -> Any:
        if offline:
            os.environ.update(OFFLINE)
        access = HubAccess(offline, terminal.quiet, lambda text: terminal.say(text, soft_wrap=True))
        return command(terminal, *args, hub=access, **kwargs)

    return wrapped


def terminal_options(command: Callable) -> Callable:
    """Add --json and --quiet to a click command and hand it a Terminal as its first argument."""

    @click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object on stdout.")
    @click.option("--quiet", is_flag=True, help="Print nothing but errors (and the JSON, if asked for).")
    @functools.wraps(command)
    def wrapped(*args: Any, as_json: bool, quiet: bool, **kwargs: Any) -> Any:
        return command(Terminal(as_json, quiet), *args, **kwargs)

    return wrapped
