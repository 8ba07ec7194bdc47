"""The checkpoint in PyTorch, through transformers: what every bundle is held against."""

from __future__ import annotations

from typing import Sequence

import numpy as np
import torch
from transformers import DynamicCache

from bundler.checkpoints.checkpoint import Checkpoint
from bundler.verification.near_greedy import common_prefix

# Steps of one token are short, and every one waits for its slowest thread: on a machine that does other things too,
# four threads took three times as long as one or two.
THREADS = 2


class Reference:
    """transformers' GPT-2 with the checkpoint's weights, in fp32, with logits cut to the tokenizer's `vocabulary`.

    PyTorch uses at most `THREADS` threads in this process from then on.
    """

    name = "PyTorch"

    def __init__(self, checkpoint: Checkpoint, vocabulary: int):
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

    def __init__(self, reference: Reference, prompt: Sequence[int]):
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
