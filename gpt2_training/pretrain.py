"""Pretraining makes a GPT-2 from scratch on any text, in the loop of `loop.py`; `finetune` trains one further.

The optimizer is nanoGPT's (AdamW with betas 0.9/0.95, no decay on vectors); the model class is transformers'
GPT2LMHeadModel, so what is saved is an ordinary Hugging Face checkpoint.
"""

from __future__ import annotations

import json
import math
import platform
import shutil
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Callable, ContextManager

import torch
from transformers import GPT2Config, GPT2LMHeadModel
from transformers.utils import logging as transformers_logging

from gpt2_training.base_model import BaseModel, EncodedText
from gpt2_training.corpus import Corpus
from gpt2_training.device import check_memory, settled
from gpt2_training.errors import RecipeError, TrainingError
from gpt2_training.fused import fuse
from gpt2_training.loop import StateFile, Step, TrainConfig, Trained, Training, batch_at, next_token_loss, train
from gpt2_training.perplexity import Perplexity, held_out_perplexity
from gpt2_training.vocabulary import (
    END_OF_TEXT,
    TOKENIZERS,
    alphabet_of,
    make_vocabulary,
    outside_alphabet,
    save_vocabulary,
)

RECORD = "training.json"


@dataclass(frozen=True, kw_only=True)
class PretrainConfig(TrainConfig):
    """The whole recipe of a new model. `tokenizer` is one of `TOKENIZERS`; `vocabulary` the size of a BPE, and the most
    tokens that characters may take. `split_spaces` is the share of words that are split from the space before them, see
    `encode_split`. Raises RecipeError for sizes that no model can have.
    """

    tokenizer: str = "bpe"
    vocabulary: int = 4096
    layers: int = 6
    heads: int = 4
    width: int = 256
    split_spaces: float = 0.02

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("vocabulary", "layers", "heads", "width"):
            if getattr(self, name) < 1:
                raise RecipeError(f"`{name}` is {getattr(self, name)}; expected 1 or more; give another")
        if self.width % self.heads:
            raise RecipeError(
                f"`width` {self.width} is not divisible by `heads` {self.heads}; every head needs the same width"
            )
        if self.tokenizer not in TOKENIZERS:
            raise RecipeError(f"`tokenizer` {self.tokenizer} is none of {', '.join(TOKENIZERS)}; give one of these")

    @property
    def parameters(self) -> int:
        """Those of the model that a BPE of `vocabulary` tokens gives."""
        return (self.vocabulary + self.context) * self.width + self.layers * (12 * self.width + 13) * self.width


# The embedded sample's recipe; nanoGPT's config/train_shakespeare_char.py with 2,000 steps (MyNanoGPT's); and nanoGPT's
# config/train_gpt2.py on one device, where GPT-2's size makes a step of 40 times 12 sequences.
PRESETS = {
    "sample": PretrainConfig(),
    "char-384": PretrainConfig(
        tokenizer="char",
        layers=6,
        heads=6,
        width=384,
        context=256,
        steps=2000,
        batch=64,
        learning_rate=1e-3,
        warmup=100,
        beta2=0.99,
        dropout=0.2,
    ),
    "gpt2": PretrainConfig(
        vocabulary=50257,
        layers=12,
        heads=12,
        width=768,
        context=1024,
        steps=600_000,
        batch=12,
        accumulate=40,
        learning_rate=6e-4,
        warmup=2000,
        evaluate_every=1000,
    ),
}

# All weights further on a text of one's own: steps as many as an adapter's, and smaller ones, because what suits a few
# parameters breaks many.
FINETUNE = TrainConfig(steps=300, context=128, learning_rate=3e-4, warmup=20, weight_decay=0.0, evaluate_every=50)


@dataclass(frozen=True)
class TrainingOutput:
    """Where a checkpoint is written (the folder exists), where the training's state is saved, and the command that was
    given, for the record.
    """

    folder: Path
    state: StateFile = field(default_factory=StateFile)
    command: str = ""


@dataclass(frozen=True)
class Watch:
    """Who looks on: `stage` is entered around what comes before the first step, `on_step` is told of each."""

    on_step: Callable[[Step], None] = lambda step: None
    stage: Callable[[str], ContextManager] = lambda text: nullcontext()


def pretrain(corpus: Corpus, output: TrainingOutput, config: PretrainConfig, watch: Watch = Watch()) -> dict[str, Any]:
    """Make a vocabulary and a model for a text, train it, and write a Hugging Face checkpoint (fp16 safetensors).

    The training's state is saved now and then, and training goes on from what is there; `steps`, `evaluate_every` and
    `patience` may be others then, and the learning rate follows the new schedule from there. Returns the record, which
    is also saved as training.json: recipe, text, loss curve, held-out perplexity of the saved fp16 weights. Raises
    RecipeError and TrainingError for what cannot be trained, or goes wrong on the way.
    """
    config = settled(config)
    if config.tokenizer == "bpe":  # of the others the text decides
        check_memory(config.parameters, config.device)
    with watch.stage("Making the vocabulary"):
        tokenizer = make_vocabulary(config.tokenizer, corpus.train, config.vocabulary)
    alphabet = alphabet_of(corpus.train) if config.tokenizer == "char" else None
    torch.manual_seed(config.seed)
    end = tokenizer.token_to_id(END_OF_TEXT)
    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=tokenizer.get_vocab_size(),
            n_positions=config.context,
            n_embd=config.width,
            n_layer=config.layers,
            n_head=config.heads,
            bos_token_id=end,
            eos_token_id=end,
        )
    )
    facts = {} if alphabet is None else {"alphabet": alphabet}
    return _train_whole(BaseModel(model, tokenizer, start=end), corpus, output, config, watch, facts)


