"""Time and peak memory of a build without its verification, which is measured apart.

    python benchmarks/random_checkpoint.py 124M -o /tmp/gpt2-124M
    python benchmarks/build_cost.py /tmp/gpt2-124M --quant int8

The peak is that of the largest process, as /usr/bin/time -v counts it: a build converts in a process of its own (Linux
only).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import statistics
import tempfile
import time
from pathlib import Path


def build_once(model: str, output: Path, recipe: str, verify: bool, report) -> None:
    from bundler.pipeline.build import build
    from bundler.pipeline.plan import BuildOptions
    from bundler.system.machine import peak_memory

    build(BuildOptions(model, output, recipe=recipe, verify=verify))
    peak = max(peak_memory(), 1024 * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) / 1e9
    report.send({"peak_gigabytes": peak, "sums": (output / "SHA256SUMS").read_text()})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--quant", default="int8")
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--verify", action="store_true", help="include the verification")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    seconds, peaks, sums = [], [], set()
    with tempfile.TemporaryDirectory() as folder:
        for run in range(arguments.runs):
            receiver, sender = context.Pipe(duplex=False)
            started = time.perf_counter()
            process = context.Process(
                target=build_once,
                args=(arguments.model, Path(folder) / str(run) / "out", arguments.quant, arguments.verify, sender),
            )
            process.start()
            process.join()
            seconds.append(time.perf_counter() - started)
            if process.exitcode:
                raise SystemExit(process.exitcode)
            result = receiver.recv()
            peaks.append(result["peak_gigabytes"])
            sums.add(result["sums"])
    figures = {
        "model": arguments.model,
        "recipe": arguments.quant,
        "runs": arguments.runs,
        "seconds_median": statistics.median(seconds),
        "seconds_least": min(seconds),
        "seconds_most": max(seconds),
        "peak_gigabytes": max(peaks),
        "same_bytes_every_run": len(sums) == 1,
    }
    if arguments.json:
        print(json.dumps(figures, indent=1))
    else:
        print(
            f"{arguments.quant}: {figures['seconds_median']:.0f} s (median of {arguments.runs}, {min(seconds):.0f} to "
            f"{max(seconds):.0f}), peak {max(peaks):.2f} GB, outputs {'the same' if len(sums) == 1 else 'DIFFERENT'} "
            "each time"
        )


if __name__ == "__main__":
    main()
