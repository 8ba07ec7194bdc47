"""Pictures for light and dark pages: decode over the length of the context."""

from __future__ import annotations

import contextlib
import io
from typing import TYPE_CHECKING, Any, BinaryIO, Iterator, Sequence

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Readable on white and on black. What is drawn in INK takes the color of the page's text.
COLORS = ("#d1495b", "#2a9d8f", "#e08a00", "#4c78c8", "#9b5de5", "#7a8b99", "#b5651d", "#c0569e", "#6a994e", "#3fa7d6")
INK = "#010203"
STYLE = b"""<style>:root { --ink: #1b2422; --page: #ffffff; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edeb; --page: #0d1117; } }
svg { background: var(--page); }</style>
"""


@contextlib.contextmanager
def adaptive_svg(output: BinaryIO, size: tuple[float, float], panels: int = 1) -> Iterator[list[Axes]]:
    """Yield the axes of `panels` side by side; what is drawn in them is written as SVG. `size`: in inches."""
    import matplotlib

    matplotlib.use("svg")
    settings = {
        "svg.hashsalt": "bench",  # else ids in the file are random
        "svg.fonttype": "none",
        **dict.fromkeys(("axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK),
    }
    with matplotlib.rc_context(settings):
        from matplotlib import pyplot

        figure, axes = pyplot.subplots(1, panels, figsize=size, squeeze=False)
        for panel in axes[0]:
            panel.grid(alpha=0.3)
        yield list(axes[0])
        figure.tight_layout()
        svg = io.BytesIO()
        figure.savefig(svg, format="svg", metadata={"Date": None}, transparent=True)
        pyplot.close(figure)
    text = svg.getvalue().replace(INK.encode(), b"var(--ink)")
    output.write(text.replace(b" <defs>", STYLE + b" <defs>", 1))


def write_plot(results: Sequence[dict[str, Any]], output: BinaryIO) -> None:
    """Draw the decode speeds of the `results` of `bench`, and what memory allows the first of them, as SVG."""
    with adaptive_svg(output, (8, 4.8)) as (axes,):
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
        axes.set_xlabel("tokens of context")
        axes.set_ylabel("decode, tokens a second")
        axes.set_ylim(bottom=0)
        axes.legend(labelcolor=INK, framealpha=0, fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1))
