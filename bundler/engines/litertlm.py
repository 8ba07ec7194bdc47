"""LiteRT-LM, Google's engine for on-device LLMs, on this machine's CPU: opens .task and .litertlm files alike.

An adapter belongs to a session, so swapping adapters is going on in another session. A model with LoRA
inputs must always be given one: without, the engine computes with undefined memory or with the previous adapter. So
a session without an adapter gets one of zeros here.

The engine gives every session with an adapter a number, and keeps the adapter's file open, mapped and copied under that
number until it is closed itself: no function lets go of it (ResourceManager::AssignLoraId and LoraManager in its
source). So a session is not closed after its answer but rewound before the next, and after so many new ones the engine
is opened again.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import re
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Callable, Hashable, Iterator

from bundler.containers.bundle import is_litertlm, open_bundle
from bundler.containers.litertlm import BASE_FINGERPRINT, MODEL_SECTION, PREFILL_DECODE, read_litertlm
from bundler.errors import BundleError, OptionError
from bundler.system.file_identity import file_identity
from bundler.system.heap import trim_heap
from bundler.system.native_output import quiet
from bundler.system.native_path import native_path
from bundler.system.temporary_folder import temporary_folder
from bundler.tflite.adapter_file import read_adapter_file
from bundler.tflite.lora_inputs import LoraLayout, lora_layout, shadowing_signatures
from bundler.tflite.model import open_model
from bundler.tflite.placeholder_context import is_placeholder
from bundler.tflite.signatures import LlmShape, llm_shape
from lora_weights.adapter import Base, check_base
from lora_weights.adapter_file import encode_adapter, zero_adapter

if TYPE_CHECKING:
    import litert_lm

# Sessions kept for their next prompt. Each has a key-value cache of its own (75 MB for GPT-2 124M at context 1024).
KEPT_SESSIONS = 4
# Sessions with an adapter that an engine begins before it is opened again. Each costs it a file descriptor and twice
# the adapter's size.
SESSIONS_AN_ENGINE = 16
# Texts after which freed memory is given back to the system, in a millisecond. Between sessions the engine copies its
# cache, and the pieces that this leaves in malloc's heap grew by 25 MB in 500 swaps of the embedded sample.
TEXTS_A_TRIM = 16


# Tokens a growing cache has room for at first, unless the text is known to need more; it grows by a half at least. Each
# time the engine is opened again.
FIRST_LENGTH = 256
# What computes, unless a caller says another number.
THREADS = os.cpu_count()

# What XNNPACK's weight cache takes of the file's size at most: fp16 is unpacked to 1.91 of it, other recipes take 0.91
# to 0.97.
_CACHE_PART, _CACHE_ROOM = 2, 1 << 20
_LOG_PREFIX = re.compile(r"^[IWEF]\d{4} [\d:.]+ +\d+ [\w.]+:\d+\] ")
NO_CACHE = ":nocache"  # LiteRT-LM's word: every signature packs the weights for itself, in memory


@dataclass(frozen=True)
class Sampling:
    """Temperature 0 is greedy. `top_k` and `top_p` as everywhere.

    With a `seed`, every text is drawn from it anew. Without, the engine begins with one of its own, and a model
    that takes adapters goes on from there with each text.
    """

    temperature: float = 0.0
    top_k: int = 40
    top_p: float = 1.0
    seed: int | None = None

    def __post_init__(self) -> None:
        if self.temperature < 0:
            raise OptionError(f"`temperature` {self.temperature}: expected 0 (greedy) or more")
        if self.top_k < 1:
            raise OptionError(f"`top_k` {self.top_k}: expected 1 or more")
        if not 0 < self.top_p <= 1:
            raise OptionError(f"`top_p` {self.top_p}: expected a number above 0 and up to 1")

    @property
    def greedy(self) -> bool:
        return self.temperature == 0


@dataclass(frozen=True)
class CacheLength:
    """How many tokens the cache of a file has room for. None leaves it to the engine and the file. One that grows does
    so up to `most`, in multiples of `step`, a length of prefill: else the last chunk of a prompt would not fit.
    """

    tokens: int | None
    most: int = 0
    step: int = 1

    @property
    def grows(self) -> bool:
        return self.tokens is not None and self.tokens < self.most

    def holding(self, tokens: int) -> CacheLength:
        """One with room for a text of so many tokens, or with as much as there is."""
        if not self.grows or tokens <= self.tokens:
            return self
        return replace(self, tokens=min(self.most, _round_up(max(tokens, self.tokens * 3 // 2), self.step)))


class LiteRtLmEngine:
    """An open engine. Use `open_engine`, which closes it. `open_native` opens LiteRT-LM's own."""

    def __init__(
        self,
        open_native: Callable[[CacheLength], litert_lm.Engine],
        path: Path,
        layout: LoraLayout,
        zero_adapter: Path | None,
        cache: CacheLength,
        timed: bool = False,
    ) -> None:
        self._open_native, self._path, self._zero = open_native, path, zero_adapter
        self.layout, self.cache, self._timed = layout, cache, timed
        self._engine = open_native(cache)
        self._outgrown: list[litert_lm.Engine] = []  # that still write
        self._kept: dict[Hashable, litert_lm.Session] = {}  # that rest, the one used longest ago first
        self._busy: list[litert_lm.Session] = []
        self._begun = 0  # sessions with an adapter since the engine was opened
        self._texts = 0
        self.tokens_written: int | None = None
        # Control characters, with which no text begins: where a session has read a prompt and written nothing,
        # LiteRT-LM 0.18.1 takes the prompt's last token for computed, and a text that begins so is continued otherwise.
        self._letters = itertools.cycle(map(chr, range(0x0E, 0x1B)))

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
            inputs = (
                f"signatures for rank {ranks} in MediaPipe's layout, which LiteRT-LM ignores without a word"
                if ranks
                else "no LoRA inputs"
            )
            raise BundleError(
                f"{self._path} has {inputs}; expected the .litertlm of a build with `lora_ranks`. Or merge the "
                "adapter: task-bundler lora merge"
            )
        header = read_adapter_file(path).header
        if header.rank != self.layout.plain:
            raise BundleError(
                f"{path} has rank {header.rank}, but {self._path} takes rank {self.layout.plain}; export the adapter "
                "for it"
            )
        section = read_litertlm(self._path).find(MODEL_SECTION, PREFILL_DECODE)
        fingerprint = section.metadata.get(BASE_FINGERPRINT)
        check_base(
            header.name,
            header.layers,
            header.width,
            header.base_fingerprint,
            Base(self.layout.layers, self.layout.width, header.query_scale, fingerprint),
        )

    def generate(
        self, prompt: str, max_tokens: int, sampling: Sampling = Sampling(), adapter: Path | None = None
    ) -> Iterator[str]:
        """Stream the continuation of `prompt`, piece by piece, in a session of its own, with `adapter` if one is given.

        The prompt is given as it is (no template); the engine puts the file's start token before it. The adapter
        is not checked here: an engine that is given a wrong one fails, or ignores it. See `check_adapter`.
        Raises BundleError when the prompt does not fit the context. Of an engine that was opened `timed`,
        `tokens_written` then is how many tokens it counted; None while a text is not at its end.
        """
        self.tokens_written = None
        with self._session(prompt, max_tokens, sampling, adapter) as session:
            for response in session.run_decode_async():
                yield response.texts[0]
            if self._timed:
                self.tokens_written = session.get_benchmark_info().last_decode_token_count

    def timed_text(self, prompt: str, max_tokens: int) -> tuple[litert_lm.BenchmarkInfo, float]:
        """Write a greedy text in an engine that was opened `timed`: what the engine counted and clocked, and the
        seconds from the prompt until the first piece of text was here.

        Pieces are not counted, because tokens that end within a character come together with the next.
        """
        started, first = time.perf_counter(), None
        with self._session(prompt, max_tokens, Sampling(), None) as session:
            for _ in session.run_decode_async():
                first = first or time.perf_counter()
            return session.get_benchmark_info(), (first or time.perf_counter()) - started

    def swap_seconds(self, adapter: Path | None, max_tokens: int = 1, sampling: Sampling = Sampling()) -> float:
        """How long it takes until a session with another adapter has read a character, in seconds.

        An upper bound on the swap: the engine loads an adapter with the first prefill, so one has to be run. Texts that
        are then generated with the same `max_tokens` and `sampling` go on in that session.
        """
        letter = next(self._letters)  # another each time: a session does not compute again what it has read before
        started = time.perf_counter()
        with self._session(letter, max_tokens, sampling, adapter):
            pass
        return time.perf_counter() - started

    def _prefill(self, session: litert_lm.Session, prompt: str) -> None:
        messages: list[str] = []
        try:
            with quiet(messages):
                session.run_prefill([prompt])
        except RuntimeError as error:
            raise BundleError(
                f"{self._path}: LiteRT-LM refuses a prompt of {len(self.tokenize(prompt))} tokens: "
                f"{_too_long(messages) or f'{error}{_tail(messages)}'}"
                "\n  Give a shorter prompt, or a bundle with a longer context"
            ) from error

    @contextmanager
    def _session(
        self, prompt: str, max_tokens: int, sampling: Sampling, adapter: Path | None
    ) -> Iterator[litert_lm.Session]:
        """A session that has read `prompt` and nothing before: one that was kept, or a new one."""
        if self.cache.grows:
            cache = self.cache.holding(len(self.tokenize(prompt)) + (self.start_token_id is not None) + max_tokens)
            if cache != self.cache:
                self._open_again(cache)
        adapter = adapter or self._zero
        # What is drawn from a seed begins anew with a session, not when one is rewound.
        key = (
            (_adapter_identity(adapter), max_tokens, sampling)
            if adapter and (sampling.greedy or sampling.seed is None)
            else None
        )
        session = self._kept.pop(key, None)
        read = session is not None and _reads_again(session, prompt)
        if session is None or not read:
            session = self._begin(max_tokens, sampling, adapter)
        engine = self._engine
        self._busy.append(session)
        try:
            if not read:
                self._prefill(session, prompt)
            yield session
        except BaseException:
            # A refused prompt, or an answer that nobody reads to its end: too little is known of such a session to keep
            # it.
            key = None
            session.cancel_process()
            raise
        finally:
            self._busy.remove(session)
            self._keep(key if engine is self._engine else None, session)
            if not self._busy:
                self._close_outgrown()

    def _open_again(self, cache: CacheLength) -> None:
        """Open LiteRT-LM's engine anew. Sessions that are busy go on with the one they have."""
        if self._busy:
            for session in self._kept.values():
                session.close()
            self._kept.clear()
            self._outgrown.append(self._engine)
        else:
            self.close()
        self.cache, self._engine, self._begun = cache, self._open_native(cache), 0

    def _keep(self, key: Hashable | None, session: litert_lm.Session) -> None:
        """Put a session by for the next text of its kind; close it if it has no `key`, or another of its kind is
        there.
        """
        if key is None or key in self._kept:
            session.close()
            return
        self._kept[key] = session
        if len(self._kept) > KEPT_SESSIONS:
            self._kept.pop(next(iter(self._kept))).close()
        self._texts += 1
        if self._texts % TEXTS_A_TRIM == 0:
            trim_heap()

    def _begin(self, max_tokens: int, sampling: Sampling, adapter: Path | None) -> litert_lm.Session:
        import litert_lm

        if self._begun >= SESSIONS_AN_ENGINE and not self._busy:
            self._open_again(self.cache)
        self._begun += adapter is not None
        config = litert_lm.SamplerConfig(
            top_k=1 if sampling.greedy else sampling.top_k,
            top_p=1.0 if sampling.greedy else sampling.top_p,
            temperature=1.0 if sampling.greedy else sampling.temperature,
            seed=sampling.seed,
        )
        try:
            return self._engine.create_session(
                apply_prompt_template=False,
                sampler_config=config,
                max_output_tokens=max_tokens,
                lora_config=adapter and litert_lm.LoraConfig(lora_path=native_path(adapter, "LiteRT-LM")),
            )
        except RuntimeError as error:
            raise BundleError(
                f"{self._path}: LiteRT-LM begins no session with {adapter or 'the base'}: {error}"
            ) from error

    def close(self) -> None:
        """Close the sessions, then the engines: they end the process when they are closed the other way round."""
        for session in (*self._busy, *self._kept.values()):
            session.cancel_process()
            session.close()
        self._kept.clear()
        self._close_outgrown()
        with quiet():
            self._engine.close()

    def _close_outgrown(self) -> None:
        with quiet():
            for engine in self._outgrown:
                engine.close()
        self._outgrown.clear()

    def complete(
        self, prompt: str, max_tokens: int, sampling: Sampling = Sampling(), adapter: Path | None = None
    ) -> str:
        return "".join(self.generate(prompt, max_tokens, sampling, adapter))


