"""task-bundler doctor"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click
from rich.console import Console

from bundler.commands.console import Terminal, terminal_options
from bundler.errors import BundleError, OptionError, VerificationError
from tokenizer_tools.printable import printable


@click.command("doctor")
@click.argument("files", type=click.Path(path_type=Path), nargs=-1, required=True, metavar="FILE...")
@terminal_options
def command(terminal: Terminal, files: tuple[Path, ...]) -> None:
    """Say what is in FILE, of any maker, and what a phone would say of it.

    FILE is a .task, .litertlm or .tflite file, an adapter or a SentencePiece model, told apart by its content. Nothing
    in it is run or unpacked. Of a folder every such file is examined, and of a folder in it. Several files are held
    against each other too: adapters, tokenizers and bundles that do not belong together. A SHA256SUMS beside a file is
    compared. docs/FINDINGS.md lists every finding. Exit code 3 if there is an error among them, 0 otherwise. --json
    gives one object for one file, and a list for several or a folder.

    Example: task-bundler doctor out/sample/sample.task
    """
    from bundler.doctor.tables import report_tables
    from bundler.doctor.together import check_together, known_files

    paths = list(dict.fromkeys(path for given in files for path in (known_files(given) if given.is_dir() else [given])))
    reports, unreadable = _examined(paths)
    check_together(reports)
    if not terminal.as_json and not terminal.quiet:
        console = Console(file=sys.stdout, highlight=False)
        for report in reports:
            console.print(*report_tables(report), sep="\n", end="\n" if report is reports[-1] else "\n\n")
    results = [report.as_dict() for report in reports]
    if results:
        terminal.result(results[0] if list(files) == paths[:1] else results)
    failed = [
        f"{printable(str(report.path))}: {', '.join(dict.fromkeys(finding.code for finding in report.errors))}"
        for report in reports
        if report.errors
    ]
    if failed:
        raise VerificationError("; ".join([*failed, *unreadable]))
    if unreadable:
        missing = [path for path in paths if not os.path.exists(path)]
        raise (OptionError if missing else BundleError)("; ".join(unreadable))


def _examined(paths: list[Path]) -> tuple[list, list[str]]:
    """(the reports, why the other files cannot be read)"""
    from bundler.doctor.examine import examine

    reports, unreadable = [], []
    for path in paths:
        try:
            reports.append(examine(path))
        except BundleError as error:
            unreadable.append(str(error))
    return reports, unreadable
