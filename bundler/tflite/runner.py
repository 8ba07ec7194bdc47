"""Runs a converted GPT-2 in LiteRT on the CPU, the way the LLM runtimes do: prefill in chunks, then decode."""

from __future__ import annotations

import functools
import re
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Callable, Iterator, Mapping, Sequence

import numpy as np

from bundler.errors import BundleError
from bundler.system.file_section import FileSection
from bundler.system.native_output import quiet
from bundler.system.temporary_folder import temporary_folder
from bundler.tflite.lora_inputs import variant_suffix
from bundler.tflite.signatures import read_context

if TYPE_CHECKING:
    from ai_edge_litert.compiled_model import CompiledModel
    from ai_edge_litert.environment import Environment

# Bytes of a model above which its packed weights are kept in a file, and how much of it they take at most (fp16 is
# unpacked to 1.91 of it).
_WORTH_A_CACHE, _CACHE_PART = 16 << 20, 2
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
    """One model in LiteRT with one running cache.

    It runs in LiteRT's CompiledModel, as in the LLM runtimes, because that leaves the cache where it is: the old
    interpreter's signature runner copies it into the model and out again for every token, half the time of a small
    model.

    `rank` takes the signatures with `_lora_rR` to their names instead of the plain ones. `adapter` holds the tensors
    for signatures with LoRA inputs, by input name; without it they are zeros. `observe`, if given, is called with
    (signature name, inputs) before each run; calibration uses it. Models of other makers will do if their inputs go by
    the usual names; where the mask is made inside the graph, none is given.
    """

    def __init__(
        self,
        path: Path,
        threads: int = 2,
        observe: Callable[[str, dict], None] | None = None,
        rank: int | None = None,
        adapter: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        self._model = _compile(path, threads)
        names = self._model.get_signature_list()
        suffix = "" if rank is None else variant_suffix(rank)
        if f"decode{suffix}" not in names:
            raise BundleError(
                f"{path}: signatures {sorted(names)}; expected `decode{suffix}` and `prefill_N{suffix}`. "
                "Convert the model with `task-bundler build`."
            )
        self._signature = {
            name.removesuffix(suffix): name for name in names if re.fullmatch(rf"(decode|prefill_\d+){suffix}", name)
        }
        self.prefill_lengths = sorted(
            int(name.removeprefix("prefill_")) for name in self._signature if name != "decode"
        )
        inputs, outputs = (
            details(self._signature["decode"])
            for details in (self._model.get_input_tensor_details, self._model.get_output_tensor_details)
        )
        self._check(path, inputs, outputs)
        self.context = context_of(path)
        self.rows = int(outputs["logits"]["shape"][-1])
        self._observe = observe
        shape = {name: tuple(detail["shape"]) for name, detail in inputs.items()}
        self.lora_shapes = {name: size for name, size in shape.items() if name.startswith("lora_")}
        self._cache_shapes = {name: size for name, size in shape.items() if name.startswith("kv_cache_")}
        self._mask_length = int(shape["mask"][-1]) if "mask" in shape else 0
        # Two of each: what a step writes is what the next one reads.
        self._cache, self._next = (
            {
                name: self._model.create_input_buffer_by_name(self._signature["decode"], name)
                for name in self._cache_shapes
            }
            for _ in range(2)
        )
        self._inputs, self._outputs = {}, {}
        for name, signature in self._signature.items():
            self._inputs[name] = {
                key: self._model.create_input_buffer_by_name(signature, key)
                for key in names[signature]["inputs"]
                if key not in self._cache_shapes
            }
            self._outputs[name] = {
                key: self._model.create_output_buffer_by_name(signature, key)
                for key in names[signature]["outputs"]
                if key not in self._cache_shapes
            }
        self._mask_type = np.dtype(inputs["mask"]["dtype"]) if "mask" in inputs else None
        self.set_adapter(adapter)
        self.reset()

    @staticmethod
    def _check(path: Path, inputs: dict, outputs: dict) -> None:
        needed = {"tokens", "input_pos", "kv_cache_k_0", "kv_cache_v_0"}
        if missing := sorted(needed - set(inputs)) or sorted({"logits"} - set(outputs)):
            raise BundleError(
                f"{path}: its signature decode has no {missing[0]} (inputs {sorted(inputs)}, outputs "
                f"{sorted(outputs)}); expected the names that MediaPipe and LiteRT-LM go by"
            )
        if unknown := [
            name for name in inputs if name not in needed and not name.startswith(("mask", "kv_cache_", "lora_"))
        ]:
            raise BundleError(
                f"{path}: its signature decode has an input {unknown[0]}, and nothing is known to give it; expected "
                f"{sorted(needed)}, mask, kv_cache_… and lora_…"
            )

    def set_adapter(self, adapter: Mapping[str, np.ndarray] | None) -> None:
        """What the LoRA inputs are from now on; None: zeros. Nothing of the cache is recomputed: `reset` too."""
        self._held: list[int] = []
        for inputs in self._inputs.values():
            for name in inputs.keys() & self.lora_shapes.keys():
                inputs[name].write(np.zeros(self.lora_shapes[name], np.float32) if adapter is None else adapter[name])

    def overwrite_cache(self, tokens: Sequence[int]) -> bool:
        """From now on let a step write the cache it reads, which saves a third of a small model's time; False if that
        changes anything.

        Right only for a graph that does not read what it has overwritten. `tokens` are run both ways to see.
        """
        expected = self.along(tokens)
        apart, self._next = self._next, self._cache
        if np.array_equal(self.along(tokens), expected):
            return True
        self._next = apart
        return False

    def reset(self) -> None:
        """Forget everything: an empty cache, position 0."""
        for name, shape in self._cache_shapes.items():
            self._cache[name].write(np.zeros(shape, np.float32))
        self.position = 0
        self._held = []

    def rewind(self, tokens: Sequence[int]) -> int:
        """Go back to where what the cache holds differs from `tokens`, at the latest before the last of them; returns
        the position.

        What the cache holds beyond is hidden by the mask, and overwritten.
        """
        same = next((i for i, (a, b) in enumerate(zip(self._held, tokens)) if a != b), len(self._held))
        self.position = min(same, len(tokens) - 1)
        return self.position

    def prefill(self, tokens: Sequence[int]) -> None:
        """Put `tokens` into the cache, in as many chunks as it takes."""
        taken = 0
        for length, used in plan_prefill(len(tokens), self.position, self.prefill_lengths, self.context):
            padded = np.zeros((1, length), np.int32)
            padded[0, :used] = tokens[taken : taken + used]
            self._call(f"prefill_{length}", padded, used)
            taken += used
        for token in tokens[taken:]:
            self.decode(token)

    def decode(self, token: int) -> np.ndarray:
        """Run one token; float32 [rows], the logits of the next."""
        self._call("decode", np.array([[token]], np.int32), 1)
        return self._outputs["decode"]["logits"].read(self.rows, np.float32)

    def along(self, tokens: Sequence[int]) -> np.ndarray:
        """float32 [len(tokens), rows]: from an empty cache, row i predicts the token after tokens[i]."""
        self.reset()
        return np.stack([self.decode(token) for token in tokens])

    def greedy(self, prompt: Sequence[int], count: int) -> list[int]:
        """The `count` most likely tokens after `prompt`, one after another."""
        self.prefill(prompt[self.rewind(prompt) : -1])
        token, written = prompt[-1], []
        while len(written) < count:
            token = int(self.decode(token).argmax())
            written.append(token)
        return written

    def _call(self, signature: str, tokens: np.ndarray, used: int) -> None:
        length = tokens.shape[1]
        if self.position + length > self.context:
            raise BundleError(
                f"the context is full: {self.position} tokens, {length} more asked for, room for {self.context}"
            )
        positions = np.arange(self.position, self.position + length, dtype=np.int32)
        values = {"tokens": tokens, "input_pos": positions}
        if self._mask_type is not None:
            seen = (np.arange(self._mask_length)[None] <= positions[:, None])[None, None]
            values["mask"] = seen if self._mask_type == bool else np.where(seen, 0, HIDDEN).astype(self._mask_type)
        inputs = self._inputs[signature]
        for name, value in values.items():
            inputs[name].write(value)
        if self._observe:
            kept = {
                name: (inputs | self._cache)[name].read(int(np.prod(shape)), np.float32).reshape(shape)
                for name, shape in (self._cache_shapes | self.lora_shapes).items()
            }
            self._observe(signature, values | kept)
        self._model.run_by_name(self._signature[signature], inputs | self._cache, self._outputs[signature] | self._next)
        self._cache, self._next = self._next, self._cache
        self._held[self.position :] = tokens[0, :used].tolist()
        self.position += used


def context_of(path: Path) -> int:
    """How many tokens the TFLite model at `path` has room for. Raises BundleError if its signatures do not say."""
    context = read_context(FileSection.whole(path))
    if context is None:
        raise BundleError(
            f"{path}: its signature decode says nowhere how many tokens its cache holds; expected a mask "
            "[1, 1, 1, context], or a cache that is written in part"
        )
    return context


def _compile(path: Path, threads: int) -> CompiledModel:
    from ai_edge_litert.compiled_model import CompiledModel, CpuOptions, HardwareAccelerator, Options
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    environment = _environment()
    try:
        with quiet(), _weight_cache(path) as cache:
            # Only the interpreter checks the file; CompiledModel runs off the end of a broken one.
            Interpreter(
                model_path=str(path), experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
            )
            return CompiledModel.from_file(
                str(path),
                environment=environment,
                options=Options(
                    hardware_accelerators=HardwareAccelerator.CPU,
                    cpu_options=CpuOptions(num_threads=threads, xnnpack_weight_cache_path=cache),
                ),
            )
    except (ValueError, RuntimeError) as error:
        raise BundleError(f"{path}: LiteRT refuses this file: {error}") from error


@contextmanager
def _weight_cache(path: Path) -> Iterator[str]:
    """A file for the weights as XNNPACK packs them, "" where it is not worth it or there is no room.

    Without one, every signature packs a copy of its own in memory. XNNPACK maps the file when the model is compiled,
    so it may go then; its name would else have to be remembered until the model is closed.
    """
    size = path.stat().st_size
    with temporary_folder("weights") as folder:
        room = shutil.disk_usage(folder).free
        yield str(folder / "packed") if _WORTH_A_CACHE < size < room // _CACHE_PART else ""


@functools.cache
def _environment() -> Environment:
    """LiteRT's environment, one for the process.

    With the first buffer that is written LiteRT makes another of its own. That happens here, where what it prints is
    caught.
    """
    from ai_edge_litert.environment import Environment, EnvironmentOptions
    from ai_edge_litert.tensor_buffer import TensorBuffer

    with quiet():
        TensorBuffer.create_from_host_memory(np.zeros(16, np.float32)).write(np.zeros(16, np.float32))
        return Environment.create(options=EnvironmentOptions())
