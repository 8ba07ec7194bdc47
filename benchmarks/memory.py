"""Memory of a build, of writing, of swapping adapters and of training one, each in a process of its own.

    python benchmarks/memory.py gpt2_training/sample
    python benchmarks/memory.py /tmp/gpt2-124M --json
    python benchmarks/memory.py out/124M/124M.litertlm

Of a finished bundle it is writing alone: with a weight cache that is written, and with one that was there.
`libraries` is what a process holds before its work. `resident` is held when the work is done and all is still open;
`mapped` is the part of it that are pages of files, which the system may drop where memory is short. `peak` is the most
that was ever held; of a build, which has several processes, by the largest of them.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
from pathlib import Path
from typing import Any, Sequence

from bundler.system.isolated import run_isolated
from bundler.system.machine import held_memory, mapped_memory, peak_memory

RANK, STEPS = 16, 3
PROMPT, WRITTEN = 128, 64  # tokens


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "model", help="a checkpoint, which is built in int8, with LoRA inputs and a trainer file; or a finished bundle"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    works = {
        "build, verification apart": _build,
        f"write {WRITTEN} tokens after {PROMPT}": _write,
        "the same, the adapter swapped between texts": _swap,
        "train an adapter in LiteRT": _train,
        "train it in PyTorch with PEFT": _train_in_pytorch,
    }
    if arguments.model.endswith((".task", ".litertlm")):
        works = {"write, a new weight cache": _write_in, "write, a weight cache that was there": _write_in}
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, work in works.items():
            print(name, file=sys.stderr, flush=True)
            figures[name] = run_isolated(name, work, arguments.model, Path(folder) / "build")
    if arguments.json:
        print(json.dumps(figures, indent=1))
        return
    columns = ("libraries", "resident", "mapped", "peak")
    print(f"| MB | {' | '.join(columns)} |\n|---{'|--:' * len(columns)}|")
    for name, memory in figures.items():
        print(f"| {name} | {' | '.join(f'{memory[column] / 1e6:,.0f}' for column in columns)} |")


def _since(libraries: int) -> dict[str, int]:
    return {
        "libraries": libraries,
        "resident": held_memory(),
        "mapped": mapped_memory(),
        "peak": max(peak_memory(), 1024 * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss),
    }


def _build(model: str, output: Path) -> dict[str, int]:
    from bundler.pipeline.build import build
    from bundler.pipeline.plan import BuildOptions

    libraries = held_memory()
    build(BuildOptions(model, output, lora_ranks=(RANK,), trainer=True, verify=False))
    return _since(libraries)


def _write_in(bundle: str, cache: Path) -> dict[str, int]:
    cache.mkdir(exist_ok=True)
    return _texts(Path(bundle), [None], weight_cache=cache)


def _write(model: str, output: Path) -> dict[str, int]:
    return _in_litertlm(output, swap=False)


def _swap(model: str, output: Path) -> dict[str, int]:
    return _in_litertlm(output, swap=True)


def _in_litertlm(output: Path, swap: bool) -> dict[str, int]:
    from bundler.pipeline.export_adapter import open_lora_bundles, prepare_adapter, write_adapter
    from lora_weights.random_adapter import write_random_adapter

    files, bundles = [output / "adapters" / "zero.tflite"], open_lora_bundles(output)
    for seed in range(2 * swap):
        folder = output.parent / f"random-{seed}"
        write_random_adapter(folder, bundles.base.layers, bundles.base.width, RANK, 0.02, seed)
        files.append(folder.with_suffix(".tflite"))
        write_adapter(prepare_adapter(folder, bundles), files[-1])
    return _texts(next(output.glob("*.litertlm")), [files[number % len(files)] for number in range(6)])


def _texts(bundle: Path, adapters: Sequence[Path | None], **options: Any) -> dict[str, int]:
    """The memory after a text with each of `adapters`, in one engine."""
    import litert_lm  # noqa: F401

    from bundler.engines.litertlm import open_engine
    from bundler.pipeline.speed import prompt_of

    libraries = held_memory()
    with open_engine(bundle, **options) as engine:
        for number, adapter in enumerate(adapters):
            engine.complete(prompt_of(engine.tokenize, PROMPT, str(number)), WRITTEN, adapter=adapter)
        return _since(libraries)


def _train(model: str, output: Path) -> dict[str, int]:
    import ai_edge_litert.interpreter  # noqa: F401
    import numpy as np

    from bundler.tflite.trainer import StepSize, TFLiteTrainer, TrainingState

    libraries = held_memory()
    trainer = TFLiteTrainer(next(output.glob("*-trainer.tflite")))
    state = TrainingState.begin(trainer.start())
    batch = np.random.default_rng(0).integers(0, 256, (1, trainer.length + 1))
    for step in range(1, STEPS + 1):
        state, _ = trainer.step(state, batch, StepSize(step, 1e-3, 0.0, 2.0))
    return _since(libraries)


def _train_in_pytorch(model: str, output: Path) -> dict[str, int]:
    import peft  # noqa: F401
    import torch
    from transformers import GPT2LMHeadModel  # noqa: F401

    from bundler.checkpoints.checkpoint import open_checkpoint
    from gpt2_training.base_model import EncodedText
    from lora_weights.fine_tune import FineTuneConfig, fine_tune
    from lora_weights.train import with_adapter

    libraries = held_memory()
    config = FineTuneConfig(rank=RANK, batch=1, steps=STEPS, evaluate_every=STEPS, threads=1, device="cpu")
    adapted = with_adapter(open_checkpoint(model).reference_model(), config)
    ids = torch.randint(256, (2 * config.context,), dtype=torch.int32)
    fine_tune(adapted, EncodedText(ids, ids[: config.context]), config)
    return _since(libraries)


if __name__ == "__main__":
    main()
