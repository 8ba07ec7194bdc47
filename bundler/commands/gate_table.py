"""Gates as a table for the terminal."""

from __future__ import annotations

from typing import Sequence

from rich.table import Table
from rich.text import Text

from bundler.verification.gate import Gate
from tokenizer_tools.printable import printable


def gate_table(title: str, gates: Sequence[Gate]) -> Table:
    """One row a gate: its name, the result, what was found."""
    table = Table("check", "", "found", title=Text(printable(title)), title_justify="left")
    for gate in gates:
        times = "".join(f"; {name} {seconds * 1e3:,.0f} ms" for name, seconds in gate.seconds.items())
        table.add_row(
            Text(printable(gate.name)),
            Text(gate.result, "yellow" if gate.skipped else "green" if gate.passed else "red"),
            Text(printable(gate.found + times)),
        )
    return table
