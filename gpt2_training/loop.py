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
from typing import Any, Callable

import torch

from gpt2_training.errors import RecipeError, TrainingError, TrainingInterrupted
from gpt2_training.interrupts import signals_between_steps
from gpt2_training.perplexity import Perplexity, held_out_perplexity
from gpt2_training.training_state import read_state, restoring, write_state

# Of a training, what may change when it goes on. `_RECORDED` of it changes what is learned from there.
_RECORDED = ("steps", "split_spaces")
_MAY_CHANGE = (*_RECORDED, "evaluate_every", "patience", "threads")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """What every training has. A step learns from `accumulate` times `batch` sequences of `context` tokens, `batch` of
    them at a time. `patience` ends the training after so many evaluations without a better one; 0 does not.

    `threads` 0 leaves torch's choice. `device` and `bfloat16` (of the forward pass): None takes what this machine is
    fastest with. Raises RecipeError for numbers that no training can have.
    """

    steps: int = 4000
    batch: int = 8
    accumulate: int = 1
    context: int = 512
    learning_rate: float = 1.5e-3
    warmup: int = 200
    weight_decay: float = 0.1
    beta2: float = 0.95
    dropout: float = 0.0
    split_spaces: float = 0.0
    evaluate_every: int = 250
    patience: int = 0
    seed: int = 1
    threads: int = 0
    device: str | None = None
    bfloat16: bool | None = None
    compile: bool = False

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "accumulate", "context", "evaluate_every"):
            _check(name, getattr(self, name), 1 <= getattr(self, name), "1 or more")
        for name in ("warmup", "patience", "threads"):
            _check(name, getattr(self, name), 0 <= getattr(self, name), "0 or more")
        for name in ("learning_rate", "weight_decay"):
            _check(name, getattr(self, name), 0 <= getattr(self, name) < math.inf, "a number from 0")
        for name in ("dropout", "split_spaces", "beta2"):
            _check(name, getattr(self, name), 0 <= getattr(self, name) < 1, "a number from 0 to below 1")
        _check("seed", self.seed, 0 <= self.seed < 1 << 32, "a whole number from 0 to 4294967295")


def _check(name: str, value: float, sound: bool, expected: str) -> None:
    if not sound:
        raise RecipeError(f"`{name}` is {value}; expected {expected}; give another")


@dataclass(frozen=True)
class Training:
    """What is trained: the parameters of `model` that require a gradient. `loss_at` gives the loss of a part of a step,
    both counted from 0; `held_out` are the token ids (1-D) of the text held out.
    """

    model: torch.nn.Module
    optimizer: torch.optim.Optimizer
    loss_at: Callable[[int, int], torch.Tensor]
    held_out: torch.Tensor


@dataclass(frozen=True)
class StateFile:
    """Where a training's state is saved; without a path it is not. `restart`: what is there counts for nothing."""

    path: Path | None = None
    restart: bool = False


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
    """All steps and seconds of a training, those before it was stopped included. `best` is the step that the weights
    are of: the last, or with `patience` the one with the lowest held-out loss; `perplexity` is theirs.

    `schedules` says what each part of the training was laid out for, with the step after which it began.
    """

    steps: list[Step]
    seconds: float
    best: int
    perplexity: Perplexity
    schedules: list[dict[str, Any]]


@dataclass
class _Progress:
    """How far a training is: what a state file holds beside weights and optimizer. `best` has the step, its perplexity
    and, with `patience`, its parameters.
    """

    step: int = 0
    steps: list[Step] = field(default_factory=list)
    seconds: float = 0.0
    best: dict[str, Any] = field(default_factory=dict)
    schedules: list[dict[str, Any]] = field(default_factory=list)


