"""Time and peak memory of builds, and how both grow with the model.

    python benchmarks/random_checkpoint.py 124M -o /tmp/gpt2-124M
    python benchmarks/build_cost.py /tmp/gpt2-124M --quant int8
    python benchmarks/build_cost.py /tmp/gpt2-124M /tmp/gpt2-355M /tmp/gpt2-774M --verify --plot growth.svg
    python benchmarks/build_cost.py /tmp/gpt2-124M --verify --parts

The peak is that of the largest process, as /usr/bin/time -v counts it: a build has several (Linux only). `together` is
the most that all of them held at a time, what they share counted once. The time of the processor is that of all cores
together: what else the machine does changes it less than the time that passes.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import resource
import statistics
import tempfile
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Iterator, Sequence

from bundler.system.machine import kilobytes

SECONDS_A_LOOK = 0.2


@dataclass
class Memory:
    """The most seen in a part of a build, in bytes. `mapped`: of the largest process, pages of files. `together`: all
    processes.
    """

    largest: int = 0
    mapped: int = 0
    together: int = 0

    def look(self, process: int) -> None:
        """See what a process and its children hold."""
        held = [memory for id_ in family(process) if (memory := memory_of(id_))]
        self.together = max(self.together, sum(proportional for *_, proportional in held))
        self.largest, self.mapped = max([(self.largest, self.mapped), *((total, mapped) for total, mapped, _ in held)])


def family(process: int) -> list[int]:
    """The ids of a process and of all below it."""
    try:
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except OSError:  # it has ended
        return []
    return [process, *(id_ for child in children for id_ in family(int(child)))]


def memory_of(process: int) -> tuple[int, int, int] | None:
    """Bytes that a process holds, those of them that are pages of files, and its share where others have them too."""
    try:
        shown = Path(f"/proc/{process}/smaps_rollup").read_text()
    except OSError:
        return None
    total, own, proportional = (1024 * kilobytes(shown, name) for name in ("Rss", "Anonymous", "Pss"))
    return total, total - own, proportional


def follow(process: multiprocessing.Process, receiver: Connection, parts: dict[str, Memory]) -> dict[str, Any]:
    """Look at a build, in `parts` by their titles, until it is done; returns its figures."""
    message = "Importing"
    while not isinstance(message, dict):
        parts.setdefault(message, Memory()).look(process.pid)
        if receiver.poll(SECONDS_A_LOOK):
            try:
                message = receiver.recv()
            except EOFError:
                process.join()
                raise SystemExit(process.exitcode or 1) from None
    return message


def build_once(model: str, output: Path, recipe: str, verify: bool, report: Connection) -> None:
    from bundler.checkpoints.checkpoint import open_checkpoint
    from bundler.pipeline.build import build
    from bundler.pipeline.plan import BuildOptions
    from bundler.system.machine import peak_memory
    from bundler.verification.gate import Progress

    @contextmanager
    def part(title: str, total: float = 0) -> Iterator[Any]:
        report.send(title)
        yield lambda completed: None

    started = time.perf_counter()
    build(BuildOptions(model, output, recipe=recipe, verify=verify), Progress(part, part))
    seconds = time.perf_counter() - started
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    report.send(
        {
            "seconds": seconds,
            "processor_seconds": sum(usage.ru_utime + usage.ru_stime for usage in (own, children)),
            "peak_gigabytes": max(peak_memory(), 1024 * children.ru_maxrss) / 1e9,
            "parameters": sum(map(math.prod, open_checkpoint(model).architecture.tensor_shapes().values())),
            "sums": (output / "SHA256SUMS").read_text(),
        }
    )


def measure(model: str, recipe: str, verify: bool, runs: int) -> dict[str, Any]:
    """The figures of several builds, each in a process of its own."""
    context, results, parts = multiprocessing.get_context("spawn"), [], {}
    with tempfile.TemporaryDirectory() as folder:
        for run in range(runs):
            receiver, sender = context.Pipe(duplex=False)
            arguments = (model, Path(folder) / str(run) / "out", recipe, verify, sender)
            process = context.Process(target=build_once, args=arguments)
            process.start()
            sender.close()
            results.append(follow(process, receiver, parts))
            process.join()
    seconds = [result["seconds"] for result in results]
    return {
        "model": model,
        "recipe": recipe,
        "verified": verify,
        "runs": runs,
        "parameters": results[0]["parameters"],
        "seconds_median": statistics.median(seconds),
        "seconds_least": min(seconds),
        "seconds_most": max(seconds),
        "processor_seconds": statistics.median(result["processor_seconds"] for result in results),
        "peak_gigabytes": max(result["peak_gigabytes"] for result in results),
        "together_gigabytes": max(memory.together for memory in parts.values()) / 1e9,
        "parts": {title: asdict(memory) for title, memory in parts.items()},
        "same_bytes_every_run": len({result["sums"] for result in results}) == 1,
    }


def sentence(figures: dict[str, Any]) -> str:
    return (
        f"{Path(figures['model']).name} {figures['recipe']}: {figures['seconds_median']:.0f} s (median of "
        f"{figures['runs']}, {figures['seconds_least']:.0f} to {figures['seconds_most']:.0f}), "
        f"{figures['processor_seconds']:.0f} s of the processor, peak {figures['peak_gigabytes']:.2f} GB, "
        f"{figures['together_gigabytes']:.2f} GB together, outputs "
        f"{'the same' if figures['same_bytes_every_run'] else 'DIFFERENT'} each time"
    )


def parts_table(figures: dict[str, Any]) -> str:
    """The memory of each part of a build, in GB."""
    lines = ["| part | largest process | of it mapped files | all processes |", "|---|--:|--:|--:|"]
    for title, memory in figures["parts"].items():
        columns = (f"{memory[name] / 1e9:.2f}" for name in ("largest", "mapped", "together"))
        lines.append(f"| {title} | {' | '.join(columns)} |")
    return "\n".join(lines)


def write_growth(measured: Sequence[dict[str, Any]], output: Path) -> None:
    """Draw time and memory over the number of parameters, as SVG."""
    from bundler.pipeline.bench_plot import COLORS, adaptive_svg

    panels = (
        ("processor_seconds", "time of the processor, s"),
        ("peak_gigabytes", "largest process, GB"),
        ("together_gigabytes", "all processes together, GB"),
    )
    with output.open("wb") as stream, adaptive_svg(stream, (10, 3.6), len(panels)) as axes:
        for panel, color, (key, label) in zip(axes, COLORS, panels):
            points = sorted((figures["parameters"] / 1e6, figures[key]) for figures in measured)
            panel.plot(*zip(*points), color=color, marker="o")
            panel.set_xlabel("parameters, millions")
            panel.set_ylabel(label)
            panel.set_xlim(left=0)
            panel.set_ylim(bottom=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="MODEL")
    parser.add_argument("--quant", default="int8")
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--verify", action="store_true", help="include the verification")
    parser.add_argument("--parts", action="store_true", help="print the memory of each part, as it was seen")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--plot", type=Path, help="write the growth of time and memory here, as SVG")
    arguments = parser.parse_args()
    measured = []
    for model in arguments.models:
        measured.append(measure(model, arguments.quant, arguments.verify, arguments.runs))
        if not arguments.json:
            print(sentence(measured[-1]), flush=True)
            if arguments.parts:
                print(parts_table(measured[-1]), flush=True)
    if arguments.json:
        print(json.dumps(measured, indent=1))
    if arguments.plot:
        write_growth(measured, arguments.plot)


if __name__ == "__main__":
    main()
