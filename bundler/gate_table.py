"""Gates as a table for the terminal."""

from __future__ import annotations

from typing import Sequence

from rich.table import Table

from bundler.gate import Gate


def gate_table(title: str, gates: Sequence[Gate]) -> Table:
    """One row a gate: its name, the result, what was found."""
    table = Table("check", "", "found", title=title, title_justify="left")
    for gate in gates:
        table.add_row(gate.name, "[green]passed[/]" if gate.passed else "[red]FAILED[/]", gate.found + "".join(f"; {name} {seconds * 1e3:,.0f} ms" for name, seconds in gate.seconds.items()))
    return table
