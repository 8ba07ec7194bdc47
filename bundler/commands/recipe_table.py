"""Recipes side by side, as a table of 80 columns for the terminal."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from tokenizer_tools.printable import printable


def recipe_table(result: dict[str, Any]) -> Table:
    """One row a recipe: size, divergence, perplexity, speed."""
    table = Table(title=Text(printable(result["model"])), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("recipe")
    for column in ("MB", "KL, nats", "perplexity", "same top", "tokens/s", "memory\nMB"):
        table.add_column(column, justify="right")
    for name, row in result["recipes"].items():
        table.add_row(
            name,
            f"{row['bytes']['litertlm'] / 1e6:.1f}",
            f"{row['mean_kl']:.1e}",
            f"{row['perplexity']:.2f} ± {row['perplexity_error']:.2f}",
            f"{row['same_top']:.1%}",
            f"{row['decode']['median']:,.0f}",
            f"{row['memory']['median'] / 1e6:,.0f}",
        )
    return table
