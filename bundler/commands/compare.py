"""task-bundler compare"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bundler.checkpoints.hub_id import HubAccess
from bundler.commands.console import COUNT, InputPath, Terminal, hub_options, terminal_options
from bundler.system.output_folder import staged_folder


def _recipes(context: click.Context, parameter: click.Parameter, value: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in value.split(",") if name.strip())


@click.command("compare")
@click.argument("model")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder for the page and JSON.")
@click.option(
    "--recipes",
    default="fp16,int8,int4-block32",
    show_default=True,
    callback=_recipes,
    metavar="NAME,...",
    help="Each is built and measured.",
)
@click.option(
    "--text",
    "texts",
    multiple=True,
    type=InputPath(),
    help="Text file or folder for perplexity and KL divergence. May be given several times. [default: a few built-in "
    "lines]",
)
@click.option("--context", type=int, help="Tokens the KV cache holds. [default: the model's positions]")
@click.option("--tokenizer", type=InputPath(), help="Folder of the vocabulary, if it is not beside the weights.")
@click.option("--revision", help="Branch, tag or commit of a hub model.")
@click.option("--rounds", default=3, show_default=True, type=COUNT, help="Turns of each recipe for the speed.")
@click.option("--force", is_flag=True, help="Replace an output that exists.")
@terminal_options
@hub_options
def command(
    terminal: Terminal,
    output: Path,
    recipes: tuple[str, ...],
    rounds: int,
    force: bool,
    hub: HubAccess,
    **options: Any,
) -> None:
    """Build MODEL in several recipes, and make a table of size, KL divergence, perplexity and speed on this machine.

    The bundles are not kept, and not verified: `task-bundler build --quant` makes the one that you choose.

    Example: task-bundler compare gpt2_training/sample --recipes int8,int4-block32 -o out/recipes
    """
    from bundler.system.native_output import quiet

    with terminal.stage("Loading PyTorch and the converter"), quiet():
        from bundler.commands.recipe_table import recipe_table
        from bundler.pipeline.compare_recipes import CompareOptions, compare_recipes, write_comparison
        from bundler.pipeline.plan import BuildOptions
        from bundler.verification.gate import Progress

    asked = CompareOptions(BuildOptions(output=output, hub=hub, **options), recipes, rounds)
    with staged_folder(output, force, asked.build.inputs()) as folder:
        result = compare_recipes(asked, Progress(terminal.stage, terminal.bar))
        write_comparison(result, folder)
    terminal.show(recipe_table(result))
    terminal.show(f"{output / 'comparison.html'}")
    terminal.result(result)
