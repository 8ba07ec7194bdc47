"""Runs a trainer file in LiteRT on the CPU: steps of training an adapter, and its losses on a text."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Sequence

import numpy as np

from bundler.errors import BundleError
from bundler.system.file_section import FileSection
from bundler.system.native_output import quiet
from bundler.tflite.model import open_model
from lora_weights.adapter import Base

# The metadata of a trainer file, JSON: `layers`, `width`, `fingerprint` and `query_scale` of lora_weights.adapter.Base.
FACTS = "task_bundler_trainer"
_TRAIN = re.compile(r"train_(\d+)_r(\d+)")


@dataclass(frozen=True)
class TrainingState:
    """An adapter (lora_weights.flat_adapter), AdamW's moments, and the gradient summed so far: float32 [count] each."""

    adapter: np.ndarray
    first_moment: np.ndarray
    second_moment: np.ndarray
    gradient: np.ndarray

    @classmethod
    def begin(cls, adapter: np.ndarray) -> TrainingState:
        return cls(adapter, *(np.zeros_like(adapter) for _ in range(3)))


@dataclass(frozen=True)
class StepSize:
    """Of one update: its number from 1, the learning rate, AdamW's weight decay, and alpha / rank."""

    step: int
    learning_rate: float
    weight_decay: float
    scaling: float


class TFLiteTrainer:
    """A trainer file, see bundler.conversion.trainer. `length`: tokens of a sequence; `rank`: of the adapters."""

    def __init__(self, path: Path, threads: int = 1) -> None:
        from ai_edge_litert.interpreter import Interpreter

        try:
            with quiet():
                self._interpreter = Interpreter(str(path), num_threads=threads)
                # Without it all signatures run on slow kernels: this is where XNNPACK takes over.
                self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise BundleError(f"{path}: LiteRT refuses this file: {error}") from error
        self.base = _base(path)
        self.length, self.rank = shape_of(path)
        shape = f"{self.length}_r{self.rank}"
        with quiet():
            self._train, self._evaluate, self._init = map(
                self._interpreter.get_signature_runner,
                (f"train_{shape}", f"eval_{shape}", f"init_r{self.rank}"),
            )

    def start(self) -> np.ndarray:
        """The adapter that the file says a training begins with."""
        return self._init(spread=_scalar(1))["adapter"]

    def step(self, state: TrainingState, batch: np.ndarray, size: StepSize) -> tuple[TrainingState, float]:
        """One update by the mean loss of `batch`, token ids [sequences, length + 1]. Returns the state after it, and
        the loss, in nats. `state` stays as it is.
        """
        weight, total = 1 / (len(batch) * self.length), 0.0
        for number, tokens in enumerate(batch, 1):
            state, loss = self.sequence(state, tokens, weight, size, number == len(batch))
            total += loss
        return state, total

    def gradient(self, state: TrainingState, tokens: np.ndarray, scaling: float) -> np.ndarray:
        """The gradient of the mean loss of `tokens` [length + 1] at the state's adapter, float32 [count]."""
        return self.sequence(state, tokens, 1 / self.length, StepSize(1, 0.0, 0.0, scaling), False)[0].gradient

    def sequence(
        self, state: TrainingState, tokens: np.ndarray, weight: float, size: StepSize, update: bool
    ) -> tuple[TrainingState, float]:
        """One run of `train`: adds the gradient of `tokens` [length + 1], each of whose losses has this weight, and
        updates if that is asked for.
        """
        tokens = np.asarray(tokens, np.int32)[None]
        outputs = self._train(
            tokens=tokens[:, :-1],
            targets=tokens[:, 1:],
            loss_weights=np.full((1, self.length), weight, np.float32),
            scaling=_scalar(size.scaling),
            step=_scalar(size.step),
            learning_rate=_scalar(size.learning_rate),
            weight_decay=_scalar(size.weight_decay),
            update=_scalar(update),
            **vars(state),
        )
        loss = float(outputs.pop("loss")[0])
        return TrainingState(**outputs), loss

    def losses(self, adapter: np.ndarray, scaling: float, ids: Sequence[int] | np.ndarray) -> np.ndarray:
        """The cross-entropy of every token of `ids` but the first of each block of `length`, in nats."""
        blocks = np.asarray(ids, np.int32)[: len(ids) // self.length * self.length].reshape(-1, self.length)
        losses = []
        for block in blocks:
            tokens = block[None]
            outputs = self._evaluate(
                tokens=tokens, targets=np.roll(tokens, -1, 1), scaling=_scalar(scaling), adapter=adapter
            )
            losses.append(outputs["losses"][0, :-1])
        return np.concatenate(losses)


def shape_of(path: Path) -> tuple[int, int]:
    """A trainer file's tokens of a sequence, and its rank. Raises BundleError for another file."""
    names = sorted(signature.key for signature in open_model(FileSection.whole(path)).signatures)
    found = next(filter(None, map(_TRAIN.fullmatch, names)), None)
    if not found:
        raise BundleError(f"{path}: signatures {names}; expected `train_T_rR`; give one of a build with `trainer`")
    return int(found[1]), int(found[2])


def _base(path: Path) -> Base | None:
    """The model that the file was made from, None if it does not say."""
    section = FileSection.whole(path)
    model = open_model(section)
    if FACTS not in model.metadata:
        return None
    buffer = model.buffers[model.metadata[FACTS]]
    with section.map() as data:
        facts = json.loads(bytes(data[buffer.offset : buffer.offset + buffer.size]))
    return Base(facts["layers"], facts["width"], tuple(facts["query_scale"]), facts["fingerprint"])


def _scalar(value: float) -> np.ndarray:
    return np.array([value], np.float32)
