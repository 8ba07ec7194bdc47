"""Trains an adapter with a trainer file in LiteRT, as a phone does, in the words of lora_weights/train.py."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Callable

import numpy as np
import torch
from tokenizers import Tokenizer

from bundler.checkpoints.architecture import GPT2Architecture
from bundler.checkpoints.checkpoint import Checkpoint
from bundler.doctor.own_pieces import read_sound_vocabulary
from bundler.errors import OptionError
from bundler.lora.facts import base_of
from bundler.tflite.trainer import StepSize, TFLiteTrainer, TrainingState
from gpt2_training.base_model import EncodedText, encode_text
from gpt2_training.corpus import Corpus
from gpt2_training.errors import TrainingError, TrainingInterrupted
from gpt2_training.interrupts import signals_between_steps
from gpt2_training.loop import StateFile, Step, batch_at, lasting, learning_rate_at
from gpt2_training.perplexity import Perplexity, perplexity_of
from gpt2_training.training_state import read_state, restoring, write_state
from lora_weights.adapter import Base
from lora_weights.fine_tune import FineTuneConfig, FineTuned, hashes_of
from lora_weights.flat_adapter import FlatAdapter
from lora_weights.peft_config import ATTENTION
from lora_weights.peft_folder import write_peft_tensors
from lora_weights.train import AdapterOutput, training_record, write_record
from tokenizer_tools.vocabulary import reference_tokenizer


@dataclass(frozen=True)
class DeviceModel:
    """A trainer file, and the checkpoint that it was made from. `start`: the id before each document, as BaseModel has
    it.
    """

    trainer: Path
    base: Base
    tokenizer: Tokenizer
    name: str
    start: int | None = None

    @property
    def fingerprint(self) -> str | None:
        return self.base.fingerprint


def device_model(checkpoint: Checkpoint, name: str, trainer: Path) -> DeviceModel:
    """The model that the trainer file was made from, to be trained with it."""
    vocabulary = read_sound_vocabulary(checkpoint.folder)
    start = checkpoint.special.document_start(len(vocabulary), vocabulary.end_of_text)
    return DeviceModel(trainer, base_of(checkpoint), reference_tokenizer(vocabulary), name, start)


def check_config(config: FineTuneConfig, architecture: GPT2Architecture) -> None:
    """Raise OptionError for what a trainer file cannot do."""
    if config.context > architecture.positions:
        raise OptionError(
            f"`context` {config.context}: the model has {architecture.positions} positions; give that many or fewer"
        )
    if tuple(config.targets) != ATTENTION:
        targets = ",".join(config.targets)
        raise OptionError(f"`targets` {targets}: a trainer file trains {','.join(ATTENTION)}; give these")
    for name, value in (("dropout", config.dropout), ("patience", config.patience)):
        if value:
            raise OptionError(f"`{name}` {value:g}: a trainer file has none; give 0, or train with PyTorch")


def train_on_device(
    base: DeviceModel,
    corpus: Corpus,
    config: FineTuneConfig,
    output: AdapterOutput,
    on_step: Callable[[Step], None] = lambda step: None,
) -> dict:
    """Train an adapter in LiteRT alone, and write it as `lora_weights.train.train_adapter` does, with the same record.

    Raises what `fine_tune_on_device` does, and TrainingError when the text is too short.
    """
    text = encode_text(base.tokenizer, corpus, config, base.start)
    result, matrices = fine_tune_on_device(base, text, config, output.state, on_step)
    record = {"command": output.command, "engine": "tflite", **training_record(base, corpus, config, text, result)}
    write_peft_tensors(output.folder, matrices, config.rank, config.lora_alpha, base.name, config.rslora)
    write_record(output, record)
    return record


def fine_tune_on_device(
    base: DeviceModel,
    text: EncodedText,
    config: FineTuneConfig,
    state: StateFile = StateFile(),
    on_step: Callable[[Step], None] = lambda step: None,
) -> tuple[FineTuned, dict[str, np.ndarray]]:
    """Train an adapter in LiteRT alone, as `lora_weights.fine_tune.fine_tune` does in PyTorch; returns what it took,
    and the matrices by PEFT's names.

    Raises OptionError where the config and the trainer file do not fit, TrainingError for a state that is not of this
    training, or a loss that is no number; TrainingInterrupted for a signal.
    """
    trainer = TFLiteTrainer(base.trainer, config.threads or 1)
    for name, own, asked in (("context", trainer.length, config.context), ("rank", trainer.rank, config.rank)):
        if own != asked:
            raise OptionError(f"`{name}` {asked}: {base.trainer} was built for {own}; give {own}, or build another")
    if trainer.base not in (None, base.base):
        raise OptionError(
            f"{base.trainer} was made from another model than {base.name}; give the model that it was made from"
        )
    layout = FlatAdapter(base.base.layers, base.base.width, config.rank)
    recipe = {**lasting(config), **hashes_of(text), "base": base.fingerprint, "engine": "tflite"}
    with restoring(state.path):
        done = _begin(layout, config, state, recipe)
    result = _train(trainer, done, text, config, _Saving(state, recipe), on_step)
    return result, layout.matrices(done.state.adapter)


@dataclass
class _Progress:
    """How far a training is. `schedules` as in gpt2_training/loop.py."""

    state: TrainingState
    step: int = 0
    steps: list[Step] = field(default_factory=list)
    seconds: float = 0.0
    schedules: list[dict[str, int]] = field(default_factory=list)


@dataclass(frozen=True)
class _Saving:
    """The state file, and what of a training has to be the same for it to go on."""

    file: StateFile
    recipe: dict[str, Any]

    def save(self, done: _Progress) -> None:
        if self.file.path:
            values = {**vars(done), "steps": [asdict(step) for step in done.steps]}
            values["state"] = {name: torch.from_numpy(array) for name, array in vars(done.state).items()}
            write_state(self.file.path, self.recipe, values)


def _begin(layout: FlatAdapter, config: FineTuneConfig, file: StateFile, recipe: dict[str, Any]) -> _Progress:
    """From the start, or from what the file holds."""
    done = _Progress(TrainingState.begin(layout.start(config.seed)))
    if saved := read_state(file.path, recipe) if file.path and not file.restart else None:
        state = TrainingState(*(saved["state"][name].numpy() for name in vars(done.state)))
        steps = [Step(**step) for step in saved["steps"]]
        done = _Progress(state, saved["step"], steps, saved["seconds"], saved["schedules"])
    if done.step > config.steps:
        raise TrainingError(
            f"{file.path} is of step {done.step} already, and `steps` is {config.steps}; give more, or begin anew with "
            "`restart`"
        )
    if not done.schedules or done.schedules[-1]["steps"] != config.steps:
        done.schedules.append({"from_step": done.step, "steps": config.steps})
    return done


def _train(
    trainer: TFLiteTrainer,
    done: _Progress,
    text: EncodedText,
    config: FineTuneConfig,
    saving: _Saving,
    on_step: Callable[[Step], None],
) -> FineTuned:
    """The loop of gpt2_training/loop.py with LiteRT in the place of PyTorch. Changes `done`; returns what it took."""
    scaling, tokens = scaling_of(config), config.batch * config.accumulate * config.context

    def perplexity(adapter: np.ndarray) -> Perplexity:
        return perplexity_of(torch.from_numpy(trainer.losses(adapter, scaling, text.held_out.numpy())))

    before, after = perplexity(np.zeros_like(done.state.adapter)), None
    with signals_between_steps() as signal_came:
        while done.step < config.steps:
            started, rate = time.perf_counter(), learning_rate_at(done.step, config)
            parts = [batch_at(text.train, done.step, config, part).numpy() for part in range(config.accumulate)]
            size = StepSize(done.step + 1, rate, config.weight_decay, scaling)
            state, loss = trainer.step(done.state, np.concatenate(parts), size)
            if not (math.isfinite(loss) and np.isfinite(state.adapter).all()):
                raise TrainingError(
                    f"the training loss was {loss} in step {done.step + 1}: the training diverged; the last saved "
                    "state is kept; begin anew with `restart` and a smaller `learning_rate` or a longer `warmup`"
                )
            took, held_out = time.perf_counter() - started, None
            done.state, done.step = state, done.step + 1
            if done.step % config.evaluate_every == 0 or done.step == config.steps:
                after = perplexity(state.adapter)
                held_out = after.loss
            done.seconds += time.perf_counter() - started
            done.steps.append(Step(done.step, loss, rate, tokens / took, held_out))
            if held_out is not None:
                saving.save(done)
            on_step(done.steps[-1])
            if signal_came():
                saving.save(done)
                where = f"is saved in {saving.file.path}" if saving.file.path else "was not saved"
                raise TrainingInterrupted(f"step {done.step} of {config.steps} {where}")
    after = perplexity(done.state.adapter) if after is None else after
    moments = done.state.first_moment.nbytes + done.state.second_moment.nbytes
    return FineTuned(before, after, done.steps, done.seconds, done.schedules, done.state.adapter.size, moments)


def scaling_of(config: FineTuneConfig) -> float:
    """What a config multiplies x·A·B by, as PEFT does."""
    return config.lora_alpha / (math.sqrt(config.rank) if config.rslora else config.rank)
