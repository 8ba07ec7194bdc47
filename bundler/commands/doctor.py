"""task-bundler doctor"""

from __future__ import annotations

from pathlib import Path

import click

from bundler.console import Terminal, terminal_options
from bundler.errors import VerificationError


@click.command("doctor")
@click.argument("file", type=click.Path(path_type=Path))
@terminal_options
def command(terminal: Terminal, file: Path) -> None:
    """Say what is in FILE, of any maker, and what a phone would say of it.

    FILE is a .task, .litertlm or .tflite file, an adapter or a SentencePiece model, told apart by its content. Nothing in
    it is run or unpacked. docs/FINDINGS.md lists every finding. Exit code 3 if there is an error among them, 0 otherwise.

    Example: task-bundler doctor out/sample/sample.task
    """
    from bundler.doctor.examine import examine
    from bundler.doctor.tables import report_tables

    report = examine(file)
    for part in report_tables(report):
        terminal.say(part)
    terminal.result(report.as_dict())
    if report.errors:
        codes = ", ".join(dict.fromkeys(finding.code for finding in report.errors))
        raise VerificationError(f"{file}: {codes}")
