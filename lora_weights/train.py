"""Train a LoRA adapter for a GPT-2 on any text, with transformers and peft; what is saved is an ordinary PEFT
folder.
"""

from __future__ import annotations

import json
import platform
import warnings
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Callable, Protocol

import torch
from transformers import GPT2LMHeadModel
from transformers.pytorch_utils import Conv1D

from gpt2_training.base_model import BaseModel, EncodedText
from gpt2_training.corpus import Corpus
from gpt2_training.errors import RecipeError
from gpt2_training.fused import fuse
from gpt2_training.loop import Step
from gpt2_training.pretrain import TrainingOutput
from lora_weights.card import adapter_card
from lora_weights.fine_tune import FineTuneConfig, FineTuned, fine_tune
from lora_weights.peft_adapter import RECORD

if TYPE_CHECKING:
    from peft import PeftModel


class NamedModel(Protocol):
    """What a record says of the model that an adapter is for."""

    @property
    def name(self) -> str: ...

    @property
    def fingerprint(self) -> str | None: ...


@dataclass(frozen=True)
class AdapterOutput(TrainingOutput):
    """Where an adapter is written, and what its record and its model card say. `name` is the adapter's, by default the
    folder's.
    """

    name: str = ""
    licence: str | None = None


def train_adapter(
    base: BaseModel,
    corpus: Corpus,
    config: FineTuneConfig,
    output: AdapterOutput,
    on_step: Callable[[Step], None] = lambda step: None,
) -> dict:
    """Train an adapter of `base` (whose own weights stay as they are) and write it to `output` in PEFT's form.

    Returns the record, also saved in the folder as training.json: recipe, text, losses, held-out perplexity before and
    after, and the fingerprint of the base. Raises RecipeError when the model is too small or has no such targets,
    TrainingError for a text that is too short and for a state that is not of this training.
    """
    text, folder = base.encode(corpus, config), output.folder
    adapted = with_adapter(base.model, config)
    result = fine_tune(adapted, text, config, on_step, output.state, base.fingerprint)
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
        "schedules": result.schedules,
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


def with_adapter(model: GPT2LMHeadModel, config: FineTuneConfig) -> PeftModel:
    """`model` with a new adapter in place, only that trainable; from the config's seed. Returns peft's model around
    it. Raises RecipeError for targets that are none of its matrices.
    """
    from peft import LoraConfig, get_peft_model

    _check_targets(model, config.targets)
    fuse(model)
    torch.manual_seed(config.seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that fan_in_fan_out is set for Conv1D, which is right
        return get_peft_model(
            model,
            LoraConfig(
                task_type="CAUSAL_LM",
                r=config.rank,
                lora_alpha=config.lora_alpha,
                target_modules=list(config.targets),
                lora_dropout=config.dropout,
                use_rslora=config.rslora,
                fan_in_fan_out=True,
            ),
        )


def _check_targets(model: GPT2LMHeadModel, targets: tuple[str, ...]) -> None:
    matrices = [name for name, module in model.transformer.named_modules() if isinstance(module, Conv1D)]
    unknown = [target for target in targets if not any(f".{name}".endswith(f".{target}") for name in matrices)]
    if unknown or not targets:
        names = sorted({name.split(".", 2)[2] for name in matrices})
        raise RecipeError(
            f"`targets` {', '.join(unknown) or 'is empty'}: a GPT-2's matrices are {', '.join(names)}; give some of "
            "them"
        )
