"""Swap time, adapter file size, time and memory of export and merge, and what LoRA support costs, for a finished
bundle.

    task-bundler build /tmp/gpt2-124M -o out/124M --context 256 --lora-ranks 16
    python benchmarks/lora_bars.py out/124M

Any build with LoRA ranks will do, in any recipe. The adapters are random; what is timed does not depend on their
values.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=Path, help="output folder of a build with --lora-ranks")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        _work(arguments.work, arguments.build)
        return
    from bundler.pipeline.export_adapter import open_lora_bundles
    from lora_weights.random_adapter import write_random_adapter

    bundles = open_lora_bundles(arguments.build)
    with tempfile.TemporaryDirectory() as temporary:
        folders = [Path(temporary) / name for name in ("first", "second")]
        for seed, folder in enumerate(folders):
            write_random_adapter(folder, bundles.base.layers, bundles.base.width, bundles.rank, 0.02, seed)
        figures = {
            "recipe": bundles.task.manifest["recipe"],
            "layers": bundles.base.layers,
            "width": bundles.base.width,
            "rank": bundles.rank,
        }
        for work in ("export", "merge", "swap"):
            # Each in a process of its own, so that the peak of its memory is its own.
            done = subprocess.run(
                [sys.executable, __file__, str(arguments.build), "--work", f"{work} {temporary}"],
                capture_output=True,
                text=True,
            )
            if done.returncode:
                sys.exit(done.stderr)
            figures |= json.loads(done.stdout.splitlines()[-1])
    print(json.dumps(figures, indent=1))


def _work(work: str, build: Path) -> None:
    kind, folder = work.split(" ", 1)
    first, second = (Path(folder) / name for name in ("first", "second"))
    files = [path.with_suffix(".tflite") for path in (first, second)]
    if kind == "export":
        from bundler.pipeline.export_adapter import open_lora_bundles, prepare_adapter, write_adapter
        from bundler.system.machine import peak_memory

        started = time.perf_counter()
        bundles = open_lora_bundles(build)
        adapter = prepare_adapter(first, bundles)
        size = write_adapter(adapter, files[0])
        seconds = time.perf_counter() - started
        write_adapter(prepare_adapter(second, bundles), files[1])
        payload = sum(tensor.nbytes for tensor in adapter.tensors.values())
        _print(
            export_seconds=seconds,
            export_peak_mb=peak_memory() / 1e6,
            adapter_bytes=size,
            adapter_over_payload=size / payload,
        )
    elif kind == "merge":
        from bundler.containers.bundle import open_bundle
        from bundler.containers.lora_manifest import base_of_bundle
        from bundler.lora.merge_bundle import adapter_for_merging, merge_into_bundle
        from bundler.system.machine import peak_memory

        started = time.perf_counter()
        task = next(build.glob("*.task"))
        merge_into_bundle(
            task, adapter_for_merging(first, base_of_bundle(open_bundle(task))), Path(folder) / "merged.task"
        )
        _print(merge_seconds=time.perf_counter() - started, merge_peak_mb=peak_memory() / 1e6)
    else:
        from bundler.engines.litertlm import open_engine

        with open_engine(next(build.glob("*.litertlm"))) as engine:
            kept, swapped = [], []
            for _ in range(10):
                engine.swap_seconds(files[0])
                kept.append(engine.swap_seconds(files[0]))
                swapped.append(engine.swap_seconds(files[1]))
            # Another length of the answer needs another session; ten of them, and the engine need not be opened again.
            new = [engine.swap_seconds(files[index % 2], 2 + index) for index in range(10)]
        _print(
            swap_ms={
                "largest": max(swapped) * 1e3,
                "median": sorted(swapped)[5] * 1e3,
                "median without a change": sorted(kept)[5] * 1e3,
                "median to a new session": sorted(new)[5] * 1e3,
            }
        )


def _print(**figures) -> None:
    print(json.dumps({name: round(value, 4) if isinstance(value, float) else value for name, value in figures.items()}))


if __name__ == "__main__":
    main()