def train(
    training: Training,
    config: TrainConfig,
    recipe: dict[str, Any],
    state: StateFile,
    on_step: Callable[[Step], None],
) -> Trained:
    """Train in place, from what `state` holds or from the start. Each evaluation saves the state, the last one too, so
    that more steps can follow later; so does a signal that ends the program.

    `recipe` is what must be the same for a state to go on, beside the config. Raises TrainingError for a state of
    another recipe or without values of a training, where it cannot be saved, and when the loss is no number anymore:
    then the last state is still there. Raises TrainingInterrupted for a signal.
    """
    model, optimizer = training.model, training.optimizer
    parameters = trained_parameters(model)
    recipe = {**lasting(config), **recipe}
    saved = read_state(state.path, recipe) if state.path and not state.restart else None
    with restoring(state.path):
        done = _restored(saved, parameters, optimizer)
    if done.step > config.steps:
        raise TrainingError(
            f"{state.path} is of step {done.step} already, and `steps` is {config.steps}; give more, or begin anew "
            "with `restart`"
        )
    _note_schedule(done, config)

    def save() -> None:
        if not all(bool(parameter.isfinite().all()) for parameter in parameters):
            _check_loss(math.nan, done.step, "training", saved_step, state)
        if state.path:
            values = {
                "parameters": [parameter.detach() for parameter in parameters],
                "optimizer": optimizer.state_dict(),
                "progress": {**vars(done), "steps": [asdict(step) for step in done.steps]},
            }
            write_state(state.path, recipe, values)

    saved_step = done.step if saved else None
    tokens_of_step = config.batch * config.accumulate * config.context
    model.train()
    with signals_between_steps() as signal_came:
        while done.step < config.steps and not _early_end(done, config):
            started = time.perf_counter()
            loss, rate = _one_step(training, parameters, config, done.step)
            _check_loss(loss, done.step + 1, "training", saved_step, state)
            took, perplexity = time.perf_counter() - started, None
            done.step += 1
            if done.step % config.evaluate_every == 0 or done.step == config.steps:
                perplexity = _evaluate(training, config)
                _check_loss(perplexity.loss, done.step, "held-out", saved_step, state)
                _note_evaluation(done, perplexity, parameters if config.patience else None)
            done.seconds += time.perf_counter() - started
            done.steps.append(Step(done.step, loss, rate, tokens_of_step / took, perplexity and perplexity.loss))
            if perplexity:
                save()
                saved_step = done.step
            on_step(done.steps[-1])
            if signal_came():
                save()
                raise TrainingInterrupted(
                    f"step {done.step} of {config.steps} is saved in {state.path}"
                    if state.path
                    else "nothing was saved"
                )
    if done.steps[-1].held_out is None:  # `steps` is that of a signal
        _note_evaluation(done, _evaluate(training, config), None)
    if "parameters" in done.best:
        with torch.no_grad():
            for parameter, value in zip(parameters, done.best["parameters"], strict=True):
                parameter.copy_(value)
    return Trained(done.steps, done.seconds, done.best["step"], Perplexity(**done.best["perplexity"]), done.schedules)


def lasting(config: TrainConfig) -> dict[str, Any]:
    """What of a config has to be the same for a training to go on."""
    return {name: value for name, value in asdict(config).items() if name not in _MAY_CHANGE}


