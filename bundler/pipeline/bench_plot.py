"""Decode over the length of the context, as a picture for light and dark pages."""

from __future__ import annotations

import io
from typing import Any, BinaryIO, Sequence

# Readable on white and on black. What is drawn in INK takes the color of the page's text.
COLORS = ("#d1495b", "#2a9d8f", "#e08a00", "#4c78c8", "#9b5de5", "#7a8b99", "#b5651d", "#c0569e", "#6a994e", "#3fa7d6")
INK = "#010203"
STYLE = b"""<style>:root { --ink: #1b2422; --page: #ffffff; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edeb; --page: #0d1117; } }
svg { background: var(--page); }</style>
"""


def write_plot(results: Sequence[dict[str, Any]], output: BinaryIO) -> None:
    """Draw the decode speeds of the `results` of `bench`, and what memory allows the first of them, as SVG."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "bench"  # else ids in the file are random
    matplotlib.rcParams["svg.fonttype"] = "none"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 4.8))
    for index, measured in enumerate(results):
        points = sorted((int(length), speed) for length, speed in measured["decode"].items())
        color = COLORS[index % len(COLORS)]
        x, y = [length for length, _ in points], [speed["median"] for _, speed in points]
        around = [
            [speed["median"] - speed["least"] for _, speed in points],
            [s["most"] - s["median"] for _, s in points],
        ]
        line = "-" if "floor" in measured else "--"
        axes.errorbar(x, y, around, color=color, marker="o", markersize=4, capsize=2, linestyle=line)
        axes.plot([], [], color=color, marker="o", markersize=4, linestyle=line, label=measured["name"])
    floors = [measured for measured in results if "floor" in measured]
    for measured in floors[:1]:
        points = sorted((int(length), floor["tokens_per_second"]) for length, floor in measured["floor"].items())
        axes.plot(*zip(*points), color=INK, linestyle=":", label=f"memory allows {measured['name']}")
    axes.set_xlabel("tokens of context", color=INK)
    axes.set_ylabel("decode, tokens a second", color=INK)
    axes.set_ylim(bottom=0)
    axes.tick_params(colors=INK)
    axes.grid(alpha=0.3)
    for spine in axes.spines.values():
        spine.set_color(INK)
    axes.legend(labelcolor=INK, framealpha=0, fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1))
    figure.tight_layout()
    svg = io.BytesIO()
    figure.savefig(svg, format="svg", metadata={"Date": None}, transparent=True)
    pyplot.close(figure)
    text = svg.getvalue().replace(INK.encode(), b"var(--ink)")
    output.write(text.replace(b" <defs>", STYLE + b" <defs>", 1))
