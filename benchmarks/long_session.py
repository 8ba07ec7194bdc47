r"""Memory, file descriptors, texts and swap times over a long session of one engine that swaps between two adapters and
the base.

    task-bundler build gpt2_training/sample -o out/sample --adapter lora_weights/samples/pirate \
        --adapter lora_weights/samples/shouting
    python benchmarks/long_session.py out/sample
    bash -c 'ulimit -n 256; python benchmarks/long_session.py out/sample'

Prints one line of JSON. Any build with LoRA ranks will do; one with fewer than two adapters is given random ones. A
text is wrong if it is not what a fresh engine writes. The first texts, of every adapter after every prompt, are the
warm-up and not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

PROMPTS = (
    "def ",
    "The lighthouse keeper wrote",
    "The lighthouse keeper wrote to the",
    "import os\n\n\nclass Session:\n    def close(self",
    "We're here, aren't we?\n\nIt's 6 o'clock",
)
TOKENS = 16


def measure(build: Path, generations: int = 2000, swaps: int = 500) -> dict:
    """The figures of one long session on the .litertlm in the folder of a build."""
    from bundler.engines.litertlm import open_engine

    bundle = next(build.glob("*.litertlm"))
    with tempfile.TemporaryDirectory() as temporary:
        adapters = (None, *_adapters(build, Path(temporary)))
        expected = {}
        for adapter in adapters:
            for prompt in PROMPTS:
                with open_engine(bundle) as engine:
                    expected[adapter, prompt] = engine.complete(prompt, TOKENS, adapter=adapter)
        with open_engine(bundle) as engine:
            for adapter, prompt in expected:
                engine.complete(prompt, TOKENS, adapter=adapter)
            before, largest, wrong, swap_ms, started, current = _held(), (0, 0), 0, [], time.perf_counter(), None
            for index in range(generations):
                prompt, adapter = (
                    PROMPTS[index % len(PROMPTS)],
                    adapters[(index + 1) * swaps // generations % len(adapters)],
                )
                if adapter != current:
                    swap_ms.append(engine.swap_seconds(adapter, TOKENS) * 1e3)
                    current = adapter
                wrong += engine.complete(prompt, TOKENS, adapter=adapter) != expected[adapter, prompt]
                largest = tuple(map(max, largest, _held()))
            after, seconds = _held(), time.perf_counter() - started
        new_ms = _new_sessions(bundle, adapters[1:])
    half = len(swap_ms) // 2
    return {
        "generations": generations,
        "swaps": len(swap_ms),
        "wrong_texts": wrong,
        "different_texts": len(set(expected.values())),
        "rss_mb": {"start": before[0], "end": after[0], "largest": largest[0]},
        "descriptors": {"start": before[1], "end": after[1], "largest": largest[1]},
        "swap_ms_median": {
            "first_half": _median(swap_ms[:half]),
            "second_half": _median(swap_ms[half:]),
            "to_a_new_session": _median(new_ms),
            "and_the_engine_opened_again": round(max(new_ms), 1),
        },
        "seconds": round(seconds, 1),
    }


def _adapters(build: Path, temporary: Path) -> list[Path]:
    """Two adapter files of the build, or two random ones."""
    from bundler.pipeline.export_adapter import open_lora_bundles, prepare_adapter, write_adapter
    from lora_weights.random_adapter import write_random_adapter

    files = sorted(path for path in (build / "adapters").glob("*.tflite") if path.stem != "zero")[:2]
    if len(files) == 2:
        return files
    bundles = open_lora_bundles(build)
    for seed, name in enumerate(("first", "second")):
        write_random_adapter(temporary / name, bundles.base.layers, bundles.base.width, bundles.rank, 0.02, seed)
        write_adapter(prepare_adapter(temporary / name, bundles), temporary / f"{name}.tflite")
    return [temporary / "first.tflite", temporary / "second.tflite"]


def _new_sessions(bundle: Path, adapters: list[Path]) -> list[float]:
    """Times of swaps in ms when no session is kept for the adapter; in one of them the engine is opened again."""
    from bundler.engines.litertlm import SESSIONS_AN_ENGINE, open_engine

    with open_engine(bundle) as engine:
        # A number of tokens that was not asked for before needs a session of its own.
        return [
            engine.swap_seconds(adapters[index % 2], TOKENS + index) * 1e3 for index in range(SESSIONS_AN_ENGINE + 1)
        ]


def _held() -> tuple[float, int]:
    """Resident memory in MB, and how many file descriptors are open."""
    from bundler.system.machine import held_memory

    return held_memory() / 1e6, len(os.listdir("/proc/self/fd"))


def _median(times: list[float]) -> float | None:
    return round(statistics.median(times), 1) if times else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=Path, help="output folder of a build with --lora-ranks or --adapter")
    parser.add_argument("--generations", type=int, default=2000)
    parser.add_argument(
        "--swaps", type=int, default=500, help="how many of them are with another adapter than the one before"
    )
    arguments = parser.parse_args()
    print(json.dumps(measure(arguments.build, arguments.generations, arguments.swaps)))


if __name__ == "__main__":
    main()
