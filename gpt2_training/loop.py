"""The training loop trains a model from scratch, an adapter, or a whole model further: resumable, and reproducible from
a seed.

The schedule is nanoGPT's (linear warm-up, cosine to a tenth, gradients clipped to 1); who calls brings the model, the
optimizer and the loss of a step.
"""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Callable, Protocol

import torch

from gpt2_training.perplexity import held_out_perplexity
from gpt2_training.training_state import restoring, write_state


class Schedule(Protocol):
    """What the loop reads of a recipe. `batch` is in sequences of `context` tokens."""

    steps: int
    batch: int
    context: int
    learning_rate: float
    warmup: int
    evaluate_every: int
    seed: int


@dataclass(frozen=True)
class Training:
    """What is trained: the parameters of `model` that require a gradient. `loss_at` gives the loss of a step, counted
    from 0; `held_out` are the token ids (1-D) of the text held out, and `evaluate_last` says whether the last step is
    evaluated on it too.
    """

    model: torch.nn.Module
    optimizer: torch.optim.Optimizer
    loss_at: Callable[[int], torch.Tensor]
    held_out: torch.Tensor
    evaluate_last: bool = False


@dataclass(frozen=True)
class StateFile:
    """Where a training's state is saved; without a path it is not. `saved` is what was read from there, `recipe` what
    must be the same to go on, and `notes` are saved with it.
    """

    path: Path | None
    recipe: dict[str, Any]
    saved: dict[str, Any] | None
    notes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Step:
    """What the loop reports: cross-entropy in nats; `held_out` only on evaluated steps."""

    step: int
    loss: float
    learning_rate: float
    tokens_per_second: float
    held_out: float | None = None


@dataclass(frozen=True)
class Trained:
    """All steps and seconds of a training, those before it was stopped included."""

    steps: list[Step]
    seconds: float


def train(training: Training, schedule: Schedule, state: StateFile, on_step: Callable[[Step], None]) -> Trained:
    """Train in place, from what `state` holds or from the start. Each evaluation but the last saves the state.

    Raises TrainingError for a state whose values are no training's, and where it cannot be saved.
    """
    model, optimizer = training.model, training.optimizer
    parameters = trained_parameters(model)
    with restoring(state.path):
        first, steps, seconds = _resume(state.saved, parameters, optimizer, schedule)

    model.train()
    started = time.perf_counter()
    for step in range(first, schedule.steps):
        rate = learning_rate_at(step, schedule)
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss = training.loss_at(step)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

        done, held_out = step + 1, None
        last = done == schedule.steps
        if training.evaluate_last if last else done % schedule.evaluate_every == 0:
            model.eval()
            held_out = math.log(held_out_perplexity(model, training.held_out, schedule.context).value)
            model.train()
        elapsed = time.perf_counter() - started
        tokens = (done - first) * schedule.batch * schedule.context
        steps.append(Step(done, loss.item(), rate, tokens / elapsed, held_out))
        on_step(steps[-1])
        if state.path and held_out is not None and not last:
            values = {
                "step": done,
                "parameters": [parameter.detach() for parameter in parameters],
                "optimizer": optimizer.state_dict(),
                "steps": [asdict(entry) for entry in steps],
                "seconds": seconds + elapsed,
            }
            write_state(state.path, state.recipe, {**values, **state.notes})
    return Trained(steps, seconds + time.perf_counter() - started)


def trained_parameters(model: torch.nn.Module) -> list[torch.nn.Parameter]:
    """The parameters that require a gradient, in the model's order."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def next_token_loss(logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """The mean cross-entropy of `tokens` [batch, n + 1], each after the ones before it; `logits` [batch, n, vocabulary]
    are of all but the last.
    """
    return torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), tokens[:, 1:].flatten())


def batch_at(ids: torch.Tensor, step: int, schedule: Schedule) -> torch.Tensor:
    """The batch of one step, [batch, context + 1]: a function of seed and step alone, so resuming repeats nothing."""
    generator = torch.Generator().manual_seed(step_seed(step, schedule))
    starts = torch.randint(len(ids) - schedule.context, (schedule.batch,), generator=generator)
    return torch.stack([ids[start : start + schedule.context + 1] for start in starts]).long()


def step_seed(step: int, schedule: Schedule) -> int:
    """The seed of one step."""
    return schedule.seed * 1_000_003 + step


def learning_rate_at(step: int, schedule: Schedule) -> float:
    """Linear warm-up, then cosine down to a tenth of the peak."""
    if step < schedule.warmup:
        return schedule.learning_rate * (step + 1) / schedule.warmup
    progress = (step - schedule.warmup) / max(1, schedule.steps - schedule.warmup)
    return schedule.learning_rate * (0.1 + 0.45 * (1 + math.cos(math.pi * progress)))


def _resume(
    saved: dict[str, Any] | None,
    parameters: list[torch.nn.Parameter],
    optimizer: torch.optim.Optimizer,
    schedule: Schedule,
) -> tuple[int, list[Step], float]:
    if saved is None:
        return 0, [], 0.0
    with torch.no_grad():
        for parameter, value in zip(parameters, saved["parameters"], strict=True):
            parameter.copy_(value)
    optimizer.load_state_dict(saved["optimizer"])
    # Fine-tuning's states were once saved without the learning rate of their steps.
    steps = [Step(**{"learning_rate": learning_rate_at(step["step"] - 1, schedule), **step}) for step in saved["steps"]]
    return saved["step"], steps, saved["seconds"]