@contextmanager
def open_engine(
    path: Path,
    max_tokens: int | None = None,
    threads: int | None = None,
    first: int = FIRST_LENGTH,
    weight_cache: Path | str | None = None,
    timed: bool = False,
) -> Iterator[LiteRtLmEngine]:
    """Open a .task or .litertlm file on the CPU; `max_tokens` bounds the cache (prompt and output together).

    Without it, the cache grows if the file has one that can: `first` is the room it has in the beginning.

    The engine's weight cache goes to the folder `weight_cache`, to none with NO_CACHE, else to a temporary folder: by
    default it would be written beside the model. Where there is no room for it, the engine keeps the packed weights in
    memory, because it aborts the process when the file cannot be written. `timed` lets the engine count and keep times,
    see `generate` and `timed_text`. Raises BundleError with the engine's own message when it refuses the file, and
    OptionError for a `max_tokens` that the file has no room for.
    """
    import litert_lm

    if not path.is_file():
        raise BundleError(f"{path}: no such file; give a .task or .litertlm file")
    litert_lm.set_min_log_severity(litert_lm.LogSeverity.ERROR)
    with temporary_folder("cache") as cache:
        model = open_model(open_bundle(path).model)
        if shadowing := shadowing_signatures(model):
            raise BundleError(
                f"{path}: {shadowing[0].key} has LoRA inputs and stands behind the plain prefill of its length, so "
                "LiteRT-LM would run it without an adapter, on undefined memory; build the bundle again"
            )
        layout, ranks, zero = lora_layout(model), None, None
        if layout.plain is not None:
            ranks, zero = litert_lm.LoraRankConfig(lora_rank=layout.plain), cache / "zero.tflite"
            base = Base(layout.layers, layout.width, (1.0,) * layout.layers)
            zero.write_bytes(encode_adapter(zero_adapter(base, layout.plain)))

        def open_native(length: CacheLength) -> litert_lm.Engine:
            messages: list[str] = []
            try:
                with quiet(messages):
                    engine = litert_lm.Engine(
                        native_path(path, "LiteRT-LM"),
                        backend=litert_lm.Backend.CPU(thread_count=threads or THREADS),
                        max_num_tokens=length.tokens,
                        cache_dir=NO_CACHE if weight_cache == NO_CACHE else _cache_place(weight_cache or cache, path),
                        lora_rank_config=ranks,
                        enable_benchmark=timed,
                    )
                trim_heap()  # what reading tokenizer.json took: 19 MB of GPT-2's
                return engine
            except RuntimeError as error:
                raise BundleError(f"{path}: LiteRT-LM refuses this file: {error}{_tail(messages)}") from error

        engine = LiteRtLmEngine(
            open_native, path, layout, zero, _cache_length(path, llm_shape(model), max_tokens, first), timed
        )
        try:
            yield engine
        finally:
            engine.close()


