"""task-bundler repack"""

from __future__ import annotations

from pathlib import Path

import click

from bundler.commands.console import BundlePath, InputPath, Terminal, terminal_options


@click.command("repack")
@click.argument("source", type=BundlePath(), metavar="IN")
@click.argument("output", type=click.Path(path_type=Path), metavar="OUT")
@click.option(
    "--tokenizer",
    type=InputPath(),
    help="The checkpoint's vocabulary, for a .litertlm with Hugging Face's tokenizer. [default: the .task's "
    "SentencePiece model]",
)
@click.option("--force", is_flag=True, help="Replace an output that exists.")
@terminal_options
def command(terminal: Terminal, source: Path, output: Path, tokenizer: Path | None, force: bool) -> None:
    """Put the model of a .task into a .litertlm, or that of a .litertlm into a .task, and see LiteRT-LM write the same
    from both.

    Example: task-bundler repack out/sample/sample.task sample.litertlm
    """
    from bundler.pipeline.repack import repack

    repacked = repack(source, output, tokenizer=tokenizer, force=force, stage=terminal.stage)
    size = output.stat().st_size
    terminal.show(f"{output}, {size:,} bytes")
    for note in repacked.notes:
        terminal.say(note)
    terminal.result({"output": str(output), "bytes": size, "notes": list(repacked.notes)})
