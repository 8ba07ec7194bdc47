"""The Android app's merge on one core of this machine: time, heap, and whether it gives Python's bytes.

    python benchmarks/random_checkpoint.py 124M -o /tmp/gpt2-124M
    task-bundler build /tmp/gpt2-124M -o out/124M --context 256 --lora-ranks 16
    python benchmarks/merge_kotlin.py out/124M/124M.task

Any .task of this project will do, several too. The adapter is random, of rank 16; what is timed does not depend on its
values. The JVM gets one core and 200 MB of heap; its start is part of the time. Needs what
android_mediapipe_app/verify/toolchain.py needs.
"""

from __future__ import annotations

import argparse
import filecmp
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "android_mediapipe_app" / "verify"))

from check_core import compile_core
from toolchain import HERE, Toolchain, compile_kotlin, joined, kotlin_files, require, toolchain

from bundler.containers.bundle import open_bundle
from bundler.containers.lora_manifest import base_of_bundle
from bundler.lora.merge_bundle import adapter_for_merging, merge_into_bundle
from lora_weights.adapter_file import encode_adapter
from lora_weights.random_adapter import write_random_adapter

RANK = 16
JVM = ("-XX:ActiveProcessorCount=1", "-Xmx200m")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, nargs="+", help=".task with no adapter merged in")
    parser.add_argument("--runs", type=int, default=7)
    arguments = parser.parse_args()
    tools = toolchain()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        classpath = joined(*_compile(tools, folder), tools.stdlib)
        for bundle in arguments.bundle:
            print(json.dumps(_measure(bundle, classpath, folder, arguments.runs)))


def _compile(tools: Toolchain, folder: Path) -> tuple[Path, Path]:
    core, merge = folder / "core", folder / "merge"
    compile_core(tools, core)
    compile_kotlin(tools, kotlin_files(HERE / "merge"), merge, [core], "-jvm-target", "17")
    return core, merge


def _measure(bundle: Path, classpath: str, folder: Path, runs: int) -> dict:
    opened = open_bundle(bundle)
    base = base_of_bundle(opened)
    adapter, expected, merged = (folder / name for name in ("adapter.tflite", "expected.task", "merged.task"))
    write_random_adapter(folder / "adapter", base.layers, base.width, RANK, 0.02, 0)
    file = adapter_for_merging(folder / "adapter", base)
    adapter.write_bytes(encode_adapter(file))
    merge_into_bundle(bundle, file, expected)
    command = [
        require("taskset", "apt-get install util-linux"),
        "-c",
        "0",
        require("java", "apt-get install openjdk-17-jdk-headless"),
        *JVM,
        "-cp",
        classpath,
        "dev.taskbundler.verify.MergeMainKt",
        str(bundle),
        str(adapter),
        str(merged),
    ]
    seconds, heaps = [], []
    for _ in range(runs):
        started = time.perf_counter()
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        seconds.append(time.perf_counter() - started)
        heaps.append(int(re.search(r"heap=(\d+)", printed)[1]))
    return {
        "bundle": bundle.name,
        "recipe": opened.manifest["recipe"],
        "bytes": bundle.stat().st_size,
        "rank": RANK,
        "runs": runs,
        "seconds": {
            "median": round(statistics.median(seconds), 2),
            "least": round(min(seconds), 2),
            "most": round(max(seconds), 2),
        },
        "heap_mb": round(max(heaps) / 1e6, 1),
        "same_bytes_as_python": filecmp.cmp(expected, merged, shallow=False),
    }


if __name__ == "__main__":
    main()
