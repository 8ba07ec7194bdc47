"""Fine-tuning trains an adapter or a whole model further, in the loop of `gpt2_training/loop.py`."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Callable

import torch

from gpt2_training.base_model import EncodedText
from gpt2_training.device import settled
from gpt2_training.loop import (
    StateFile,
    Step,
    TrainConfig,
    Training,
    batch_at,
    next_token_loss,
    train,
    trained_parameters,
)
from gpt2_training.perplexity import Perplexity, held_out_perplexity


@dataclass(frozen=True, kw_only=True)
class FineTuneConfig(TrainConfig):
    """`rank` 0 trains the whole model. alpha None: twice the rank."""

    rank: int = 8
    alpha: float | None = None
    targets: tuple[str, ...] = ("attn.c_attn", "attn.c_proj")
    rslora: bool = False
    steps: int = 300
    context: int = 128
    learning_rate: float = 2e-3
    warmup: int = 20
    weight_decay: float = 0.0
    evaluate_every: int = 50
    bfloat16: bool | None = False

    @property
    def lora_alpha(self) -> float:
        """`alpha`, as PEFT is given it."""
        return 2 * self.rank if self.alpha is None else self.alpha


@dataclass(frozen=True)
class FineTuned:
    """Held-out perplexity before and after, the steps in between, and what it took. `optimizer_bytes`: its state."""

    before: Perplexity
    after: Perplexity
    steps: list[Step]
    seconds: float
    schedules: list[dict[str, Any]]
    trainable: int
    optimizer_bytes: int


def fine_tune(
    model: torch.nn.Module,
    text: EncodedText,
    config: FineTuneConfig,
    on_step: Callable[[Step], None] = lambda step: None,
    state: StateFile = StateFile(),
    base: str | None = None,
) -> FineTuned:
    """Train the parameters of `model` that require a gradient, in place, on `text`.train.

    The training's state is saved to `state` now and then, and the training goes on from what it holds, if that is of
    the same `base` (what tells one model from another). Raises TrainingError if the state is of another config, text or
    base, and what `train` raises.
    """
    config = settled(config)
    model.to(config.device)
    if config.threads:
        torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    parameters = trained_parameters(model)
    optimizer = torch.optim.AdamW(
        parameters, lr=config.learning_rate, betas=(0.9, config.beta2), weight_decay=config.weight_decay
    )

    def loss_at(step: int, part: int) -> torch.Tensor:
        tokens = batch_at(text.train, step, config, part).to(config.device)
        with torch.autocast(config.device, torch.bfloat16, enabled=config.bfloat16):
            logits = model(tokens[:, :-1], use_cache=False).logits
        return next_token_loss(logits, tokens)

    model.eval()
    before = held_out_perplexity(model, text.held_out, config.context)
    training = Training(model, optimizer, loss_at, text.held_out)
    trained = train(training, config, {**hashes_of(text), "base": base}, state, on_step)
    model.eval()
    held = sum(
        value.nbytes
        for entry in optimizer.state.values()
        for value in entry.values()
        if isinstance(value, torch.Tensor)
    )
    return FineTuned(
        before,
        trained.perplexity,
        trained.steps,
        trained.seconds,
        trained.schedules,
        sum(map(torch.Tensor.numel, parameters)),
        held,
    )


def hashes_of(text: EncodedText) -> dict[str, str]:
    """What tells a text from another, for the state of a training."""
    return {
        name: hashlib.sha256(ids.numpy().tobytes()).hexdigest()
        for name, ids in (("text", text.train), ("held_out_text", text.held_out))
    }
