"""What bundles and engines are held against: the checkpoint in PyTorch, alone and with PEFT adapters, and its TFLite
model in the interpreter.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Callable, Sequence

import numpy as np
import torch

from bundler.checkpoints.checkpoint import Checkpoint
from bundler.checkpoints.streamed_model import streamed_model
from bundler.system.heap import trim_heap
from bundler.tflite.runner import TFLiteGPT2
from bundler.verification.near_greedy import common_prefix
from lora_weights.merge_checkpoint import check_for_peft

if TYPE_CHECKING:
    from transformers import GPT2LMHeadModel

# Steps of one token are short, and every one waits for its slowest thread: on a machine that does other things too,
# four threads took three times as long as one or two.
THREADS = 2

# Of a long prompt, tokens that PyTorch reads at once: attention takes heads x tokens x tokens floats several times, for
# a thousand tokens of GPT-2 124M half a GB.
CHUNK = 256

# What is likely to be written after the tokens written so far; it may be wrong.
Guess = Callable[[list[int]], Sequence[int]]


def no_guess(written: list[int]) -> list[int]:
    """A Guess that makes none."""
    return []


class Reference:
    """transformers' GPT-2 with the checkpoint's weights, in fp32, with logits cut to the tokenizer's `vocabulary`.

    The weights of one layer are in memory at a time, so a call costs as much as reading the checkpoint, and one with
    many tokens hardly more than one with one.

    PyTorch uses at most `THREADS` threads in this process from then on.
    """

    name = "PyTorch"

    def __init__(self, checkpoint: Checkpoint, vocabulary: int) -> None:
        torch.set_num_threads(min(torch.get_num_threads(), THREADS))
        self.model = self._open(checkpoint)
        self.vocabulary = vocabulary

    def _open(self, checkpoint: Checkpoint) -> GPT2LMHeadModel:
        return streamed_model(checkpoint)

    @torch.inference_mode()
    def logits(self, ids: Sequence[int]) -> np.ndarray:
        """float32 [len(ids), vocabulary]: row i predicts the token after ids[i]."""
        logits = self.model(torch.tensor([list(ids)]), use_cache=False).logits[0, :, : self.vocabulary].numpy()
        trim_heap()
        return logits

    def greedy(self, prompt: Sequence[int], count: int, stop: frozenset[int] = frozenset()) -> list[int]:
        """Up to `count` most likely tokens after `prompt`; ends before a token of `stop`."""
        next_logits = self.continuation(prompt)
        written: list[int] = []
        while len(written) < count:
            token = int(next_logits(written).argmax())
            if token in stop:
                break
            written.append(token)
        return written

    def continuation(self, prompt: Sequence[int], guess: Guess = no_guess) -> Continuation:
        """A reader of next-token logits after `prompt` and whatever follows it."""
        return Continuation(self, prompt, guess)


class Continuation:
    """Next-token logits after a prompt and tokens written since; calls that share a beginning share its work.

    `guess` names tokens that are likely to be written next. They are read with those that are, and if they come, their
    logits are there.
    """

    def __init__(self, reference: Reference, prompt: Sequence[int], guess: Guess = no_guess) -> None:
        from transformers import DynamicCache  # seconds, and most commands do without

        self._reference, self._prompt, self._guess = reference, list(prompt), guess
        self._seen: list[int] = []  # what the cache holds
        self._rows: list[np.ndarray] = []  # of the last tokens of `_seen`
        self._cache = DynamicCache()

    def __call__(self, written: Sequence[int]) -> np.ndarray:
        """float32 [vocabulary]: the logits of the token after prompt + written."""
        ids = [*self._prompt, *written]
        behind = len(self._seen) - len(ids)  # tokens read beyond
        if not 0 <= behind < len(self._rows) or self._seen[: len(ids)] != ids:
            self._read(ids, [*ids, *self._guess(list(written))])
            behind = len(self._seen) - len(ids)
        return self._rows[-1 - behind]

    @torch.inference_mode()
    def _read(self, ids: list[int], likely: list[int]) -> None:
        """Read `likely`, which begins with `ids`; the logits from the last of `ids` on are kept."""
        kept = min(common_prefix(self._seen, ids), len(ids) - 1)  # the last token is always run: its logits are wanted
        if forgotten := len(self._seen) - kept:
            self._cache.crop(-forgotten)
        wanted = len(likely) - len(ids) + 1
        # The last call reads all that logits are wanted of.
        ends = [*range(kept + CHUNK, len(likely) - wanted, CHUNK), len(likely)]
        for begin, end in zip([kept, *ends], ends):
            output = self._reference.model(
                torch.tensor([likely[begin:end]]),
                past_key_values=self._cache,
                use_cache=True,
                logits_to_keep=wanted if end == len(likely) else 1,
            )
        self._seen = likely
        self._rows = list(output.logits[0, :, : self._reference.vocabulary].numpy())
        trim_heap()  # the products of the last layers, and of the head


class PeftReference(Reference):
    """A Reference whose adapter can be chosen: one of the PEFT `folders` it was made with, or none."""

    def __init__(self, checkpoint: Checkpoint, vocabulary: int, folders: Sequence[Path]) -> None:
        from peft import PeftModel

        super().__init__(checkpoint, vocabulary)
        for folder in folders:
            check_for_peft(folder, [name for name, _ in self.model.named_modules()])
        first, *others = self._names = [f"adapter_{index}" for index in range(len(folders))]
        self.model = PeftModel.from_pretrained(self.model, folders[0], adapter_name=first)
        for name, folder in zip(others, folders[1:]):
            self.model.load_adapter(folder, adapter_name=name)
        self.model.eval()

    def _open(self, checkpoint: Checkpoint) -> GPT2LMHeadModel:
        return checkpoint.reference_model()  # PEFT puts its own modules into it

    def use(self, index: int | None) -> PeftReference:
        """Compute with the adapter of folder number `index` from now on, or with the base alone. Returns itself."""
        if index is None:
            self.model.base_model.disable_adapter_layers()
        else:
            self.model.base_model.enable_adapter_layers()
            self.model.set_adapter(self._names[index])
        return self


class TFLiteReference:
    """A converted model in the TFLite interpreter in the place of PyTorch's: what an engine makes of the same weights.

    Quantized weights write other texts than the checkpoint's wherever two tokens are nearly as likely. Whether an
    engine runs them rightly is therefore asked of the interpreter, and whether they are good enough of PyTorch.
    `greedy` and `continuation` are as Reference has them.
    """

    name = "TFLite"

    def __init__(self, model: TFLiteGPT2, vocabulary: int) -> None:
        self._model, self._vocabulary = model, vocabulary

    def greedy(self, prompt: Sequence[int], count: int, stop: frozenset[int] = frozenset()) -> list[int]:
        """Up to `count` most likely tokens after `prompt`; ends before a token of `stop`."""
        written: list[int] = []
        while len(written) < count:
            token = int(self._logits([*prompt, *written]).argmax())
            if token in stop:
                break
            written.append(token)
        return written

    def continuation(self, prompt: Sequence[int], guess: Guess = no_guess) -> Callable[[Sequence[int]], np.ndarray]:
        """A function from the tokens written since `prompt` to the logits of the next, float32 [vocabulary]."""
        return lambda written: self._logits([*prompt, *written])

    def _logits(self, ids: list[int]) -> np.ndarray:
        self._model.prefill(ids[self._model.rewind(ids) : -1])
        return self._model.decode(ids[-1])[: self._vocabulary]
