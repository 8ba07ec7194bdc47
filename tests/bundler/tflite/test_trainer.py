"""A trainer file in LiteRT: its interface, its operators, and its losses and steps against PyTorch with PEFT."""

from pathlib import Path

import numpy as np
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema
from tiny_gpt2 import VOCABULARY

from bundler.checkpoints.checkpoint import open_checkpoint
from bundler.conversion.convert import fill_graph
from bundler.conversion.exported_weights import TokenRows, exported_weights
from bundler.conversion.recipes import RECIPES
from bundler.conversion.trainer import TrainerShape, convert_trainer
from bundler.errors import BundleError
from bundler.tflite.trainer import StepSize, TFLiteTrainer, TrainingState
from lora_weights.fine_tune import FineTuneConfig
from lora_weights.flat_adapter import FlatAdapter
from lora_weights.train import with_adapter

SHAPE, STEPS, BATCH, RATE, SCALING = TrainerShape(24, 4), 200, 2, 5e-3, 2.0
LAYOUT = FlatAdapter(2, 32, SHAPE.rank)


@pytest.fixture(scope="module")
def trainers(tiny_checkpoint, tmp_path_factory) -> dict[str, Path]:
    """The tiny checkpoint's trainer in each of the recipes a trainer has."""
    checkpoint, rows = open_checkpoint(tiny_checkpoint), TokenRows(VOCABULARY, (7, 9))
    folder = tmp_path_factory.mktemp("trainers")
    convert_trainer(checkpoint.architecture, rows, SHAPE, folder / "graph")
    weights = exported_weights(checkpoint, SHAPE.length, rows)
    paths = {recipe: folder / f"{recipe}.tflite" for recipe in ("fp32", "int8")}
    for recipe, path in paths.items():
        fill_graph(folder / "graph", weights, RECIPES[recipe], path)
    return paths


def batches():
    """A text that can be learnt: it repeats itself."""
    text = np.random.default_rng(0).integers(0, VOCABULARY, 60).tolist() * 20
    starts = np.random.default_rng(1).integers(0, len(text) - SHAPE.length, (STEPS, BATCH))
    return [np.array([text[i : i + SHAPE.length + 1] for i in row]) for row in starts]


@pytest.fixture(scope="module")
def pytorchs(tiny_checkpoint):
    """The losses of PyTorch and PEFT over the steps, from the adapter that a trainer begins with."""
    model = with_adapter(open_checkpoint(tiny_checkpoint).reference_model(), FineTuneConfig(rank=SHAPE.rank)).train()
    parameters = {n.replace(".default.", "."): p for n, p in model.named_parameters() if p.requires_grad}
    matrices = LAYOUT.matrices(LAYOUT.start(1))
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(torch.from_numpy(matrices[name]))
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    optimizer = torch.optim.AdamW(parameters.values(), lr=RATE, betas=(0.9, 0.95), weight_decay=0.01)
    losses = []
    for batch in batches():
        tokens = torch.from_numpy(batch)
        loss = torch.nn.functional.cross_entropy(model(tokens[:, :-1]).logits.flatten(0, 1), tokens[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters.values(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
    return losses


def curve(path):
    trainer = TFLiteTrainer(path)
    state, losses = TrainingState.begin(trainer.start()), []
    for step, batch in enumerate(batches(), 1):
        state, loss = trainer.step(state, batch, StepSize(step, RATE, 0.01, SCALING))
        losses.append(loss)
    return losses


def test_the_interface_and_only_built_in_operators(trainers):
    trainer = TFLiteTrainer(trainers["fp32"])
    assert (trainer.length, trainer.rank) == (24, 4)
    assert np.array_equal(trainer.start(), LAYOUT.start(1))
    for path in trainers.values():
        model = schema.ModelT.InitFromPackedBuf(path.read_bytes())
        assert all(code.customCode is None for code in model.operatorCodes)
        assert [entry.signatureKey for entry in model.signatureDefs][0] != b"init_r4"
        assert {entry.signatureKey for entry in model.signatureDefs} == {b"init_r4", b"train_24_r4", b"eval_24_r4"}


def test_the_loss_curve_is_pytorchs_with_peft(trainers, pytorchs):
    losses = curve(trainers["fp32"])
    assert losses[-1] < losses[0] - 0.5
    assert np.abs(np.subtract(losses, pytorchs)).max() < 1e-3


def test_rounded_weights_learn_as_well(trainers, pytorchs):
    last = slice(-20, None)
    assert abs(np.mean(curve(trainers["int8"])[last]) - np.mean(pytorchs[last])) < 0.02


def test_weights_are_stored_once(trainers, tiny_checkpoint):
    parameters = sum(tensor.numel() for tensor in open_checkpoint(tiny_checkpoint).reference_model().parameters())
    for recipe, each in (("fp32", 4), ("int8", 1)):
        assert trainers[recipe].stat().st_size < parameters * each + 120_000  # the graphs themselves


def test_nothing_as_large_as_an_adapter_is_stored(trainers):
    model = schema.ModelT.InitFromPackedBuf(trainers["int8"].read_bytes())
    assert 4 * LAYOUT.count not in {len(buffer.data) for buffer in model.buffers if buffer.data is not None}


def test_other_files_are_refused(tiny_tflite, tmp_path):
    with pytest.raises(BundleError, match="expected `train_T_rR`"):
        TFLiteTrainer(tiny_tflite[0])
    (tmp_path / "x.tflite").write_bytes(b"TFL3")
    with pytest.raises(BundleError, match="LiteRT refuses"):
        TFLiteTrainer(tmp_path / "x.tflite")
