"""Train a GPT-2 from scratch on any text: one loop, resumable, reproducible from a seed.

The optimizer and schedule are nanoGPT's (AdamW with betas 0.9/0.95, no decay on vectors, linear
warm-up, cosine to a tenth); the model class is transformers' GPT2LMHeadModel, so what is saved is
an ordinary Hugging Face checkpoint.
"""

from __future__ import annotations

import json
import math
import platform
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Callable

import torch
from tokenizers import Tokenizer
from transformers import GPT2Config, GPT2LMHeadModel
from transformers.utils import logging as transformers_logging

from gpt2_training.corpus import Corpus
from gpt2_training.errors import TrainingError
from gpt2_training.perplexity import held_out_perplexity
from gpt2_training.training_state import read_state, restoring, write_state
from gpt2_training.vocabulary import END_OF_TEXT, save_vocabulary, train_vocabulary


@dataclass(frozen=True)
class PretrainConfig:
    """The whole recipe. `batch` is in sequences of `context` tokens; `threads` 0 leaves torch's choice;
    `split_spaces` is the share of words that are split from the space before them, see `encode_split`."""

    vocabulary: int = 4096
    context: int = 512
    layers: int = 6
    heads: int = 4
    width: int = 256
    steps: int = 4000
    batch: int = 8
    learning_rate: float = 1.5e-3
    warmup: int = 200
    weight_decay: float = 0.1
    dropout: float = 0.0
    split_spaces: float = 0.02
    evaluate_every: int = 250
    seed: int = 1
    threads: int = 0
    bfloat16: bool = True


@dataclass(frozen=True)
class Step:
    """What the loop reports: cross-entropy in nats; `held_out` only on evaluated steps."""

    step: int
    loss: float
    learning_rate: float
    tokens_per_second: float
    held_out: float | None = None


@dataclass
class History:
    """What has been done: the reported steps, the time, and what each part of the training was laid out for."""

    steps: list[Step] = field(default_factory=list)
    seconds: float = 0.0
    schedules: list[dict] = field(default_factory=list)


