"""task-bundler bench"""

from __future__ import annotations

from pathlib import Path

import click

from bundler.commands.console import COUNT, BundlePath, Terminal, lengths, terminal_options
from bundler.system.atomic_file import replacing
from bundler.system.output_folder import check_output_file


@click.command("bench")
@click.argument("files", type=BundlePath(), nargs=-1, required=True, metavar="FILE...")
@click.option(
    "--against",
    "model",
    help="The checkpoint: it is timed in PyTorch, and the KL divergence from it is taken.",
)
@click.option("--rounds", default=3, show_default=True, type=COUNT, help="Turns of each file; the median counts.")
@click.option("--threads", type=COUNT, help="[default: the cores of this machine, at most 4]")
@click.option("--tokens", default=64, show_default=True, type=COUNT, help="Tokens to write at each context.")
@click.option(
    "--prefill-lengths",
    default="16,128,512",
    show_default=True,
    callback=lengths,
    help="Tokens of the prompts to read.",
)
@click.option(
    "--decode-lengths",
    default="1,128,512,900",
    show_default=True,
    callback=lengths,
    help="Tokens of context to write after.",
)
@click.option("--plot", type=click.Path(path_type=Path), help="Also draw decode over the context, as an .svg file.")
@click.option("--force", is_flag=True, help="Overwrite an existing --plot file.")
@terminal_options
def command(
    terminal: Terminal,
    files: tuple[Path, ...],
    model: str | None,
    rounds: int,
    threads: int | None,
    tokens: int,
    prefill_lengths: tuple[int, ...],
    decode_lengths: tuple[int, ...],
    plot: Path | None,
    force: bool,
) -> None:
    """Measure how fast .task and .litertlm files start, read and write in LiteRT-LM, on this machine's CPU.

    Several files take turns, each in processes of its own. Beside decode stand what reading the memory of this machine
    allows, and an estimate for phones that rests on the bandwidth of their memory alone. docs/PERFORMANCE.md explains
    each figure. Leave the machine to it: other work takes its memory away.

    Example: task-bundler bench out/sample/sample.litertlm --against gpt2_training/sample
    """
    if plot is not None:
        check_output_file(plot, force, files)
    with terminal.stage("Loading the engine"):
        from bundler.pipeline.bench import BenchOptions, bench
        from bundler.pipeline.bench_tables import bench_tables, remarks

    options = BenchOptions(model, prefill_lengths, decode_lengths, tokens, rounds, threads)
    with terminal.bar("Measuring", total=1) as update:
        result = bench(files, options, lambda done, of, text: update(completed=done, total=of, description=text))
    for table in bench_tables(result):
        terminal.write(table + "\n")
    for remark in remarks(result):
        terminal.say(remark, style="dim")
    if plot is not None:
        from bundler.pipeline.bench_plot import write_plot

        with replacing(plot) as file:
            write_plot(result["results"], file)
    terminal.result(result)
