"""LiteRT-LM, Google's engine for on-device LLMs, on this machine's CPU: opens .task and .litertlm files alike.

An adapter belongs to a session, so swapping adapters is opening the next session with another one. A model with LoRA
inputs must always be given one: without, the engine computes with undefined memory or with the previous adapter. So
a session without an adapter gets one of zeros here.
"""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator

from bundler.bundle_file import open_bundle
from bundler.errors import BundleError, OptionError
from bundler.litertlm_file import BASE_FINGERPRINT, MODEL_SECTION, PREFILL_DECODE, read_litertlm
from bundler.lora_layout import LoraLayout, read_lora_layout
from bundler.native_output import quiet
from bundler.temporary_folder import temporary_folder
from lora_weights.adapter import Base, check_base
from lora_weights.adapter_file import encode_adapter, read_adapter_file, zero_adapter


@dataclass(frozen=True)
class Sampling:
    """Temperature 0 is greedy. `top_k` and `top_p` as everywhere; `seed` None takes the engine's."""

    temperature: float = 0.0
    top_k: int = 40
    top_p: float = 1.0
    seed: int | None = None

    def __post_init__(self) -> None:
        if self.temperature < 0:
            raise OptionError(f"--temperature {self.temperature}: expected 0 (greedy) or more")
        if self.top_k < 1:
            raise OptionError(f"--top-k {self.top_k}: expected 1 or more")
        if not 0 < self.top_p <= 1:
            raise OptionError(f"--top-p {self.top_p}: expected a number above 0 and up to 1")


class LiteRtLmEngine:
    """An open engine. Use `open_engine`, which closes it."""

    def __init__(self, engine, path: Path, layout: LoraLayout, zero_adapter: Path | None) -> None:
        self._engine, self._path, self._zero = engine, path, zero_adapter
        self.layout = layout

    def tokenize(self, text: str) -> list[int]:
        """The ids that this file's own tokenizer gives (without the start token)."""
        return list(self._engine.tokenize(text)) if text else []

    @property
    def start_token_id(self) -> int | None:
        return self._engine.bos_token_id

    @property
    def stop_token_ids(self) -> list[list[int]]:
        return self._engine.eos_token_ids

    def check_adapter(self, path: Path) -> None:
        """Raise BundleError or LoraError unless the adapter file at `path` acts on this model in this engine."""
        if self.layout.plain is None:
            ranks = ", ".join(map(str, self.layout.extra))
            found = f"signatures for rank {ranks} in MediaPipe's layout, which LiteRT-LM ignores without a word" if ranks else "no LoRA inputs"
            raise BundleError(f"{self._path} has {found}; expected the .litertlm of a build with --lora-ranks. Or merge the adapter: "
                              "task-bundler lora merge")
        header = read_adapter_file(path).header
        if header.rank != self.layout.plain:
            raise BundleError(f"{path} has rank {header.rank}, but {self._path} takes rank {self.layout.plain}; export the adapter for it")
        section = read_litertlm(self._path).find(MODEL_SECTION, PREFILL_DECODE)
        fingerprint = section.metadata.get(BASE_FINGERPRINT)
        check_base(header.name, header.layers, header.width, header.base_fingerprint,
                   Base(self.layout.layers, self.layout.width, header.query_scale, fingerprint))

    def generate(self, prompt: str, max_tokens: int, sampling: Sampling = Sampling(), adapter: Path | None = None) -> Iterator[str]:
        """Stream the continuation of `prompt`, piece by piece, in a session of its own, with `adapter` if one is given.

        The prompt is given as it is (no template); the engine puts the file's start token before it. The adapter
        is not checked here: an engine that is given a wrong one fails, or ignores it. See `check_adapter`.
        Raises BundleError when the prompt does not fit the context.
        """
        import litert_lm

        greedy = sampling.temperature == 0
        config = litert_lm.SamplerConfig(
            top_k=1 if greedy else sampling.top_k, top_p=1.0 if greedy else sampling.top_p,
            temperature=1.0 if greedy else sampling.temperature, seed=sampling.seed)
        with self._engine.create_session(apply_prompt_template=False, sampler_config=config, max_output_tokens=max_tokens,
                                         lora_config=self._lora(adapter)) as session:
            messages: list[str] = []
            try:
                with quiet(messages):
                    session.run_prefill([prompt])
            except RuntimeError as error:
                raise BundleError(f"{self._path}: LiteRT-LM refuses a prompt of {len(self.tokenize(prompt))} tokens: {error}{_tail(messages)}"
                                  "\n  Give a shorter prompt, or a bundle with a longer context") from error
            for response in session.run_decode_async():
                yield response.texts[0]

    def swap_seconds(self, adapter: Path | None) -> float:
        """How long it takes until a session with another adapter has read its first letter, in seconds.

        An upper bound on the swap: the engine loads an adapter with the first prefill, so one has to be run.
        """
        started = time.perf_counter()
        with self._engine.create_session(apply_prompt_template=False, max_output_tokens=1, lora_config=self._lora(adapter)) as session:
            session.run_prefill(["a"])
        return time.perf_counter() - started

    def _lora(self, adapter: Path | None):
        import litert_lm

        path = adapter or self._zero
        return None if path is None else litert_lm.LoraConfig(lora_path=str(path))

    def complete(self, prompt: str, max_tokens: int, sampling: Sampling = Sampling(), adapter: Path | None = None) -> str:
        return "".join(self.generate(prompt, max_tokens, sampling, adapter))


@contextmanager
def open_engine(path: Path, max_tokens: int | None = None, threads: int | None = None) -> Iterator[LiteRtLmEngine]:
    """Open a .task or .litertlm file on the CPU; `max_tokens` bounds the cache (prompt and output together).

    The engine's weight cache goes to a temporary folder: by default it would be written beside the model.
    Raises BundleError with the engine's own message when it refuses the file.
    """
    import litert_lm

    if not path.is_file():
        raise BundleError(f"{path}: no such file; give a .task or .litertlm file")
    litert_lm.set_min_log_severity(litert_lm.LogSeverity.ERROR)
    with temporary_folder("cache") as cache:
        messages: list[str] = []
        layout = read_lora_layout(open_bundle(path).model)
        if layout.shadowed:
            raise BundleError(f"{path}: {layout.shadowed[0]} stands before its variants with LoRA inputs, so LiteRT-LM would run those, with "
                              "undefined memory for an adapter; build the bundle again")
        ranks = zero = None
        if layout.plain is not None:
            ranks, zero = litert_lm.LoraRankConfig(lora_rank=layout.plain), cache / "zero.tflite"
            base = Base(layout.layers, layout.width, (1.0,) * layout.layers)
            zero.write_bytes(encode_adapter(zero_adapter(base, layout.plain)))
        try:
            with quiet(messages):
                engine = litert_lm.Engine(str(path), backend=litert_lm.Backend.CPU(thread_count=threads or os.cpu_count()),
                                          max_num_tokens=max_tokens, cache_dir=str(cache), lora_rank_config=ranks)
                engine.__enter__()
        except RuntimeError as error:
            raise BundleError(f"{path}: LiteRT-LM refuses this file: {error}{_tail(messages)}") from error
        try:
            yield LiteRtLmEngine(engine, path, layout, zero)
        finally:
            with quiet():
                engine.__exit__(None, None, None)


def _tail(messages: list[str]) -> str:
    """The last lines that say something; the engine adds places in its own source to every error."""
    said = [line for line in messages if line.strip() and not line.startswith(("third_party/", "=== Source", "WARNING: Logging before"))]
    return "".join(f"\n  {line}" for line in said[-4:])
