"""The app's training over the host's LiteRT: the real trainer file teaches, and LiteRT-LM's adapter file comes out."""

import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
from tiny_gpt2 import VOCABULARY

from bundler.checkpoints.checkpoint import open_checkpoint
from bundler.conversion.exported_weights import TokenRows, query_scale
from bundler.conversion.trainer import TrainerShape
from bundler.pipeline.trainer_file import write_trainer
from bundler.tflite.adapter_file import read_adapter_file
from bundler.tflite.trainer import StepSize, TFLiteTrainer, TrainingState
from lora_weights.adapter import Adapter, Base, LowRank, bundle_tensors
from lora_weights.flat_adapter import FlatAdapter

# The compiler runs.
pytestmark = pytest.mark.timeout(600)
STEPS, LENGTH, RANK = 12, 24, 4


@pytest.fixture(scope="module")
def main(kotlin, core_classes, tmp_path_factory):
    from toolchain import HERE, compile_kotlin, joined, kotlin_files, require

    classes = tmp_path_factory.mktemp("training")
    compile_kotlin(kotlin, kotlin_files(HERE / "training"), classes, [core_classes], "-jvm-target", "17")
    classpath = joined(core_classes, classes, kotlin.stdlib)
    return [require("java", ""), "-cp", classpath, "dev.taskbundler.verify.TrainingMainKt"]


@pytest.fixture(scope="module")
def trainer(tiny_checkpoint, tmp_path_factory, shared_worker) -> Path:
    path = tmp_path_factory.mktemp("trainer") / "tiny-trainer.tflite"
    checkpoint, shape = open_checkpoint(tiny_checkpoint), TrainerShape(LENGTH, RANK)
    write_trainer(checkpoint, TokenRows(VOCABULARY), shape, path, "fp32", shared_worker)
    return path


class Served:
    """Computes what the app's training asks for; `last` is the adapter after its last update."""

    def __init__(self, process, trainer):
        self.process, self.trainer, self.last = process, trainer, None

    def numbers(self, kind):
        (count,) = struct.unpack(">i", self.process.stdout.read(4))
        return np.frombuffer(self.process.stdout.read(4 * count), kind).astype(kind[1:])

    def give(self, *arrays):
        for array in arrays:
            self.process.stdin.write(struct.pack(">i", len(array)) + np.asarray(array, ">f4").tobytes())

    def run(self):
        while (asked := self.process.stdout.read(1)) not in (b"e", b""):
            if asked == b"s":
                self.give(self.trainer.start())
            elif asked == b"l":
                tokens, adapter = self.numbers(">i4"), self.numbers(">f4")
                (scaling,) = struct.unpack(">f", self.process.stdout.read(4))
                self.give(self.trainer.losses(adapter, scaling, tokens))
            else:
                self.train()
            self.process.stdin.flush()
        return asked

    def train(self):
        tokens = self.numbers(">i4")
        step, rate, scaling, weight, update = struct.unpack(">ifff?", self.process.stdout.read(17))
        state = TrainingState(*(self.numbers(">f4") for _ in range(4)))
        state, loss = self.trainer.sequence(state, tokens, weight, StepSize(step, rate, 0.0, scaling), update)
        self.give(state.adapter, state.first_moment, state.second_moment, state.gradient)
        self.process.stdin.write(struct.pack(">f", loss))
        self.last = state.adapter


def test_the_real_trainer_teaches_through_the_apps_loop(main, trainer, tiny_checkpoint, tmp_path):
    checkpoint = open_checkpoint(tiny_checkpoint)
    scale = query_scale(checkpoint.architecture, 0)
    output = tmp_path / "taught.tflite"
    text = np.random.default_rng(0).integers(0, VOCABULARY, 40).tolist() * 12
    arguments = [str(output), *map(str, (STEPS, 2, 32, RANK, scale))]
    with subprocess.Popen(
        [*main, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdin.write(struct.pack(">ii", LENGTH, len(text)) + np.array(text, ">i4").tobytes())
        process.stdin.flush()
        served = Served(process, TFLiteTrainer(trainer))
        ended = served.run()
        process.stdin.close()
        said = process.stderr.read().decode()
    assert ended == b"e", said
    *steps, perplexity = said.splitlines()
    assert len(steps) == STEPS
    before, after = map(float, perplexity.split()[1:])
    assert after < 0.8 * before
    file = read_adapter_file(output)
    assert (file.header.name, file.header.rank, file.header.alpha) == ("taught", RANK, 2.0 * RANK)

    layout, base = FlatAdapter(2, 32, RANK), Base(2, 32, (scale, scale))
    matrices, pairs = layout.matrices(served.last), {}
    for layer in range(2):
        for module, projections in (("attn.c_attn", "qkv"), ("attn.c_proj", "o")):
            a, b = (matrices[f"base_model.model.transformer.h.{layer}.{module}.lora_{f}.weight"] for f in "AB")
            for projection, block in zip(projections, np.split(b, len(projections))):
                pairs[layer, projection] = LowRank((a.T.astype(np.float64) * 2).astype(np.float32), block.T)
    expected = bundle_tensors(Adapter("taught", 2, 32, pairs), base, RANK)
    assert all(np.array_equal(file.tensors[name], tensor) for name, tensor in expected.items())
