"""task-bundler run"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bundler.commands.console import AdapterPath, BundlePath, Terminal, terminal_options, with_flags
from bundler.commands.prompt import read_prompt
from bundler.errors import BundleError, OptionError
from lora_weights.errors import LoraError

if TYPE_CHECKING:
    from bundler.engines.litertlm import LiteRtLmEngine, Sampling


# In English and in programs, a token of GPT-2's is four bytes, and one of a small vocabulary three.
BYTES_A_TOKEN = 3


@click.command("run")
@click.argument("file", type=BundlePath())
@click.option("-p", "--prompt", help="Text to continue. Without it: an interactive session, or standard input.")
@click.option(
    "-n", "--max-tokens", default=128, show_default=True, type=click.IntRange(1), help="Tokens to write at most."
)
@click.option("--temperature", default=0.8, show_default=True, help="0 is greedy.")
@click.option("--top-k", default=40, show_default=True)
@click.option("--top-p", default=1.0, show_default=True)
@click.option("--seed", type=int, help="Makes sampling repeatable.")
@click.option(
    "--context",
    type=click.IntRange(2),
    help="Tokens of prompt and output together. [default: the file's, of which a growing cache takes what it needs]",
)
@click.option(
    "--adapter",
    "adapters",
    multiple=True,
    type=AdapterPath(),
    help="Adapter file to use; /adapter FILE swaps in an interactive session.",
)
@click.option(
    "--show-tokens", is_flag=True, help="Print the prompt's token ids, as this file's tokenizer gives them, and stop."
)
@terminal_options
def command(
    terminal: Terminal,
    file: Path,
    prompt: str | None,
    max_tokens: int,
    temperature: float,
    top_k: int,
    top_p: float,
    seed: int | None,
    context: int | None,
    adapters: tuple[Path, ...],
    show_tokens: bool,
) -> None:
    """Continue a text with a .task or .litertlm FILE in LiteRT-LM, on this machine's CPU, streaming.

    Example: task-bundler run out/sample/sample.litertlm -p "def "
    """
    from bundler.engines.litertlm import FIRST_LENGTH, Sampling, open_engine

    if len(adapters) > 1:
        raise OptionError(
            f"{len(adapters)} adapters were given ({', '.join(map(str, adapters))}); a text is written with one; give "
            "one, and swap in an interactive session with /adapter FILE"
        )
    adapter = next(iter(adapters), None)
    sampling = Sampling(temperature, top_k, top_p, seed)
    interactive = prompt is None and sys.stdin.isatty()
    if not interactive:
        prompt = read_prompt(prompt)
    first = FIRST_LENGTH if prompt is None else _likely_tokens(prompt) + max_tokens
    with open_engine(file, max_tokens=context, first=first) as engine:
        if adapter:
            engine.check_adapter(adapter)
        if interactive:
            _converse(terminal, engine, max_tokens, sampling, adapter)
            return
        if show_tokens:
            ids = engine.tokenize(prompt)
            terminal.result({"prompt": prompt, "ids": ids, "start_token": engine.start_token_id})
            terminal.write(" ".join(map(str, ids)) + "\n")
            return
        result = _complete(terminal, engine, prompt, max_tokens, sampling, adapter)
        terminal.result({"file": str(file), "adapter": adapter and str(adapter), "prompt": prompt, **result})


def _likely_tokens(text: str) -> int:
    """About how many tokens a text takes, rather too many: where it takes more, the engine has to be opened again."""
    return len(text.encode()) // BYTES_A_TOKEN + 1


def _complete(
    terminal: Terminal, engine: LiteRtLmEngine, prompt: str, max_tokens: int, sampling: Sampling, adapter: Path | None
) -> dict:
    started, first, text = time.perf_counter(), None, ""
    for piece in engine.generate(prompt, max_tokens, sampling, adapter):
        if first is None:  # a prompt that is refused is not shown
            first = time.perf_counter()
            terminal.write(prompt)
        text += piece
        terminal.write(piece)
    ended = time.perf_counter()
    terminal.write("\n" if first else f"{prompt}\n")
    tokens = len(engine.tokenize(text))
    figures = {
        "prompt_tokens": len(engine.tokenize(prompt)) + (engine.start_token_id is not None),
        "tokens": tokens,
        "seconds_to_first": round((first or ended) - started, 4),
        "tokens_per_second": round(max(tokens - 1, 0) / max(ended - (first or ended), 1e-9), 1),
        "cache_tokens": engine.cache.tokens,
    }
    growing = f"; a growing cache, of {engine.cache.tokens} tokens now" if engine.cache.most else ""
    terminal.say(
        f"{figures['prompt_tokens']} tokens in, {tokens} out; first after {figures['seconds_to_first'] * 1000:.0f} ms, "
        f"then {figures['tokens_per_second']:.0f} tokens/s{growing}",
        style="dim",
    )
    return {"text": text, **figures}


def _converse(
    terminal: Terminal, engine: LiteRtLmEngine, max_tokens: int, sampling: Sampling, adapter: Path | None
) -> None:
    terminal.say(
        "Type a text to continue; /adapter FILE swaps the adapter, /adapter alone goes back to the base; an empty line "
        "or Ctrl-D ends."
    )
    while True:
        try:
            prompt = input("> ")
        except (EOFError, KeyboardInterrupt):
            return
        except UnicodeDecodeError as error:
            terminal.say(f"this line is no {error.encoding} text; type it again")
            continue
        if not prompt.strip():
            return
        if prompt.split()[0] == "/adapter":
            adapter = _swap(terminal, engine, prompt.removeprefix("/adapter").strip(), adapter, max_tokens, sampling)
        else:
            try:
                _complete(terminal, engine, read_prompt(prompt), max_tokens, sampling, adapter)
            except BundleError as error:
                _remark(terminal, str(error))


def _remark(terminal: Terminal, text: str) -> None:
    for line in with_flags(text, click.get_current_context().find_root().command).split("\n"):
        terminal.say(line)


def _swap(
    terminal: Terminal, engine: LiteRtLmEngine, name: str, current: Path | None, max_tokens: int, sampling: Sampling
) -> Path | None:
    """The adapter to go on with; the current one if the named one cannot be used."""
    try:
        chosen = Path(os.path.expanduser(name)) if name else None
        if chosen:
            engine.check_adapter(chosen)
        seconds = engine.swap_seconds(chosen, max_tokens, sampling)
    except (BundleError, LoraError) as error:
        _remark(terminal, f"{error}; going on with {current or 'the base'}")
        return current
    terminal.say(f"{chosen or 'the base'} from now on, after {seconds * 1000:.0f} ms", style="dim")
    return chosen