def trained_parameters(model: torch.nn.Module) -> list[torch.nn.Parameter]:
    """The parameters that require a gradient, in the model's order."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def next_token_loss(logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """The mean cross-entropy of `tokens` [batch, n + 1], each after the ones before it; `logits` [batch, n, vocabulary]
    are of all but the last.
    """
    return torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), tokens[:, 1:].flatten())


def batch_at(ids: torch.Tensor, step: int, config: TrainConfig, part: int = 0) -> torch.Tensor:
    """One part of the sequences of a step, [batch, context + 1]: a function of seed and step alone, so resuming repeats
    nothing; the parts of a step are together the batch that a step without parts would have.
    """
    generator = torch.Generator().manual_seed(step_seed(step, config))
    starts = torch.randint(len(ids) - config.context, (config.batch * config.accumulate,), generator=generator)
    chosen = starts[part * config.batch : (part + 1) * config.batch]
    return torch.stack([ids[start : start + config.context + 1] for start in chosen]).long()


def step_seed(step: int, config: TrainConfig) -> int:
    """The seed of one step."""
    return config.seed * 1_000_003 + step


def learning_rate_at(step: int, config: TrainConfig) -> float:
    """Linear warm-up, then cosine down to a tenth of the peak."""
    if step < config.warmup:
        return config.learning_rate * (step + 1) / config.warmup
    progress = (step - config.warmup) / max(1, config.steps - config.warmup)
    return config.learning_rate * (0.1 + 0.45 * (1 + math.cos(math.pi * progress)))


def _one_step(
    training: Training, parameters: list[torch.nn.Parameter], config: TrainConfig, step: int
) -> tuple[float, float]:
    """The loss and the learning rate of a step. Where a loss or a gradient is no finite number nothing is changed, and
    the loss is returned as such.
    """
    optimizer, rate, total = training.optimizer, learning_rate_at(step, config), 0.0
    for group in optimizer.param_groups:
        group["lr"] = rate
    torch.manual_seed(step_seed(step, config))  # of dropout: resuming repeats nothing
    for part in range(config.accumulate):
        loss = training.loss_at(step, part) / config.accumulate
        loss.backward()
        total += loss.item()
    norm = torch.nn.utils.clip_grad_norm_(parameters, 1.0).item()
    if math.isfinite(total) and math.isfinite(norm):
        optimizer.step()
    elif math.isfinite(total):
        total = norm
    optimizer.zero_grad(set_to_none=True)
    return total, rate


def _evaluate(training: Training, config: TrainConfig) -> Perplexity:
    training.model.eval()
    perplexity = held_out_perplexity(training.model, training.held_out, config.context)
    training.model.train()
    return perplexity


def _check_loss(loss: float, step: int, which: str, saved_step: int | None, state: StateFile) -> None:
    if math.isfinite(loss):
        return
    kept = (
        f"the state of step {saved_step} is kept in {state.path}" if saved_step and state.path else "nothing was saved"
    )
    raise TrainingError(
        f"the {which} loss was {loss} in step {step}: the training diverged; {kept}; begin anew with `restart` and a "
        "smaller `learning_rate` or a longer `warmup`"
    )


def _note_evaluation(done: _Progress, perplexity: Perplexity, parameters: list[torch.nn.Parameter] | None) -> None:
    """Take this step for the best one, unless `parameters` are to be kept of a better one."""
    kept = done.best.get("parameters")
    if parameters is None or kept is None or perplexity.value < done.best["perplexity"]["value"]:
        done.best = {"step": done.step, "perplexity": asdict(perplexity)}
        if parameters is not None:
            done.best["parameters"] = [parameter.detach().cpu().clone() for parameter in parameters]


def _early_end(done: _Progress, config: TrainConfig) -> bool:
    if not config.patience or not done.best:
        return False
    worse = sum(step.held_out is not None and step.step > done.best["step"] for step in done.steps)
    return worse >= config.patience


def _note_schedule(done: _Progress, config: TrainConfig) -> None:
    schedule = {name: getattr(config, name) for name in _RECORDED}
    if not done.schedules or done.schedules[-1] != {**done.schedules[-1], **schedule}:
        done.schedules.append({"from_step": done.step, **schedule})


def _restored(
    saved: dict[str, Any] | None, parameters: list[torch.nn.Parameter], optimizer: torch.optim.Optimizer
) -> _Progress:
    if saved is None:
        return _Progress()
    with torch.no_grad():
        for parameter, value in zip(parameters, saved["parameters"], strict=True):
            parameter.copy_(value)
    optimizer.load_state_dict(saved["optimizer"])
    progress = saved["progress"]
    return _Progress(**{**progress, "steps": [Step(**step) for step in progress["steps"]]})
