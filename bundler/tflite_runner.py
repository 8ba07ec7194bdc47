"""Runs a converted GPT-2 in the TFLite interpreter, the way the LLM runtimes do: prefill in chunks, then decode."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Callable, Mapping, Sequence

import numpy as np

from bundler.errors import BundleError

# What hides a position in the mask. LiteRT-LM and MediaPipe use numbers of this kind for float models.
HIDDEN = -1.0e6


def plan_prefill(length: int, start: int, lengths: Sequence[int], context: int) -> list[tuple[int, int]]:
    """Cut `length` tokens that begin at position `start` into chunks: [(signature length, tokens used)].

    The largest signature while it is filled, then the smallest that holds the rest. A chunk whose padding
    would pass the end of the cache is never planned: DYNAMIC_UPDATE_SLICE would silently shift it back over
    older entries. What no chunk can hold is left out, to be run token by token (`decode`).
    """
    plan, position, left = [], start, length
    while left:
        room = [n for n in sorted(lengths) if position + n <= context]
        if not room:
            break
        chosen = next((n for n in room if n >= left), room[-1])
        used = min(chosen, left)
        plan.append((chosen, used))
        position, left = position + used, left - used
    return plan


class TFLiteGPT2:
    """One model in the interpreter with one running cache.

    `rank` takes the signatures with `_lora_rR` to their names instead of the plain ones. `adapter` holds the tensors
    for signatures with LoRA inputs, by input name; without it they are zeros. `observe`, if given, is called with (signature name, inputs) before each run; calibration uses it.
    """

    def __init__(self, path: Path, threads: int = 2, observe: Callable[[str, dict], None] | None = None,
                 rank: int | None = None, adapter: Mapping[str, np.ndarray] | None = None):
        from ai_edge_litert.interpreter import Interpreter

        try:
            self._interpreter = Interpreter(model_path=str(path), num_threads=threads)
        except (ValueError, RuntimeError) as error:
            raise BundleError(f"{path}: the TFLite interpreter refuses this file: {error}") from error
        names = self._interpreter.get_signature_list()
        suffix = "" if rank is None else f"_lora_r{rank}"
        if f"decode{suffix}" not in names:
            raise BundleError(f"{path}: signatures {sorted(names)}; expected `decode{suffix}` and `prefill_N{suffix}`. "
                              "Convert the model with `task-bundler build`.")
        self._run = {name.removesuffix(suffix): self._interpreter.get_signature_runner(name)
                     for name in names if re.fullmatch(rf"(decode|prefill_\d+){suffix}", name)}
        self.prefill_lengths = sorted(int(name.removeprefix("prefill_")) for name in self._run if name != "decode")
        inputs = self._run["decode"].get_input_details()
        self.lora_shapes = {name: tuple(detail["shape"]) for name, detail in inputs.items() if name.startswith("lora_")}
        self.set_adapter(adapter)
        self._cache_shapes = {name: detail["shape"] for name, detail in inputs.items() if name.startswith("kv_cache_")}
        self.context = int(inputs["mask"]["shape"][3])
        self.rows = int(self._run["decode"].get_output_details()["logits"]["shape"][-1])
        self._observe = observe
        self.reset()

    def set_adapter(self, adapter: Mapping[str, np.ndarray] | None) -> None:
        """What the LoRA inputs are from now on; None: zeros. Nothing of the cache is recomputed: `reset` too."""
        self.adapter = {name: np.zeros(shape, np.float32) if adapter is None else adapter[name] for name, shape in self.lora_shapes.items()}

    def reset(self) -> None:
        """Forget everything: an empty cache, position 0."""
        self._cache = {name: np.zeros(shape, np.float32) for name, shape in self._cache_shapes.items()}
        self.position = 0

    def prefill(self, tokens: Sequence[int]) -> None:
        """Put `tokens` into the cache, in as many chunks as it takes."""
        taken = 0
        for length, used in plan_prefill(len(tokens), self.position, self.prefill_lengths, self.context):
            padded = np.zeros((1, length), np.int32)
            padded[0, :used] = tokens[taken:taken + used]
            self._call(f"prefill_{length}", padded, used)
            taken += used
        for token in tokens[taken:]:
            self.decode(token)

    def decode(self, token: int) -> np.ndarray:
        """Run one token; float32 [rows], the logits of the next."""
        return self._call("decode", np.array([[token]], np.int32), 1)["logits"].reshape(-1)

    def greedy(self, prompt: Sequence[int], count: int) -> list[int]:
        """The `count` most likely tokens one after another, from an empty cache."""
        self.reset()
        self.prefill(prompt[:-1])
        token, written = prompt[-1], []
        while len(written) < count:
            token = int(self.decode(token).argmax())
            written.append(token)
        return written

    def _call(self, signature: str, tokens: np.ndarray, used: int) -> dict:
        length = tokens.shape[1]
        if self.position + length > self.context:
            raise BundleError(f"the context is full: {self.position} tokens, {length} more asked for, room for {self.context}")
        positions = np.arange(self.position, self.position + length, dtype=np.int32)
        mask = np.where(np.arange(self.context)[None] <= positions[:, None], 0, HIDDEN).astype(np.float32)[None, None]
        inputs = {"tokens": tokens, "input_pos": positions, "mask": mask, **self._cache, **self.adapter}
        if self._observe:
            self._observe(signature, inputs)
        outputs = self._run[signature](**inputs)
        self._cache = {name: outputs[name] for name in self._cache_shapes}
        self.position += used
        return outputs
