"""What the recipe `auto` chose, and why, as a table."""

from __future__ import annotations

from typing import Any

from rich.table import Table
from rich.text import Text


def mix_table(mix: dict[str, Any]) -> Table:
    """One row a layer, one column a part: its recipe, the divergence in it, and in brackets those in the others.

    `mix` is the manifest's.
    """
    parts = mix["parts"]
    columns = list(dict.fromkeys(part.partition(".")[2] for part in parts))
    table = Table("layer", *columns, title=Text(_reason(mix)), title_justify="left")
    for layer in dict.fromkeys(part.partition(".")[0] for part in parts):
        table.add_row(layer, *(Text(_cell(parts[f"{layer}.{column}"])) for column in columns))
    return table


def _reason(mix: dict[str, Any]) -> str:
    chosen = ", ".join(f"{count} in {recipe}" for recipe, count in mix["recipes"].items())
    if mix["max_bytes"] is not None:
        limit = f"the closest to PyTorch of all mixes of at most {mix['max_bytes'] / 1e6:g} MB"
    else:
        limit = f"the smallest of all mixes of at most {mix['max_kl']:g} nats"
    return (
        f"Parts of layers: {chosen}. It is {limit}. The mean KL divergences that each part brings by itself, in nats, "
        f"add up to {mix['kl']:.2g}."
    )


def _cell(part: dict[str, Any]) -> str:
    """The chosen recipe with its divergence, then the other recipes' in their order."""
    others = ", ".join(f"{recipe} {kl:.1e}" for recipe, kl in part["kl"].items() if recipe != part["recipe"])
    return f"{part['recipe']} {part['kl'][part['recipe']]:.1e}\n({others})"