def finetune(
    base: BaseModel, corpus: Corpus, output: TrainingOutput, config: TrainConfig, watch: Watch = Watch()
) -> dict[str, Any]:
    """Train all weights of `base` further, and write a checkpoint with its vocabulary, as `pretrain` does.

    The record also has the held-out perplexity before.
    """
    config = settled(config)
    check_memory(base.model.num_parameters(), config.device)
    base.model.requires_grad_(True)
    facts = {"base": base.name, "base_fingerprint": base.fingerprint}
    return _train_whole(base, corpus, output, config, watch, facts)


def _train_whole(
    base: BaseModel, corpus: Corpus, output: TrainingOutput, config: TrainConfig, watch: Watch, facts: dict[str, Any]
) -> dict[str, Any]:
    if config.threads:
        torch.set_num_threads(config.threads)
    with watch.stage("Cutting the text into tokens"):
        text = base.encode(corpus, config)
    model = _with_dropout(fuse(base.model), config.dropout).to(config.device)
    if "base" in facts:
        with watch.stage("Measuring the model as it is"):
            before = held_out_perplexity(model.eval(), text.held_out, config.context)
        facts = {
            **facts,
            "held_out_perplexity_before": before.value,
            "held_out_perplexity_before_standard_error": before.standard_error,
        }
    recipe = {"text": corpus.fingerprint, "base": base.fingerprint}
    training = Training(model, _optimizer(model, config), _loss_of(model, text.train, config), text.held_out)
    trained = train(training, config, recipe, output.state, watch.on_step)

    # What is saved is what is measured: round to fp16 first, then evaluate in fp32.
    model.half().float().eval()
    perplexity = held_out_perplexity(model, text.held_out, config.context)
    record = {
        "command": output.command,
        **_text_facts(corpus, text, perplexity),
        **_alphabet_facts(corpus, facts),
        "parameters": model.num_parameters(),
        "config": asdict(config),
        **_trained_facts(trained, perplexity),
        "device": config.device,
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "curve": [asdict(step) for step in trained.steps if step.held_out is not None or step.step % 50 == 0],
    }
    _save_checkpoint(base, record, output.folder)
    return record


def _text_facts(corpus: Corpus, text: EncodedText, perplexity: Perplexity) -> dict[str, Any]:
    held_out_bytes = sum(len(document.encode()) for document in corpus.held_out)
    return {
        "text": corpus.source,
        "text_sha256": corpus.fingerprint,
        "text_bytes": corpus.bytes,
        "train_tokens": len(text.train),
        "held_out_tokens": perplexity.tokens,
        # Of all tokenizers the same unit: what a byte of the text costs.
        "held_out_bits_per_byte": perplexity.loss / math.log(2) * len(text.held_out) / held_out_bytes,
        "prompt": corpus.prompt,
    }


def _alphabet_facts(corpus: Corpus, facts: dict[str, Any]) -> dict[str, Any]:
    if "alphabet" not in facts:
        return facts
    return {**facts, "held_out_outside_alphabet": outside_alphabet("".join(corpus.held_out), facts["alphabet"])}


def _trained_facts(trained: Trained, perplexity: Perplexity) -> dict[str, Any]:
    return {
        "schedules": trained.schedules,
        "best_step": trained.best,
        "held_out_perplexity": perplexity.value,
        "held_out_perplexity_standard_error": perplexity.standard_error,
        "seconds": round(trained.seconds),
    }


def _with_dropout(model: GPT2LMHeadModel, dropout: float) -> GPT2LMHeadModel:
    for name in ("resid_pdrop", "embd_pdrop", "attn_pdrop"):
        setattr(model.config, name, dropout)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = dropout
    return model


def _loss_of(model: GPT2LMHeadModel, ids: torch.Tensor, config: TrainConfig) -> Callable[[int, int], torch.Tensor]:
    forward = torch.compile(model) if config.compile else model

    def loss_at(step: int, part: int) -> torch.Tensor:
        tokens = batch_at(ids, step, config, part).to(config.device)
        with torch.autocast(config.device, torch.bfloat16, enabled=config.bfloat16):
            logits = _computed(forward, tokens[:, :-1], config.compile)
        return next_token_loss(logits, tokens)

    return loss_at


def _computed(forward: Callable, tokens: torch.Tensor, compiled: bool) -> torch.Tensor:
    """The logits. A compiler that is missing or fails is said in a sentence."""
    try:
        return forward(tokens, use_cache=False).logits
    except Exception as error:
        if not compiled:
            raise
        first = (str(error).strip().splitlines() or [""])[0][:200]
        raise TrainingError(
            f"torch.compile failed ({type(error).__name__}: {first}); expected a C++ compiler that it can use; leave "
            "out `compile`"
        ) from error


def _optimizer(model: torch.nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    matrices = [parameter for parameter in model.parameters() if parameter.dim() >= 2]
    vectors = [parameter for parameter in model.parameters() if parameter.dim() < 2]
    return torch.optim.AdamW(
        [{"params": matrices, "weight_decay": config.weight_decay}, {"params": vectors, "weight_decay": 0.0}],
        lr=config.learning_rate,
        betas=(0.9, config.beta2),
        fused=True,
    )


def _save_checkpoint(base: BaseModel, record: dict[str, Any], folder: Path) -> None:
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()  # the caller shows progress
    try:
        base.model.half().save_pretrained(folder, safe_serialization=True)
    finally:
        if shown:  # downloads from the hub have the same switch
            transformers_logging.enable_progress_bar()
    if base.vocabulary_files:
        for path in base.vocabulary_files:
            shutil.copyfile(path, folder / path.name)
    else:
        save_vocabulary(base.tokenizer, folder)
    (folder / RECORD).write_text(json.dumps(record, indent=1) + "\n")
