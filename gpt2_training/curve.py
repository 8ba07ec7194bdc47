"""The loss curve of a training as a picture."""

from __future__ import annotations

from pathlib import Path


def write_curve(record: dict, output: Path) -> None:
    """Draw the training and held-out loss of a record (`training.json`) over its steps, as SVG."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "curve"  # else ids in the file are random
    from matplotlib import pyplot

    steps = record["curve"]
    held_out = [(step["step"], step["held_out"]) for step in steps if step["held_out"] is not None]
    figure, axes = pyplot.subplots(figsize=(7, 4))
    axes.plot(
        [step["step"] for step in steps],
        [step["loss"] for step in steps],
        color="0.7",
        linewidth=1,
        label="one training batch",
    )
    axes.plot(*zip(*held_out), color="tab:blue", marker="o", markersize=3, label="held out")
    axes.set_xlabel("step")
    axes.set_ylabel("cross-entropy, nats per token")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(output, metadata={"Date": None})
    pyplot.close(figure)
