"""What an adapter is worth that LiteRT alone has learned, beside PEFT's: perplexity, and the text of both engines.

    python lora_weights/samples/make_texts.py out/texts
    task-bundler build gpt2_training/sample -o out/sample --lora-ranks 16 --trainer
    python benchmarks/on_device_adapter.py out/sample gpt2_training/sample out/texts/pirate.txt

All trainings begin with the same adapter and read the same batches with the same settings, each on one thread.
`perplexity` is that on the base an adapter was trained on, `in_pytorch` that of the saved adapter on the checkpoint.
The adapter that was trained on int8 weights then goes through LiteRT-LM as a file, and merged into the .task through
MediaPipe's engine.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Callable

import torch
from peft import PeftModel

from bundler.checkpoints.checkpoint import Checkpoint, open_checkpoint
from bundler.containers.bundle import open_bundle
from bundler.containers.lora_manifest import base_of_bundle
from bundler.conversion.exported_weights import TokenRows
from bundler.conversion.trainer import TrainerShape
from bundler.engines.litertlm import open_engine
from bundler.engines.mediapipe import missing_tools, open_mediapipe
from bundler.lora.merge_bundle import adapter_for_merging, merge_into_bundle
from bundler.pipeline.export_adapter import open_lora_bundles, prepare_adapter, write_adapter
from bundler.pipeline.train_adapter import device_model, train_on_device
from bundler.pipeline.trainer_file import write_trainer
from bundler.tflite.trainer import shape_of
from gpt2_training.base_model import EncodedText, encode_text
from gpt2_training.corpus import Corpus, read_corpus
from gpt2_training.perplexity import Perplexity, held_out_perplexity
from lora_weights.fine_tune import FineTuneConfig, fine_tune
from lora_weights.flat_adapter import FlatAdapter
from lora_weights.train import AdapterOutput, with_adapter


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=Path, help="output folder of an int8 build with --lora-ranks and --trainer")
    parser.add_argument("model", help="the checkpoint it was made from")
    parser.add_argument("text", help="what the adapters learn")
    parser.add_argument("--steps", type=int, default=FineTuneConfig.steps)
    parser.add_argument("--prompt", default="def load(")
    parser.add_argument("--tokens", type=int, default=32, help="to write after the prompt")
    arguments = parser.parse_args()
    trainer = next(arguments.build.glob("*-trainer.tflite"))
    length, rank = shape_of(trainer)
    config = FineTuneConfig(rank=rank, context=length, steps=arguments.steps, threads=1)
    with tempfile.TemporaryDirectory() as folder:
        lesson = _Lesson(open_checkpoint(arguments.model), read_corpus(arguments.text), config, Path(folder))
        exact = lesson.folder / "fp32.tflite"
        rows = TokenRows(lesson.checkpoint.architecture.vocabulary)
        write_trainer(lesson.checkpoint, rows, TrainerShape(length, rank), exact, "fp32")
        figures = {
            "before": {"in_pytorch": str(lesson.perplexity(lesson.checkpoint.reference_model()))},
            "PyTorch with PEFT": lesson.figures("peft", lesson.peft),
            "LiteRT, fp32": lesson.figures("fp32", lambda output: lesson.litert(output, exact)),
            "LiteRT, int8": lesson.figures("int8", lambda output: lesson.litert(output, trainer)),
        }
        texts = _texts(arguments, lesson.folder)
    print(json.dumps({"trained": figures, "greedily after": arguments.prompt, "texts": texts}, indent=1))


@dataclass(frozen=True)
class _Lesson:
    """What all trainings share."""

    checkpoint: Checkpoint
    corpus: Corpus
    config: FineTuneConfig
    folder: Path

    def figures(self, name: str, train: Callable[[Path], Perplexity]) -> dict[str, str | int]:
        """Train into a folder of that name; the perplexities, and how long it took."""
        output = self.folder / name
        output.mkdir()
        started = time.perf_counter()
        perplexity, seconds = train(output), round(time.perf_counter() - started)
        adapted = PeftModel.from_pretrained(self.checkpoint.reference_model(), output).eval()
        figures = {"perplexity": str(perplexity), "in_pytorch": str(self.perplexity(adapted)), "seconds": seconds}
        print(name, figures, file=sys.stderr, flush=True)
        return figures

    def perplexity(self, model: torch.nn.Module) -> Perplexity:
        return held_out_perplexity(model, self.text.held_out, self.config.context)

    def peft(self, output: Path) -> Perplexity:
        """Train with PEFT, from what a trainer file begins with."""
        adapted = with_adapter(self.checkpoint.reference_model(), self.config)
        shape = self.checkpoint.architecture
        layout = FlatAdapter(shape.layers, shape.width, self.config.rank)
        start = layout.matrices(layout.start(self.config.seed))
        for name, parameter in adapted.named_parameters():
            if parameter.requires_grad:
                parameter.data.copy_(torch.from_numpy(start[name.replace(".default.", ".")]))
        tuned = fine_tune(adapted, self.text, self.config)
        adapted.save_pretrained(output, save_embedding_layers=False)
        return tuned.after

    def litert(self, output: Path, trainer: Path) -> Perplexity:
        """Train with a trainer file."""
        base = device_model(self.checkpoint, "the base", trainer)
        record = train_on_device(base, self.corpus, self.config, AdapterOutput(output))
        name = "held_out_perplexity"
        return Perplexity(record[name], record[f"{name}_standard_error"], record["held_out_tokens"])

    @cached_property
    def text(self) -> EncodedText:
        base = device_model(self.checkpoint, "the base", self.folder)
        return encode_text(base.tokenizer, self.corpus, self.config, base.start)


def _texts(arguments: argparse.Namespace, folder: Path) -> dict[str, str]:
    """What each engine writes greedily, without and with the adapter that was trained on int8 weights."""
    bundles = open_lora_bundles(arguments.build)
    adapter, merged = folder / "adapter.tflite", folder / "merged.task"
    write_adapter(prepare_adapter(folder / "int8", bundles), adapter)
    task = next(arguments.build.glob("*.task"))
    merge_into_bundle(task, adapter_for_merging(adapter, base_of_bundle(open_bundle(task))), merged)
    texts = {}
    with open_engine(next(arguments.build.glob("*.litertlm"))) as engine:
        for name, file in (("LiteRT-LM, before", None), ("LiteRT-LM, after", adapter)):
            texts[name] = engine.complete(arguments.prompt, arguments.tokens, adapter=file)
    if missing := missing_tools():
        return texts | {"MediaPipe": missing}
    for name, path in (("MediaPipe, before", task), ("MediaPipe, merged", merged)):
        with open_mediapipe(path) as engine:
            texts[name] = engine.complete(arguments.prompt, arguments.tokens)
    return texts


if __name__ == "__main__":
    main()
