"""Pretraining makes a GPT-2 from scratch on any text, in the loop of `loop.py`.

The optimizer is nanoGPT's (AdamW with betas 0.9/0.95, no decay on vectors); the model class is transformers'
GPT2LMHeadModel, so what is saved is an ordinary Hugging Face checkpoint.
"""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Callable

import torch
from tokenizers import Tokenizer
from transformers import GPT2Config, GPT2LMHeadModel
from transformers.utils import logging as transformers_logging

from gpt2_training.corpus import Corpus
from gpt2_training.errors import TrainingError
from gpt2_training.loop import StateFile, Step, Training, batch_at, next_token_loss, train
from gpt2_training.perplexity import held_out_perplexity
from gpt2_training.training_state import read_state, restoring
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


def pretrain(
    corpus: Corpus,
    folder: Path,
    config: PretrainConfig,
    on_step: Callable[[Step], None] = lambda step: None,
    *,
    state: Path | None = None,
    command: str = "",
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
        saved = _with_loop_names(saved, model)
        schedules = _schedules(saved, config)

    def loss_at(step: int) -> torch.Tensor:
        tokens = batch_at(train_ids, step, config).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=config.bfloat16):
            logits = model(tokens[:, :-1]).logits
        return next_token_loss(logits, tokens)

    training = Training(model, optimizer, loss_at, held_out_ids, evaluate_last=True)
    trained = train(training, config, StateFile(state, recipe, saved, {"schedules": schedules}), on_step)

    # What is saved is what is measured: round to fp16 first, then evaluate in fp32.
    model.half().float().eval()
    perplexity = held_out_perplexity(model, held_out_ids, config.context)
    record = {
        "command": command,
        "text": corpus.source,
        "text_sha256": corpus.fingerprint,
        "text_bytes": corpus.bytes,
        "train_tokens": len(train_ids),
        "held_out_tokens": perplexity.tokens,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "config": asdict(config),
        "schedules": schedules,
        "held_out_perplexity": perplexity.value,
        "held_out_perplexity_standard_error": perplexity.standard_error,
        "seconds": round(trained.seconds),
        "device": device.type,
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "curve": [asdict(step) for step in trained.steps if step.held_out is not None or step.step % 50 == 0],
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


def _with_loop_names(saved: dict | None, model: torch.nn.Module) -> dict | None:
    """A saved state as the loop reads it: pretraining once had a loop of its own, with other names in its states."""
    if saved is None or "model" not in saved:
        return saved
    parameters = [saved["model"][name] for name, _ in model.named_parameters()]
    return {**saved, "parameters": parameters, "steps": saved["history"]}


def _schedules(saved: dict | None, config: PretrainConfig) -> list[dict]:
    """What each part of the training was laid out for, with the step at which it began."""
    schedules = list(saved["schedules"]) if saved else []
    schedule = {"steps": config.steps, "split_spaces": config.split_spaces}
    if not schedules or schedules[-1] != {**schedules[-1], **schedule}:
        schedules.append({"from_step": saved["step"] if saved else 0, **schedule})
    return schedules


def _save_checkpoint(model: GPT2LMHeadModel, tokenizer: Tokenizer, record: dict, folder: Path) -> None:
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()  # the caller shows progress
    try:
        model.half().save_pretrained(folder, safe_serialization=True)
    finally:
        if shown:  # downloads from the hub have the same switch
            transformers_logging.enable_progress_bar()
    save_vocabulary(tokenizer, folder)
    (folder / "training.json").write_text(json.dumps(record, indent=1) + "\n")
