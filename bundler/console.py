"""What every command shares with its user: messages and progress on stderr, results on stdout."""

from __future__ import annotations

import functools
import json
import os
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Callable, Iterator

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn

from bundler.hub_id import HubAccess


@dataclass
class Terminal:
    """Prints for people unless `quiet`, and one JSON object on stdout when `as_json`."""

    as_json: bool = False
    quiet: bool = False

    def __post_init__(self) -> None:
        # A descriptor of its own, so that progress stays visible while native_output.quiet holds number 2.
        stream = os.fdopen(os.dup(2), "w") if not self.quiet else None
        self.console = Console(file=stream, stderr=True, quiet=self.quiet, highlight=False)

    def say(self, *parts: Any, **options: Any) -> None:
        """A line, or any rich renderable, on stderr."""
        self.console.print(*parts, **options)

    def result(self, value: dict) -> None:
        """The command's result, on stdout, only under --json."""
        if self.as_json:
            json.dump(value, sys.stdout, ensure_ascii=False, indent=1)
            sys.stdout.write("\n")

    @contextmanager
    def stage(self, text: str) -> Iterator[None]:
        """Show `text` with a running clock while the block works; leave it as a finished line."""
        with Progress(SpinnerColumn(finished_text="[green]✓[/]"), TextColumn("{task.description}"), TimeElapsedColumn(),
                      console=self.console) as progress:
            task = progress.add_task(text, total=1)
            yield
            progress.update(task, completed=1)

    @contextmanager
    def bar(self, text: str, total: float) -> Iterator[Callable[..., None]]:
        """A progress bar; the block calls the yielded function with `completed=` and, if it likes, `description=`."""
        with Progress(TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(),
                      console=self.console) as progress:
            task = progress.add_task(text, total=total)
            yield functools.partial(progress.update, task)


# Obeyed by what is not ours and may start later: transformers and peft in this process, npm in a child.
OFFLINE = {"HF_HUB_OFFLINE": "1", "npm_config_offline": "true"}


def hub_options(command: Callable) -> Callable:
    """Add --offline to a click command whose model may be a hub id, and hand it a HubAccess as `hub`; below terminal_options."""

    @click.option("--offline", is_flag=True, help="Ask nothing of the network: a hub id is taken from the cache.")
    @functools.wraps(command)
    def wrapped(terminal: Terminal, *args: Any, offline: bool, **kwargs: Any) -> Any:
        if offline:
            os.environ.update(OFFLINE)
        access = HubAccess(offline, terminal.quiet, lambda text: terminal.say(text, markup=False, soft_wrap=True))
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
