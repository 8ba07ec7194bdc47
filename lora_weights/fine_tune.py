"""Fine-tuning trains an adapter or a whole model further, in the loop of `gpt2_training/loop.py`."""

from __future__ import annotations

import hashlib
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Callable

import torch

from gpt2_training.loop import (
    StateFile,
    Step,
    Training,
    batch_at,
    next_token_loss,
    step_seed,
    train,
    trained_parameters,
)
from gpt2_training.perplexity import Perplexity, held_out_perplexity
from gpt2_training.training_state import read_state
from lora_weights.errors import LoraError


@dataclass(frozen=True)
class FineTuneConfig:
    """`batch` is in sequences of `context` tokens; `rank` 0 trains the whole model. alpha None: twice the rank."""

    rank: int = 8
    alpha: float | None = None
    targets: tuple[str, ...] = ("attn.c_attn", "attn.c_proj")
    rslora: bool = False
    dropout: float = 0.0
    steps: int = 300
    batch: int = 8
    context: int = 128
    learning_rate: float = 2e-3
    warmup: int = 20
    weight_decay: float = 0.0
    evaluate_every: int = 50
    seed: int = 1
    threads: int = 0


@dataclass(frozen=True)
class EncodedText:
    """Token ids (1-D) to train on, and those held out."""

    train: torch.Tensor
    held_out: torch.Tensor


@dataclass(frozen=True)
class FineTuned:
    """Held-out perplexity before and after, the steps in between, and what it took. `optimizer_bytes`: its state."""

    before: Perplexity
    after: Perplexity
    steps: list[Step]
    seconds: float
    trainable: int
    optimizer_bytes: int


def fine_tune(
    model: torch.nn.Module,
    text: EncodedText,
    config: FineTuneConfig,
    on_step: Callable[[Step], None] = lambda step: None,
    state: Path | None = None,
    base: str | None = None,
) -> FineTuned:
    """Train the parameters of `model` that require a gradient, in place, on `text`.train.

    With `state`, a file, the training's state is saved there now and then, and the training goes on from what it holds,
    if that is of the same `base` (what tells one model from another). Raises LoraError if the texts are too short,
    TrainingError if the state is of another config, text or base.
    """
    check_length(text, config)
    recipe = training_recipe(config, text, base)
    saved = read_state(state, recipe) if state else None
    if config.threads:
        torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    parameters = trained_parameters(model)
    optimizer = torch.optim.AdamW(
        parameters, lr=config.learning_rate, betas=(0.9, 0.95), weight_decay=config.weight_decay
    )

    def loss_at(step: int) -> torch.Tensor:
        torch.manual_seed(step_seed(step, config))  # of dropout: resuming repeats nothing
        tokens = batch_at(text.train, step, config)
        return next_token_loss(model(tokens[:, :-1]).logits, tokens)

    model.eval()
    before = held_out_perplexity(model, text.held_out, config.context)
    training = Training(model, optimizer, loss_at, text.held_out)
    trained = train(training, config, StateFile(state, recipe, saved), on_step)
    started = time.perf_counter()
    model.eval()
    after = held_out_perplexity(model, text.held_out, config.context)
    seconds = trained.seconds + time.perf_counter() - started
    held = sum(
        value.nbytes
        for entry in optimizer.state.values()
        for value in entry.values()
        if isinstance(value, torch.Tensor)
    )
    return FineTuned(before, after, trained.steps, seconds, sum(map(torch.Tensor.numel, parameters)), held)


def check_length(text: EncodedText, config: FineTuneConfig) -> None:
    """Raise LoraError if a text is shorter than the config's context."""
    if len(text.train) <= config.context + 1 or len(text.held_out) < config.context:
        raise LoraError(
            f"the text gives {len(text.train)} tokens to train on and {len(text.held_out)} to hold out; each has to "
            f"fill a `context` of {config.context}; give more text or a smaller context"
        )


def training_recipe(config: FineTuneConfig, text: EncodedText, base: str | None) -> dict:
    """What must be the same for training to go on: everything but the threads."""
    texts = {
        name: hashlib.sha256(ids.numpy().tobytes()).hexdigest()
        for name, ids in (("text", text.train), ("held_out_text", text.held_out))
    }
    return {**{name: value for name, value in asdict(config).items() if name != "threads"}, **texts, "base": base}
