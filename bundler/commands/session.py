"""The interactive session of `task-bundler run`: texts to continue, and words that begin with a slash."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Callable

import click

from bundler.commands.console import Terminal, with_flags
from bundler.commands.prompt import read_prompt
from bundler.errors import BundleError
from bundler.system.signals import only_answer_interrupted
from lora_weights.errors import LoraError

if TYPE_CHECKING:
    from bundler.engines.litertlm import LiteRtLmEngine, Sampling

SEED = click.IntRange(0, (1 << 31) - 1)  # LiteRT-LM takes an int32
GREETING = "Type a text to continue; /help says what else; an empty line or Ctrl-D ends."
HELP = """/again             continue the last text anew; with another seed, unless /seed holds one
/seed N            draw every text from N; /seed alone: from a random number each time
/temperature T     0 is greedy
/adapter FILE      swap the adapter; /adapter alone goes back to the base
/help              this
Ctrl-C ends an answer, an empty line or Ctrl-D the session. A text that begins with one of
these words takes a space before it."""


@dataclass(frozen=True)
class Request:
    """A text to continue, and how. Without a seed in `sampling`, each text is drawn from a random one."""

    prompt: str
    max_tokens: int
    sampling: Sampling
    adapter: Path | None = None


@dataclass
class Session:
    """What the next text is written with. `write` writes one."""

    terminal: Terminal
    engine: LiteRtLmEngine
    request: Request
    write: Callable[[Request], dict]

    def run(self) -> None:
        """Read lines until one is empty, or the input ends."""
        self.terminal.say(GREETING)
        while True:
            try:
                line = input("> ")
                if not line.strip():
                    return
                self._answer(line)
            except EOFError:
                return
            except KeyboardInterrupt:
                if not only_answer_interrupted():
                    raise
                self.terminal.write("\n")
                self.terminal.say("stopped; an empty line or Ctrl-D ends the session", style="dim")
            except UnicodeDecodeError as error:
                self.terminal.say(f"this line is no {error.encoding} text; type it again")
            except (BundleError, LoraError) as error:
                self._remark(str(error))

    def _answer(self, line: str) -> None:
        word, _, value = line.partition(" ")
        act = {
            "/again": self._again,
            "/seed": self._seed,
            "/temperature": self._temperature,
            "/adapter": self._adapter,
            "/help": lambda value: self._remark(HELP),
        }.get(word.strip())
        if act:
            act(value.strip())
            return
        self.request = replace(self.request, prompt=read_prompt(line))
        self.write(self.request)

    def _again(self, value: str) -> None:
        if not self.request.prompt:
            self.terminal.say("there is no text yet; type one")
            return
        self.write(self.request)

    def _seed(self, value: str) -> None:
        try:
            seed = SEED.convert(value, None, None) if value else None
        except click.BadParameter as error:
            self.terminal.say(f"/seed: {error.message} Give a number, or nothing")
            return
        self._sample(seed=seed)
        self.terminal.say("a random seed for each text" if seed is None else f"seed {seed} for every text", style="dim")

    def _temperature(self, value: str) -> None:
        try:
            self._sample(temperature=float(value))
        except ValueError:
            self.terminal.say(f"/temperature {value}: expected a number, such as 0.8; 0 is greedy")
            return
        self.terminal.say(f"temperature {self.request.sampling.temperature:g}", style="dim")

    def _sample(self, **changes: float | None) -> None:
        self.request = replace(self.request, sampling=replace(self.request.sampling, **changes))

    def _adapter(self, name: str) -> None:
        current = self.request.adapter
        try:
            chosen = Path(os.path.expanduser(name)) if name else None
            if chosen:
                self.engine.check_adapter(chosen)
            seconds = self.engine.swap_seconds(chosen, self.request.max_tokens, self.request.sampling)
        except (BundleError, LoraError) as error:
            raise BundleError(f"{error}; going on with {current or 'the base'}") from error
        self.request = replace(self.request, adapter=chosen)
        self.terminal.say(f"{chosen or 'the base'} from now on, after {seconds * 1000:.0f} ms", style="dim")

    def _remark(self, text: str) -> None:
        for line in with_flags(text, click.get_current_context().find_root().command).split("\n"):
            self.terminal.say(line)
