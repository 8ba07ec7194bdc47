"""task-bundler sample"""

from __future__ import annotations

from pathlib import Path

import click

from bundler.commands.console import InputPath, Terminal, terminal_options
from bundler.commands.prompt import read_prompt


@click.command("sample")
@click.argument("folder", type=InputPath())
@click.option("-p", "--prompt", help="[default: words from the text that was held out, else none]")
@click.option("-n", "--max-tokens", default=128, show_default=True, type=click.IntRange(1))
@click.option("--temperature", default=0.8, show_default=True, type=click.FloatRange(0), help="0 is greedy.")
@click.option("--top-k", default=40, show_default=True, type=click.IntRange(1))
@click.option("--seed", default=0, show_default=True)
@terminal_options
def command(
    terminal: Terminal, folder: Path, prompt: str | None, max_tokens: int, temperature: float, top_k: int, seed: int
) -> None:
    """Continue a text with a checkpoint FOLDER in PyTorch: what the bundle made from it should write too.

    Example: task-bundler sample gpt2_training/sample -p "class Stack:"
    """
    from bundler.system.native_output import quiet

    prompt = None if prompt is None else read_prompt(prompt)
    with quiet():
        from gpt2_training.generate import load_sampler, sample
        from gpt2_training.vocabulary import outside_alphabet

        sampler = load_sampler(folder)
    prompt = sampler.prompt if prompt is None else prompt
    if sampler.alphabet is not None and (outside := outside_alphabet(prompt, sampler.alphabet)):
        terminal.say(f"not in the alphabet this model learned, and spelled in bytes: {outside}")
    text = ""
    for piece in sample(sampler, prompt, max_tokens, temperature, top_k, seed):
        terminal.write((prompt if not text else "") + piece)
        text += piece
    terminal.write("\n" if text else f"{prompt}\n")
    terminal.result({"prompt": prompt, "text": text})