def _cache_length(path: Path, shape: LlmShape, max_tokens: int | None, first: int) -> CacheLength:
    """The length to open `path` with: `max_tokens` if it is given, else the `first` of a growing cache."""
    most = shape.context or 0
    if max_tokens is not None:
        if most and max_tokens > most:
            raise OptionError(f"`context` {max_tokens}: {path} has room for {most} tokens; give 2 to {most}")
        return CacheLength(max_tokens)
    # Where lengths of prefill are placeholders too, the engine chooses all of them.
    if shape.placeholder is None or any(map(is_placeholder, shape.prefill)):
        return CacheLength(None)
    most = min(most, shape.placeholder - 1)
    if is_litertlm(path) and (told := read_litertlm(path).llm_metadata().max_num_tokens):
        most = min(most, told)
    step = min(shape.prefill, default=1)
    return CacheLength(min(most, _round_up(first, step)), most, step)


def _round_up(number: int, step: int) -> int:
    return -(-number // step) * step


def _cache_place(folder: Path, path: Path) -> str:
    """`folder` if the weight cache of `path` fits there, else NO_CACHE."""
    status = os.statvfs(folder)
    free = status.f_bavail * status.f_frsize
    return str(folder) if free > _CACHE_PART * path.stat().st_size + _CACHE_ROOM else NO_CACHE


def _adapter_identity(file: Path) -> Hashable:
    try:
        return file_identity(file)
    except OSError as error:
        raise BundleError(f"{file}: {error.strerror}; expected an adapter file") from error


def _reads_again(session: litert_lm.Session, prompt: str) -> bool:
    """Let a session read `prompt` in place of all it has read and written; if it cannot, it is closed, and False. Its
    adapter stays.

    What the two texts begin with in common is not computed again. The chunks of the rest begin anywhere then, and one
    at the context's end may not fit, which it would in a new session. The library's C API has the function to rewind
    (c/engine.h, since 0.16.0), the Python package on it has not.
    """
    rewind = session._lib.litert_lm_session_rewind_to_step
    rewind.argtypes = [ctypes.c_void_p, ctypes.c_int]
    try:
        if rewind(session._ptr, 0) == 0:
            with quiet():
                session.run_prefill([prompt])
            return True
    except RuntimeError:
        pass
    except BaseException:
        session.close()
        raise
    session.close()
    return False


def _too_long(messages: list[str]) -> str | None:
    """What the engine's log line of a prompt that does not fit says, in words; None if there is no such line."""
    for line in messages:
        if found := re.search(r"maximum number of tokens allowed: (\d+) >= (\d+)", line):
            return f"with the start token it takes {found[1]}; the context has {found[2]}, of which one is to write in"
    return None


def _tail(messages: list[str]) -> str:
    """The last lines that say something; the engine adds places in its own source to every error, and to every line
    that it logs a time and a thread.
    """
    lines = [
        _LOG_PREFIX.sub("", line)
        for line in messages
        if line.strip() and not line.startswith(("third_party/", "=== Source", "WARNING: Logging before"))
    ]
    return "".join(f"\n  {line}" for line in lines[-4:])
