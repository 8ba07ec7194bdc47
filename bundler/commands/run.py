"""task-bundler run"""

from __future__ import annotations

import secrets
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bundler.commands.console import AdapterPath, BundlePath, Terminal, terminal_options
from bundler.commands.prompt import read_prompt
from bundler.commands.session import SEED, Request, Session
from bundler.errors import OptionError

if TYPE_CHECKING:
    from bundler.engines.litertlm import LiteRtLmEngine


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
@click.option("--seed", type=SEED, help="Makes sampling repeatable. [default: a random one, which is said]")
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
    request = Request("", max_tokens, Sampling(temperature, top_k, top_p, seed), next(iter(adapters), None))
    interactive = prompt is None and sys.stdin.isatty()
    if not interactive:
        request = replace(request, prompt=read_prompt(prompt))
    first = FIRST_LENGTH if interactive else _likely_tokens(request.prompt) + max_tokens
    with open_engine(file, max_tokens=context, first=first, timed=True) as engine:
        if request.adapter:
            engine.check_adapter(request.adapter)
        if interactive:
            Session(terminal, engine, request, lambda request: _complete(terminal, engine, request)).run()
            return
        if show_tokens:
            ids = engine.tokenize(request.prompt)
            terminal.result({"prompt": request.prompt, "ids": ids, "start_token": engine.start_token_id})
            terminal.write(" ".join(map(str, ids)) + "\n")
            return
        result = _complete(terminal, engine, request)
        adapter = request.adapter and str(request.adapter)
        terminal.result({"file": str(file), "adapter": adapter, "prompt": request.prompt, **result})


def _likely_tokens(text: str) -> int:
    """About how many tokens a text takes, rather too many: where it takes more, the engine has to be opened again."""
    return len(text.encode()) // BYTES_A_TOKEN + 1


def _complete(terminal: Terminal, engine: LiteRtLmEngine, request: Request) -> dict:
    sampling = request.sampling
    if not sampling.greedy and sampling.seed is None:
        sampling = replace(sampling, seed=secrets.randbelow(SEED.max))
    started, first, text = time.perf_counter(), None, ""
    for piece in engine.generate(request.prompt, request.max_tokens, sampling, request.adapter):
        if first is None:  # a prompt that is refused is not shown
            first = time.perf_counter()
            terminal.write(request.prompt)
        text += piece
        terminal.write(piece)
    ended = time.perf_counter()
    terminal.write("\n" if first else f"{request.prompt}\n")
    tokens = engine.tokens_written or 0
    figures = {
        "prompt_tokens": len(engine.tokenize(request.prompt)) + (engine.start_token_id is not None),
        "tokens": tokens,
        "seed": None if sampling.greedy else sampling.seed,
        "seconds_to_first": round((first or ended) - started, 4),
        "tokens_per_second": round(max(tokens - 1, 0) / max(ended - (first or ended), 1e-9), 1),
        "cache_tokens": engine.cache.tokens,
    }
    growing = f"; a growing cache, of {engine.cache.tokens} tokens now" if engine.cache.most else ""
    drawn = "greedy" if sampling.greedy else f"seed {sampling.seed}"
    terminal.say(
        f"{figures['prompt_tokens']} tokens in, {tokens} out, {drawn}; first after "
        f"{figures['seconds_to_first'] * 1000:.0f} ms, then {figures['tokens_per_second']:.0f} tokens/s{growing}",
        style="dim",
    )
    return {"text": text, **figures}
