"""Train a LoRA adapter for a GPT-2 on any text, with transformers and peft; what is saved is an ordinary PEFT
folder.
"""

from __future__ import annotations

import json
import platform
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Callable, Protocol

import torch
from tokenizers import Tokenizer
from transformers import GPT2LMHeadModel

from gpt2_training.corpus import Corpus
from gpt2_training.errors import RecipeError
from gpt2_training.loop import Step
from gpt2_training.pretrain import encode
from lora_weights.card import adapter_card
from lora_weights.fine_tune import EncodedText, FineTuneConfig, FineTuned, fine_tune
from lora_weights.peft_adapter import RECORD

if TYPE_CHECKING:
    from peft import PeftModel


class NamedModel(Protocol):
    """What a record says of the model that an adapter is for."""

    name: str
    fingerprint: str | None


@dataclass(frozen=True)
class BaseModel:
    """A model to fine-tune, with its tokenizer. `name` is what it is called, `fingerprint` tells its weights."""

    model: GPT2LMHeadModel
    tokenizer: Tokenizer
    name: str = ""
    fingerprint: str | None = None

    def encode(self, corpus: Corpus) -> EncodedText:
        return encode_corpus(self.tokenizer, corpus)


def encode_corpus(tokenizer: Tokenizer, corpus: Corpus) -> EncodedText:
    """Both parts of a corpus as token ids."""
    return EncodedText(encode(tokenizer, corpus.train), encode(tokenizer, corpus.held_out))


@dataclass(frozen=True)
class AdapterOutput:
    """Where an adapter is written, and what its record and its model card say. The folder exists.

    `name` is the adapter's, by default the folder's. `command` is what was asked for.
    """

    folder: Path
    name: str = ""
    licence: str | None = None
    command: str = ""


def train_adapter(
    base: BaseModel,
    corpus: Corpus,
    config: FineTuneConfig,
    output: AdapterOutput,
    on_step: Callable[[Step], None] = lambda step: None,
    state: Path | None = None,
) -> dict:
    """Train an adapter of `base` (whose own weights stay as they are) and write it to `output` in PEFT's form.

    `state` is the file that a stopped training goes on from, see `fine_tune`. Returns the record, also saved in the
    folder as training.json: recipe, text, losses, held-out perplexity before and after, and the fingerprint of the
    base. Raises LoraError when the text is too short, RecipeError when the model is too small, TrainingError for a
    state that is not of this training.
    """
    check_context(base.model, config)
    adapted, text, folder = with_adapter(base.model, config), base.encode(corpus), output.folder
    result = fine_tune(adapted, text, config, on_step, state, base.fingerprint)
    record = {"command": output.command, **training_record(base, corpus, config, text, result)}
    adapted.peft_config["default"].base_model_name_or_path = base.name
    # "auto" would ask the model hub whether the base's embedding was resized, even for a base on this machine.
    adapted.save_pretrained(folder, save_embedding_layers=False)
    write_record(output, record)
    return record


def training_record(
    base: NamedModel, corpus: Corpus, config: FineTuneConfig, text: EncodedText, result: FineTuned
) -> dict:
    """What training.json says of a training, but for the command."""
    return {
        "text": corpus.source,
        "text_sha256": corpus.fingerprint,
        "text_bytes": corpus.bytes,
        "train_tokens": len(text.train),
        "held_out_tokens": result.after.tokens,
        "base": base.name,
        "base_fingerprint": base.fingerprint,
        "config": asdict(config),
        "trainable_parameters": result.trainable,
        "seconds": round(result.seconds),
        "held_out_perplexity_before": result.before.value,
        "held_out_perplexity_before_standard_error": result.before.standard_error,
        "held_out_perplexity": result.after.value,
        "held_out_perplexity_standard_error": result.after.standard_error,
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "curve": [
            {key: value for key, value in asdict(step).items() if key != "learning_rate"}
            for step in result.steps
            if step.held_out is not None or step.step % 10 == 0
        ],
    }


def write_record(output: AdapterOutput, record: dict) -> None:
    """Write the record, and the model card that tells it, to the output's folder."""
    # In place of PEFT's, which is a form to fill in.
    (output.folder / "README.md").write_text(
        adapter_card(output.name or output.folder.name, record, output.licence), encoding="utf-8"
    )
    (output.folder / RECORD).write_text(json.dumps(record, indent=1) + "\n")


def check_context(model: GPT2LMHeadModel, config: FineTuneConfig) -> None:
    """Raise RecipeError if the model has fewer positions than the config's context."""
    if config.context > model.config.n_positions:
        raise RecipeError(
            f"`context` {config.context}: the model has {model.config.n_positions} positions; give that many or fewer"
        )


def with_adapter(model: GPT2LMHeadModel, config: FineTuneConfig) -> PeftModel:
    """`model` with a new adapter in place, only that trainable; from the config's seed. Returns peft's model around
    it.
    """
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(config.seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that fan_in_fan_out is set for Conv1D, which is right
        return get_peft_model(
            model,
            LoraConfig(
                task_type="CAUSAL_LM",
                r=config.rank,
                lora_alpha=2 * config.rank if config.alpha is None else config.alpha,
                target_modules=list(config.targets),
                lora_dropout=config.dropout,
                use_rslora=config.rslora,
                fan_in_fan_out=True,
            ),
        )
