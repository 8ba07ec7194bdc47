"""The training loop of fine-tuning, the same for an adapter and for a whole model; resumable, and reproducible from a
seed.
"""

from __future__ import annotations

import hashlib
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Callable, Sequence

import torch

from gpt2_training.perplexity import Perplexity, held_out_perplexity
from gpt2_training.pretrain import batch_at, learning_rate_at
from gpt2_training.training_state import read_state, restoring, write_state
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
class Step:
    """What the loop reports: cross-entropy in nats; `held_out` only on evaluated steps."""

    step: int
    loss: float
    tokens_per_second: float
    held_out: float | None = None


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
    train: torch.Tensor,
    held_out: torch.Tensor,
    config: FineTuneConfig,
    on_step: Callable[[Step], None] = lambda step: None,
    state: Path | None = None,
    base: str | None = None,
) -> FineTuned:
    """Train the parameters of `model` that require a gradient, in place, on token ids `train` (1-D).

    With `state`, a file, the training's state is saved there now and then, and the training goes on from what it holds,
    if that is of the same `base` (what tells one model from another). Raises LoraError if the texts are too short,
    TrainingError if the state is of another config, text or base.
    """
    if len(train) <= config.context + 1 or len(held_out) < config.context:
        raise LoraError(
            f"the text gives {len(train)} tokens to train on and {len(held_out)} to hold out; each has to fill a "
            f"`context` of {config.context}; give more text or a smaller context"
        )
    recipe = _recipe(config, train, held_out, base)
    saved = read_state(state, recipe) if state else None
    if config.threads:
        torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(
        parameters, lr=config.learning_rate, betas=(0.9, 0.95), weight_decay=config.weight_decay
    )
    model.eval()
    before = held_out_perplexity(model, held_out, config.context)
    with restoring(state):
        first, steps, seconds = _resume(saved, parameters, optimizer)
    model.train()
    started = time.perf_counter()
    for number in range(first, config.steps):
        torch.manual_seed(config.seed * 1_000_003 + number)  # of dropout: resuming repeats nothing
        for group in optimizer.param_groups:
            group["lr"] = learning_rate_at(number, config)
        tokens = batch_at(train, number, config)
        logits = model(tokens[:, :-1]).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        done, evaluated = number + 1, None
        elapsed = time.perf_counter() - started
        if done % config.evaluate_every == 0 and done < config.steps:
            model.eval()
            evaluated = math.log(held_out_perplexity(model, held_out, config.context).value)
            model.train()
        steps.append(Step(done, loss.item(), (done - first) * config.batch * config.context / elapsed, evaluated))
        on_step(steps[-1])
        if evaluated is not None and state:
            write_state(
                state,
                recipe,
                {
                    "step": done,
                    "parameters": [parameter.detach() for parameter in parameters],
                    "optimizer": optimizer.state_dict(),
                    "steps": [asdict(entry) for entry in steps],
                    "seconds": seconds + time.perf_counter() - started,
                },
            )
    model.eval()
    after = held_out_perplexity(model, held_out, config.context)
    held = sum(
        value.nbytes
        for entry in optimizer.state.values()
        for value in entry.values()
        if isinstance(value, torch.Tensor)
    )
    return FineTuned(
        before, after, steps, seconds + time.perf_counter() - started, sum(map(torch.Tensor.numel, parameters)), held
    )


def _recipe(config: FineTuneConfig, train: torch.Tensor, held_out: torch.Tensor, base: str | None) -> dict:
    """What must be the same for training to go on: everything but the threads."""
    texts = {
        name: hashlib.sha256(ids.numpy().tobytes()).hexdigest()
        for name, ids in (("text", train), ("held_out_text", held_out))
    }
    return {**{name: value for name, value in asdict(config).items() if name != "threads"}, **texts, "base": base}


def _resume(saved: dict | None, parameters: Sequence[torch.Tensor], optimizer) -> tuple[int, list[Step], float]:
    if saved is None:
        return 0, [], 0.0
    with torch.no_grad():
        for parameter, value in zip(parameters, saved["parameters"], strict=True):
            parameter.copy_(value)
    optimizer.load_state_dict(saved["optimizer"])
    return saved["step"], [Step(**step) for step in saved["steps"]], saved["seconds"]
