"""The parts of a build that take long: each in a process of its own, showing how far it is."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Iterator

from bundler.conversion.convert import Calibration, Export, export_model
from bundler.conversion.exported_weights import exported_weights
from bundler.conversion.recipes import Recipe
from bundler.system.isolated import Run, isolation, run_isolated
from bundler.verification.gate import Progress

# What converting and writing weights import, for seconds.
IMPORTED = ("litert_torch", "bundler.conversion.convert")


@dataclass(frozen=True)
class Worker:
    """Calls functions in processes of their own. `progress` shows it."""

    run: Run = run_isolated
    progress: Progress = Progress()

    def stage(self, title: str, what: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call `function(*arguments)`; `what` begins the message of a failure."""
        with self.progress.stage(title):
            return self.run(what, function, *arguments)

    def bar(self, title: str, total: float, what: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """The same of a function that is given one more argument, which it tells how much it has done of `total`."""
        with self.progress.bar(title, total) as done:
            return self.run(what, function, *arguments, report=lambda n: done(completed=n))


@contextmanager
def warm_worker(progress: Progress) -> Iterator[Worker]:
    """Yields a Worker whose processes have imported the converter."""
    with isolation(*IMPORTED) as run:
        yield Worker(run, progress)


def write_weights(
    export: Export, graph: Path, recipe: Recipe, output: Path, calibration: Calibration | None, worker: Worker
) -> None:
    """Write the file `output`: the graph, with the checkpoint's weights as the recipe stores them."""
    weights = exported_weights(export.open(), export.signatures.context, export.rows)
    total = sum(recipe.storage(name).bytes(weight.shape) for name, weight in weights.items())
    rounded = ", rounded by GPTQ" if calibration else ""
    title = f"Writing {total / 1e6:,.0f} MB of weights{rounded} ({output.stem})"
    arguments = (export, graph, recipe, output, calibration)
    worker.bar(title, total, "writing the weights", export_model, *arguments)
