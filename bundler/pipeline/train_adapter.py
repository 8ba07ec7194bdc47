"""Trains an adapter with a trainer file in LiteRT, as a phone does, in the words of lora_weights/train.py."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Callable

import numpy as np
import torch
from tokenizers import Tokenizer

from bundler.checkpoints.architecture import GPT2Architecture
from bundler.checkpoints.checkpoint import Checkpoint
from bundler.errors import OptionError
from bundler.lora.facts import base_of
from bundler.tflite.trainer import StepSize, TFLiteTrainer, TrainingState
from gpt2_training.corpus import Corpus
from gpt2_training.errors import TrainingError
from gpt2_training.loop import Step, batch_at, learning_rate_at
from gpt2_training.perplexity import Perplexity, perplexity_of
from gpt2_training.training_state import read_state, restoring, write_state
from lora_weights.adapter import Base
from lora_weights.fine_tune import EncodedText, FineTuneConfig, FineTuned, check_length, training_recipe
from lora_weights.flat_adapter import FlatAdapter
from lora_weights.peft_config import ATTENTION
from lora_weights.peft_folder import write_peft_folder
from lora_weights.train import AdapterOutput, encode_corpus, training_record, write_record
from tokenizer_tools.vocabulary import reference_tokenizer
from tokenizer_tools.vocabulary_files import read_vocabulary


@dataclass(frozen=True)
class DeviceModel:
    """A trainer file, and the checkpoint that it was made from."""

    trainer: Path
    base: Base
    tokenizer: Tokenizer
    name: str

    @property
    def fingerprint(self) -> str | None:
        return self.base.fingerprint


def device_model(checkpoint: Checkpoint, name: str, trainer: Path) -> DeviceModel:
    """The model that the trainer file was made from, to be trained with it."""
    return DeviceModel(trainer, base_of(checkpoint), reference_tokenizer(read_vocabulary(checkpoint.folder)), name)


def check_config(config: FineTuneConfig, architecture: GPT2Architecture) -> None:
    """Raise OptionError for what a trainer file cannot do."""
    if config.context > architecture.positions:
        raise OptionError(
            f"`context` {config.context}: the model has {architecture.positions} positions; give that many or fewer"
        )
    if tuple(config.targets) != ATTENTION:
        targets = ",".join(config.targets)
        raise OptionError(f"`targets` {targets}: a trainer file trains {','.join(ATTENTION)}; give these")
    if config.dropout:
        raise OptionError(f"`dropout` {config.dropout:g}: a trainer file has none; give 0, or train with PyTorch")


def train_on_device(
    base: DeviceModel,
    corpus: Corpus,
    config: FineTuneConfig,
    output: AdapterOutput,
    on_step: Callable[[Step], None] = lambda step: None,
    state: Path | None = None,
) -> dict:
    """Train an adapter in LiteRT alone, and write it as `lora_weights.train.train_adapter` does, with the same record.

    Raises OptionError where the config and the trainer file do not fit, LoraError when the text is too short,
    TrainingError for a state that is not of this training, or a loss that is no number.
    """
    trainer = TFLiteTrainer(base.trainer, config.threads or 1)
    for name, own, asked in (("context", trainer.length, config.context), ("rank", trainer.rank, config.rank)):
        if own != asked:
            raise OptionError(f"`{name}` {asked}: {base.trainer} was built for {own}; give {own}, or build another")
    if trainer.base not in (None, base.base):
        raise OptionError(
            f"{base.trainer} was made from another model than {base.name}; give the model that it was made from"
        )
    text = encode_corpus(base.tokenizer, corpus)
    layout = FlatAdapter(base.base.layers, base.base.width, config.rank)
    result, adapter = _train(trainer, layout, text, config, _StateFile(state, base.fingerprint), on_step)
    record = {"command": output.command, "engine": "tflite", **training_record(base, corpus, config, text, result)}
    alpha = 2 * config.rank if config.alpha is None else config.alpha
    write_peft_folder(output.folder, layout.matrices(adapter), config.rank, alpha, base.name, config.rslora)
    write_record(output, record)
    return record


@dataclass(frozen=True)
class _StateFile:
    path: Path | None
    base: str | None


def _train(
    trainer: TFLiteTrainer,
    layout: FlatAdapter,
    text: EncodedText,
    config: FineTuneConfig,
    file: _StateFile,
    on_step: Callable[[Step], None],
) -> tuple[FineTuned, np.ndarray]:
    """The loop of gpt2_training/loop.py with LiteRT in the place of PyTorch. Returns what it took, and the adapter."""
    check_length(text, config)
    scaling = scaling_of(config)
    recipe = {**training_recipe(config, text, file.base), "engine": "tflite"}
    saved = read_state(file.path, recipe) if file.path else None
    state, first, steps, seconds = TrainingState.begin(layout.start(config.seed)), 0, [], 0.0
    if saved:
        with restoring(file.path):
            state = TrainingState(*(saved["state"][name].numpy() for name in asdict(state)))
            first, seconds = saved["step"], saved["seconds"]
            steps = [Step(**step) for step in saved["steps"]]

    def perplexity(adapter: np.ndarray) -> Perplexity:
        return perplexity_of(torch.from_numpy(trainer.losses(adapter, scaling, text.held_out.numpy())))

    before = perplexity(np.zeros_like(state.adapter))
    started = time.perf_counter()
    for step in range(first, config.steps):
        rate, batch = learning_rate_at(step, config), batch_at(text.train, step, config).numpy()
        state, loss = trainer.step(state, batch, StepSize(step + 1, rate, config.weight_decay, scaling))
        if not (math.isfinite(loss) and np.isfinite(state.adapter).all()):
            raise TrainingError(
                f"step {step + 1}: the loss is {loss}; expected a finite number. The last saved state is kept; give a "
                "smaller `learning_rate` and `restart`"
            )
        done, held_out = step + 1, None
        if done % config.evaluate_every == 0 and done < config.steps:
            held_out = math.log(perplexity(state.adapter).value)
        elapsed = time.perf_counter() - started
        tokens = (done - first) * config.batch * config.context
        steps.append(Step(done, loss, rate, tokens / elapsed, held_out))
        on_step(steps[-1])
        if file.path and held_out is not None:
            arrays = {name: torch.from_numpy(array) for name, array in vars(state).items()}
            values = {"step": done, "state": arrays, "steps": [asdict(s) for s in steps], "seconds": seconds + elapsed}
            write_state(file.path, recipe, values)
    after = perplexity(state.adapter)
    seconds += time.perf_counter() - started
    optimizer_bytes = state.first_moment.nbytes + state.second_moment.nbytes
    return FineTuned(before, after, steps, seconds, layout.count, optimizer_bytes), state.adapter


def scaling_of(config: FineTuneConfig) -> float:
    """What a config multiplies x·A·B by, as PEFT does."""
    alpha = 2 * config.rank if config.alpha is None else config.alpha
    return alpha / (math.sqrt(config.rank) if config.rslora else config.rank)
