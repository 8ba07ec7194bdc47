"""A converted model in the TFLite interpreter in the place of PyTorch's: what an engine makes of the same weights.

Quantized weights write other texts than the checkpoint's wherever two tokens are nearly as likely. Whether an engine
runs them rightly is therefore asked of the interpreter, and whether they are good enough of PyTorch.
"""

from __future__ import annotations

from typing import Callable, Sequence

import numpy as np

from bundler.tflite.runner import TFLiteGPT2
from bundler.verification.near_greedy import common_prefix


class TFLiteReference:
    """`greedy` and `continuation` as bundler.verification.reference.Reference has them."""

    name = "TFLite"

    def __init__(self, model: TFLiteGPT2, vocabulary: int):
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
