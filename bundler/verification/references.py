"""What bundles and engines are held against: the checkpoint in PyTorch, alone and with PEFT adapters, and its TFLite
model in the interpreter.
"""

from __future__ import annotations

from pathlib import Path
from typing import Callable, Sequence

import numpy as np
import torch
from transformers import DynamicCache

from bundler.checkpoints.checkpoint import Checkpoint
from bundler.tflite.runner import TFLiteGPT2
from bundler.verification.near_greedy import common_prefix
from lora_weights.merge_checkpoint import check_for_peft

# Steps of one token are short, and every one waits for its slowest thread: on a machine that does other things too,
# four threads took three times as long as one or two.
THREADS = 2


class Reference:
    """transformers' GPT-2 with the checkpoint's weights, in fp32, with logits cut to the tokenizer's `vocabulary`.

    PyTorch uses at most `THREADS` threads in this process from then on.
    """

    name = "PyTorch"

    def __init__(self, checkpoint: Checkpoint, vocabulary: int) -> None:
        torch.set_num_threads(min(torch.get_num_threads(), THREADS))
        self.model = checkpoint.reference_model()
        self.vocabulary = vocabulary

    @torch.inference_mode()
    def logits(self, ids: Sequence[int]) -> np.ndarray:
        """float32 [len(ids), vocabulary]: row i predicts the token after ids[i]."""
        return self.model(torch.tensor([list(ids)]), use_cache=False).logits[0, :, : self.vocabulary].numpy()

    @torch.inference_mode()
    def greedy(self, prompt: Sequence[int], count: int, stop: frozenset[int] = frozenset()) -> list[int]:
        """Up to `count` most likely tokens after `prompt`; ends before a token of `stop`."""
        written: list[int] = []
        step, cache = torch.tensor([list(prompt)]), None
        while len(written) < count:
            output = self.model(step, past_key_values=cache, use_cache=True)
            cache = output.past_key_values
            token = int(output.logits[0, -1, : self.vocabulary].argmax())
            if token in stop:
                break
            written.append(token)
            step = torch.tensor([[token]])
        return written

    def continuation(self, prompt: Sequence[int]) -> Continuation:
        """A reader of next-token logits after `prompt` and whatever follows it."""
        return Continuation(self, prompt)


class Continuation:
    """Next-token logits after a prompt and tokens written since; calls that share a beginning share its work."""

    def __init__(self, reference: Reference, prompt: Sequence[int]) -> None:
        self._reference, self._prompt = reference, list(prompt)
        self._seen: list[int] = []
        self._cache = DynamicCache()

    @torch.inference_mode()
    def __call__(self, written: Sequence[int]) -> np.ndarray:
        """float32 [vocabulary]: the logits of the token after prompt + written."""
        ids = [*self._prompt, *written]
        kept = min(common_prefix(self._seen, ids), len(ids) - 1)  # the last token is always run: its logits are wanted
        if forgotten := len(self._seen) - kept:
            self._cache.crop(-forgotten)
        output = self._reference.model(torch.tensor([ids[kept:]]), past_key_values=self._cache, use_cache=True)
        self._seen = ids
        return output.logits[0, -1, : self._reference.vocabulary].numpy()


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
        self._seen: list[int] = []
        model.reset()

    def greedy(self, prompt: Sequence[int], count: int, stop: frozenset[int] = frozenset()) -> list[int]:
        """Up to `count` most likely tokens after `prompt`; ends before a token of `stop`."""
        written: list[int] = []
        while len(written) < count:
            token = int(self._logits([*prompt, *written]).argmax())
            if token in stop:
                break
            written.append(token)
        return written

    def continuation(self, prompt: Sequence[int]) -> Callable[[Sequence[int]], np.ndarray]:
        """A function from the tokens written since `prompt` to the logits of the next, float32 [vocabulary]."""
        return lambda written: self._logits([*prompt, *written])

    def _logits(self, ids: list[int]) -> np.ndarray:
        kept = min(common_prefix(self._seen, ids), len(ids) - 1)  # the last token is always run: its logits are wanted
        self._model.position = kept  # what the cache holds beyond is hidden by the mask, and overwritten
        self._model.prefill(ids[kept:-1])
        self._seen = ids
        return self._model.decode(ids[-1])[: self._vocabulary]
