"""The gates of a trainer file: its gradient and its first steps, held against PyTorch with PEFT."""

from __future__ import annotations

import numpy as np
import torch

from bundler.conversion.recipes import RECIPES
from bundler.system.file_section import FileSection
from bundler.system.native_output import quiet
from bundler.tflite.model import open_model
from bundler.tflite.trainer import StepSize, TFLiteTrainer, TrainingState
from bundler.verification.gate import Gate, Progress
from bundler.verification.subject import Subject
from bundler.verification.text import verification_text
from lora_weights.flat_adapter import FlatAdapter

STEPS, LEARNING_RATE, SCALING = 20, 2e-3, 2.0
# Largest relative error of the gradient, and largest difference of a step's loss in nats: for float32 weights, and for
# rounded ones. Measured on the sample: 1.5e-6 and 1.3e-4 in fp32, 0.029 and 0.051 in int8. A wrong gradient has 1.
EXACT, ROUNDED = (1e-3, 1e-3), (0.25, 0.1)


def trainer_gates(subject: Subject, progress: Progress) -> list[Gate]:
    """Nothing where the subject has no trainer file."""
    if subject.trainer is None:
        return []
    with progress.stage("Verifying the trainer against PyTorch"), quiet():
        trainer = subject.runtimes.trainer(subject.trainer.path)
        return [_operators_gate(subject), *_step_gates(subject, trainer)]


def _operators_gate(subject: Subject) -> Gate:
    custom = sorted(
        {kind.name for kind in open_model(FileSection.whole(subject.trainer.path)).operator_kinds if kind.custom}
    )
    found = f"needs {', '.join(custom)}, which TFLite alone has not" if custom else "TFLite's built-in operators alone"
    return Gate("trainer: operators", not custom, found, {"custom_operators": custom})


def _step_gates(subject: Subject, trainer: TFLiteTrainer) -> list[Gate]:
    architecture = subject.checkpoint.architecture
    layout = FlatAdapter(architecture.layers, architecture.width, trainer.rank)
    start = trainer.start()
    start[start == 0] = np.random.default_rng(0).standard_normal(int((start == 0).sum())) * 0.01  # B too has a gradient
    batches = _batches(subject, trainer.length)
    expected, gradient = _pytorchs(subject, layout, start, batches)
    state = TrainingState.begin(start)
    found = trainer.gradient(state, batches[0][0], SCALING)
    losses = []
    for number, batch in enumerate(batches, 1):
        state, loss = trainer.step(state, batch, StepSize(number, LEARNING_RATE, 0.0, SCALING))
        losses.append(loss)
    error = float(np.linalg.norm(found - gradient) / np.linalg.norm(gradient))
    difference = float(np.abs(np.subtract(losses, expected)).max())
    most_error, most_difference = EXACT if RECIPES[subject.trainer.recipe].exact else ROUNDED
    return [
        Gate(
            "trainer: gradient",
            error <= most_error,
            f"differs from PyTorch's with PEFT by {error:.2g} of its size (at most {most_error:g})",
            {"relative_error": error},
        ),
        Gate(
            "trainer: steps",
            difference <= most_difference,
            f"the loss of {STEPS} steps is PyTorch's within {difference:.2g} nats (at most {most_difference:g})",
            {"steps": STEPS, "max_loss_difference": difference},
        ),
    ]


def _batches(subject: Subject, length: int) -> list[np.ndarray]:
    """One sequence for each step, of our own text."""
    ids = subject.tokenizer.encode(verification_text()).reference
    while len(ids) < length + STEPS:
        ids = [*ids, *ids]
    starts = np.linspace(0, len(ids) - length - 1, STEPS).astype(int)
    return [np.array([ids[start : start + length + 1]]) for start in starts]


def _pytorchs(
    subject: Subject, layout: FlatAdapter, start: np.ndarray, batches: list[np.ndarray]
) -> tuple[list[float], np.ndarray]:
    """The losses of the steps in PyTorch with PEFT, and the gradient of the first, both from the adapter `start`."""
    from lora_weights.fine_tune import FineTuneConfig  # these import transformers, for seconds
    from lora_weights.train import with_adapter

    model = with_adapter(subject.checkpoint.reference_model(), FineTuneConfig(rank=layout.rank)).eval()
    parameters = {
        name.replace(".default.", "."): parameter
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }
    with torch.no_grad():
        for name, matrix in layout.matrices(start).items():
            parameters[name].copy_(torch.from_numpy(matrix))
    optimizer = torch.optim.AdamW(parameters.values(), lr=LEARNING_RATE, betas=(0.9, 0.95), weight_decay=0.0)
    losses, gradient = [], None
    with torch.enable_grad():
        for batch in batches:
            tokens = torch.from_numpy(batch)
            logits = model(tokens[:, :-1]).logits
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
            loss.backward()
            if gradient is None:
                gradient = layout.vector({name: parameter.grad.numpy() for name, parameter in parameters.items()})
            torch.nn.utils.clip_grad_norm_(parameters.values(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            losses.append(loss.item())
    return losses, gradient