def pretrain(
    corpus: Corpus,
    folder: Path,
    config: PretrainConfig,
    on_step: Callable[[Step], None] = lambda step: None,
    *,
    state: Path | None = None,
    command: str = "",
    source: str = "",
) -> dict:
    """Train, and write a Hugging Face checkpoint (fp16 safetensors) with its record into `folder`, which exists.

    The training's state is saved to the file `state` now and then, and training goes on from what is there; `steps` and
    `split_spaces` may be others then, and the learning rate follows the new schedule from there. The file stays: who
    has brought the checkpoint to safety deletes it. Returns the record, which is also saved as training.json: recipe,
    text, loss curve, held-out perplexity of the saved fp16 weights. Raises TrainingError for a text that is too short
    and for a state that is not of this recipe and text.
    """
    recipe = _recipe(config, corpus)
    saved = read_state(state, recipe) if state else None
    if config.threads:
        torch.set_num_threads(config.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    tokenizer = train_vocabulary(corpus.train, config.vocabulary)
    train_ids = encode_split(tokenizer, corpus.train, config.split_spaces, config.seed)
    held_out_ids = encode(tokenizer, corpus.held_out)
    if len(train_ids) <= config.context + 1:
        raise TrainingError(
            f"the text gives {len(train_ids)} training tokens, fewer than one context of {config.context}; "
            "give more text or a smaller `context`"
        )

    torch.manual_seed(config.seed)
    model = GPT2LMHeadModel(_model_config(config, tokenizer)).to(device)
    optimizer = _optimizer(model, config)
    with restoring(state):
        history, first = _resume(saved, model, optimizer)
    schedule = {"steps": config.steps, "split_spaces": config.split_spaces}
    if not history.schedules or history.schedules[-1] != {**history.schedules[-1], **schedule}:
        history.schedules.append({"from_step": first, **schedule})

    model.train()
    started, tokens_seen = time.perf_counter(), 0
    for step in range(first, config.steps):
        rate = learning_rate_at(step, config)
        for group in optimizer.param_groups:
            group["lr"] = rate
        tokens = batch_at(train_ids, step, config).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=config.bfloat16):
            logits = model(tokens[:, :-1]).logits
        loss = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), tokens[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

        tokens_seen += config.batch * config.context
        done = step + 1
        held_out = None
        if done % config.evaluate_every == 0 or done == config.steps:
            model.eval()
            held_out = math.log(held_out_perplexity(model, held_out_ids, config.context).value)
            model.train()
        elapsed = time.perf_counter() - started
        report = Step(done, loss.item(), rate, tokens_seen / elapsed, held_out)
        on_step(report)
        if held_out is not None or done % 50 == 0:
            history.steps.append(report)
        if state and held_out is not None and done < config.steps:
            write_state(
                state, recipe, _state(done, model, optimizer, replace(history, seconds=history.seconds + elapsed))
            )
    history.seconds += time.perf_counter() - started

    # What is saved is what is measured: round to fp16 first, then evaluate in fp32.
    model.half().float().eval()
    perplexity = held_out_perplexity(model, held_out_ids, config.context)
    record = {
        "command": command,
        "text": source,
        "text_sha256": corpus.fingerprint,
        "text_bytes": corpus.bytes,
        "train_tokens": len(train_ids),
        "held_out_tokens": perplexity.tokens,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "config": asdict(config),
        "schedules": history.schedules,
        "held_out_perplexity": perplexity.value,
        "held_out_perplexity_standard_error": perplexity.standard_error,
        "seconds": round(history.seconds),
        "device": device.type,
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "curve": [asdict(step) for step in history.steps],
    }
    _save_checkpoint(model, tokenizer, record, folder)
    return record


def encode(tokenizer: Tokenizer, documents: list[str]) -> torch.Tensor:
    """All documents as one 1-D int32 tensor, each preceded by `<|endoftext|>`."""
    start = tokenizer.token_to_id(END_OF_TEXT)
    ids = []
    for encoding in tokenizer.encode_batch(documents):
        ids.append(start)
        ids.extend(encoding.ids)
    return torch.tensor(ids, dtype=torch.int32)


def encode_split(tokenizer: Tokenizer, documents: list[str], share: float, seed: int) -> torch.Tensor:
    """As `encode`, but a random `share` of the words are split from the space before them.

    A prompt often ends in a space ("def "), which is then a token of its own; in ordinary text a space before a
    word is always part of the word's token, so a model that never saw one alone cannot go on from it.
    """
    ids = encode(tokenizer, documents)
    space = tokenizer.token_to_id("Ġ")
    parts = {
        id_: [space, *tokenizer.encode(token[1:]).ids]
        for token, id_ in tokenizer.get_vocab().items()
        if token[:1] == "Ġ" and token[1:2].isascii() and token[1:2].isprintable() and token[1:2]
    }
    chosen = torch.rand(len(ids), generator=torch.Generator().manual_seed(seed)) < share
    result = []
    for id_, split in zip(ids.tolist(), chosen.tolist()):
        result.extend(parts.get(id_, (id_,)) if split else (id_,))
    return torch.tensor(result, dtype=torch.int32)


def batch_at(ids: torch.Tensor, step: int, config: PretrainConfig) -> torch.Tensor:
    """The batch of one step, [batch, context + 1]: a function of seed and step alone, so resuming repeats nothing."""
    generator = torch.Generator().manual_seed(config.seed * 1_000_003 + step)
    starts = torch.randint(len(ids) - config.context, (config.batch,), generator=generator)
    return torch.stack([ids[start : start + config.context + 1] for start in starts]).long()


def learning_rate_at(step: int, config: PretrainConfig) -> float:
    """Linear warm-up, then cosine down to a tenth of the peak."""
    if step < config.warmup:
        return config.learning_rate * (step + 1) / config.warmup
    progress = (step - config.warmup) / max(1, config.steps - config.warmup)
    return config.learning_rate * (0.1 + 0.45 * (1 + math.cos(math.pi * progress)))


def _model_config(config: PretrainConfig, tokenizer: Tokenizer) -> GPT2Config:
    end = tokenizer.token_to_id(END_OF_TEXT)
    return GPT2Config(
        vocab_size=tokenizer.get_vocab_size(),
        n_positions=config.context,
        n_embd=config.width,
        n_layer=config.layers,
        n_head=config.heads,
        bos_token_id=end,
        eos_token_id=end,
        resid_pdrop=config.dropout,
        embd_pdrop=config.dropout,
        attn_pdrop=config.dropout,
    )


def _optimizer(model: torch.nn.Module, config: PretrainConfig) -> torch.optim.Optimizer:
    matrices = [parameter for parameter in model.parameters() if parameter.dim() >= 2]
    vectors = [parameter for parameter in model.parameters() if parameter.dim() < 2]
    return torch.optim.AdamW(
        [{"params": matrices, "weight_decay": config.weight_decay}, {"params": vectors, "weight_decay": 0.0}],
        lr=config.learning_rate,
        betas=(0.9, 0.95),
        fused=True,
    )


def _recipe(config: PretrainConfig, corpus: Corpus) -> dict:
    """What must be the same for training to go on: everything but what a schedule may change, and the threads."""
    recipe = {name: value for name, value in asdict(config).items() if name not in ("steps", "split_spaces", "threads")}
    return {**recipe, "text": corpus.fingerprint}


def _resume(saved: dict | None, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> tuple[History, int]:
    if saved is None:
        return History(), 0
    model.load_state_dict(saved["model"])
    optimizer.load_state_dict(saved["optimizer"])
    return History([Step(**step) for step in saved["history"]], saved["seconds"], saved["schedules"]), saved["step"]


def _state(step: int, model: torch.nn.Module, optimizer: torch.optim.Optimizer, history: History) -> dict:
    return {
        "step": step,
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "history": [asdict(entry) for entry in history.steps],
        "seconds": history.seconds,
        "schedules": history.schedules,
    }


def _save_checkpoint(model, tokenizer: Tokenizer, record: dict, folder: Path) -> None:
    transformers_logging.disable_progress_bar()  # progress is shown by whoever called
    model.half().save_pretrained(folder, safe_serialization=True)
    save_vocabulary(tokenizer, folder)
    (folder / "training.json").write_text(json.dumps(record, indent=1) + "\n")
