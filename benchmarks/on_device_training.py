"""Time and memory of one step of LoRA training, in a trainer file and in PyTorch with PEFT, on one thread.

    task-bundler build gpt2_training/sample -o out/sample --lora-ranks 16 --trainer
    python benchmarks/on_device_training.py out/sample/sample-trainer.tflite gpt2_training/sample \\
        --beside out/sample/sample.task

Each measures in processes of its own, in turns, and the median of all steps counts. The tokens are random; what is
timed does not depend on them. `grown` is what training adds to a process that has its libraries loaded and nothing
else: a process with PyTorch is larger before it begins.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable

from bundler.containers.bundle import open_bundle


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trainer", type=Path, help="NAME-trainer.tflite")
    parser.add_argument("model", help="the checkpoint it was made from")
    parser.add_argument("--beside", type=Path, help="a bundle of the model, to compare the size of its TFLite model")
    parser.add_argument("--steps", type=int, default=20, help="of each process")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", choices=("tflite", "torch"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        measure = _tflite if arguments.work == "tflite" else _torch
        print(json.dumps(measure(arguments.trainer, arguments.model, arguments.steps)))
        return
    measured: dict[str, list[dict]] = {"tflite": [], "torch": []}
    for _ in range(arguments.rounds):
        for work, results in measured.items():
            done = subprocess.run([sys.executable, *sys.argv, "--work", work], capture_output=True, text=True)
            if done.returncode:
                sys.exit(done.stderr)
            results.append(json.loads(done.stdout.splitlines()[-1]))
    figures = {
        work: {
            "step_ms": round(1e3 * statistics.median(second for result in results for second in result["seconds"]), 1),
            **{name: round(max(result[name] for result in results) / 1e6) for name in ("peak", "grown")},
        }
        for work, results in measured.items()
    }
    ratio, size = figures["tflite"]["step_ms"] / figures["torch"]["step_ms"], arguments.trainer.stat().st_size
    figures |= {"ratio": round(ratio, 2), "trainer_bytes": size}
    if arguments.beside:
        figures["over_inference"] = round(size / open_bundle(arguments.beside).model.size, 3)
    print(json.dumps(figures, indent=1))


def _tflite(path: Path, model: str, steps: int) -> dict:
    import ai_edge_litert.interpreter  # noqa: F401
    import numpy as np

    from bundler.system.machine import held_memory
    from bundler.tflite.trainer import StepSize, TFLiteTrainer, TrainingState

    begun = held_memory()
    trainer = TFLiteTrainer(path)
    states = [TrainingState.begin(trainer.start())]
    batch = np.random.default_rng(0).integers(0, 256, (1, trainer.length + 1))

    def step() -> None:
        states[0], _ = trainer.step(states[0], batch, StepSize(1, 1e-3, 0.0, 2.0))

    return _timed(step, steps, begun)


def _torch(path: Path, model: str, steps: int) -> dict:
    import peft  # noqa: F401
    import torch
    from transformers import GPT2LMHeadModel  # noqa: F401

    from bundler.checkpoints.checkpoint import open_checkpoint
    from bundler.system.machine import held_memory
    from bundler.tflite.trainer import shape_of
    from lora_weights.fine_tune import FineTuneConfig
    from lora_weights.train import with_adapter

    begun = held_memory()
    torch.set_num_threads(1)
    length, rank = shape_of(path)
    adapted = with_adapter(open_checkpoint(model).reference_model(), FineTuneConfig(rank=rank)).train()
    parameters = [parameter for parameter in adapted.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, betas=(0.9, 0.95), weight_decay=0.0)
    tokens = torch.randint(256, (1, length + 1))

    def step() -> None:
        logits = adapted(tokens[:, :-1]).logits
        torch.nn.functional.cross_entropy(logits[0], tokens[0, 1:]).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return _timed(step, steps, begun)


def _timed(step: Callable[[], None], steps: int, begun: int) -> dict:
    from bundler.system.machine import peak_memory

    step()
    seconds = []
    for _ in range(steps):
        started = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - started)
    return {"seconds": seconds, "peak": peak_memory(), "grown": peak_memory() - begun}


if __name__ == "__main__":
    main()
