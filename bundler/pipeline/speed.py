"""How fast one engine reads and writes with one file: what a process of its own measures in a round."""

from __future__ import annotations

import bisect
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, ContextManager, Iterator, Protocol, Sequence

import numpy as np

from bundler.containers.bundle import open_bundle
from bundler.engines.litertlm import LiteRtLmEngine, open_engine
from bundler.errors import BundleError
from bundler.system.machine import held_memory, peak_memory
from bundler.tflite.signatures import read_context
from bundler.verification.text import verification_text

START_PROMPT = 16  # tokens of the prompt whose first token is waited for after loading


@dataclass(frozen=True)
class Workload:
    """What an engine is given: prompts of `prefill` tokens to read, and of `decode` tokens to write `tokens` after.

    Lengths count the start token: after 1 nothing else has been read.
    """

    prefill: tuple[int, ...] = (16, 128, 512)
    decode: tuple[int, ...] = (1, 128, 512, 900)
    tokens: int = 64
    threads: int = 2

    def within(self, context: int) -> Workload:
        """What of it fits a context."""
        return Workload(
            tuple(length for length in self.prefill if length < context),
            tuple(length for length in self.decode if length + self.tokens <= context),
            self.tokens,
            self.threads,
        )


@dataclass(frozen=True)
class Timing:
    """One text, in tokens and seconds. `first`: from the prompt to the first token; `decode`: of `written` steps."""

    read: int
    prefill: float
    first: float
    written: int
    decode: float


class TimedEngine(Protocol):
    """An engine with a file open. `load_seconds` it took, its library's import apart; it has room for `context`."""

    load_seconds: float
    context: int

    def text(self, length: int, tokens: int, number: int) -> Timing:
        """Read a prompt of `length` tokens, another for every `number`, and write `tokens`."""


Opener = Callable[[Path | str, int], ContextManager[TimedEngine]]  # of a file or checkpoint, with so many threads

Reader = Callable[[Sequence[int]], np.ndarray]


def measure_start(opener: Opener, path: Path | str, threads: int) -> dict[str, float]:
    """Seconds to open a file, and from there to the first token of a short prompt; what memory that took, in bytes.

    For a process of its own: memory is the most that it held, beyond what it held when this began.
    """
    held = held_memory()
    with opener(path, threads) as engine:
        first = engine.text(min(START_PROMPT, engine.context // 2), 1, 0).first
        return {"load": engine.load_seconds, "first_token": engine.load_seconds + first, "memory": peak_memory() - held}


def measure_speed(opener: Opener, path: Path | str, workload: Workload) -> dict[str, Any]:
    """Tokens a second of prefill and decode at each length of the workload that fits, the shortest first.

    Another text that takes as many tokens in all goes before each, to warm up, and because an engine whose cache grows
    is opened again for it. For a process of its own, as `measure_start`; `memory` is that of all the texts.
    """
    held = held_memory()
    with opener(path, workload.threads) as engine:
        workload = workload.within(engine.context)
        lengths = sorted({*workload.prefill, *workload.decode})
        if not lengths:
            raise BundleError(
                f"{path}: its context of {engine.context} tokens is too short for any of the lengths; give shorter "
                "`prefill_lengths`, `decode_lengths` or fewer `tokens`"
            )
        texts = {}
        for number, length in enumerate(lengths):
            tokens = workload.tokens if length in workload.decode else 1
            engine.text(length + tokens - 1, 1, 2 * number)
            texts[length] = engine.text(length, tokens, 2 * number + 1)
        return {
            "prefill": {str(length): texts[length].read / texts[length].prefill for length in workload.prefill},
            "decode": {str(length): texts[length].written / texts[length].decode for length in workload.decode},
            "memory": peak_memory() - held,
        }


@contextmanager
def open_litertlm(path: Path | str, threads: int, weight_cache: Path | str | None = None) -> Iterator[TimedEngine]:
    """A .task or .litertlm file in LiteRT-LM, with a weight cache as `open_engine` takes it."""
    import litert_lm  # noqa: F401, imported before the clock starts

    context = read_context(open_bundle(Path(path)).model)
    if context is None:
        raise BundleError(f"{path}: its signatures do not say how long its context is; build the bundle again")
    started = time.perf_counter()
    with open_engine(Path(path), threads=threads, weight_cache=weight_cache, timed=True) as engine:
        yield _TimedLiteRtLm(engine, context, time.perf_counter() - started)


@dataclass
class _TimedLiteRtLm:
    engine: LiteRtLmEngine
    context: int
    load_seconds: float

    def text(self, length: int, tokens: int, number: int) -> Timing:
        start = self.engine.start_token_id is not None
        # Texts begin otherwise each time: a session does not compute again what it has read before.
        prompt = prompt_of(self.engine.tokenize, max(length - start, 1 - start), str(number))
        info, first = self.engine.timed_text(prompt, tokens)
        return Timing(
            info.last_prefill_token_count,
            info.last_prefill_token_count / info.last_prefill_tokens_per_second,
            first,
            info.last_decode_token_count,
            info.last_decode_token_count / info.last_decode_tokens_per_second,
        )


def prompt_of(tokenize: Callable[[str], Sequence[int]], tokens: int, beginning: str) -> str:
    """A text that takes `tokens` tokens, or the most below that whole words can take."""
    if not tokens:
        return ""
    words = f"{beginning} {verification_text()} ".split(" ") * (1 + tokens // 100)
    count = bisect.bisect_right(range(1, len(words)), tokens, key=lambda count: len(tokenize(" ".join(words[:count]))))
    text = " ".join(words[:count])
    while len(tokenize(f"{text} a")) <= tokens:
        text += " a"
    return text


@contextmanager
def open_pytorch(model: Path | str, threads: int) -> Iterator[TimedEngine]:
    """A checkpoint in transformers' GPT-2 in fp32, with PyTorch's own attention."""
    import torch

    from bundler.checkpoints.checkpoint import open_checkpoint

    torch.set_num_threads(threads)
    started = time.perf_counter()
    checkpoint = open_checkpoint(model)
    gpt2 = checkpoint.reference_model()
    gpt2.set_attn_implementation("sdpa")
    seconds = time.perf_counter() - started
    shape = checkpoint.architecture

    def reader() -> Reader:
        cache = None

        def read(ids: Sequence[int]) -> np.ndarray:
            nonlocal cache
            output = gpt2(torch.tensor([list(ids)]), past_key_values=cache, use_cache=True, logits_to_keep=1)
            cache = output.past_key_values
            return output.logits[0, -1].numpy()

        return read

    with torch.inference_mode():
        yield StepwiseEngine(reader, shape.positions, shape.vocabulary, seconds)


@dataclass
class StepwiseEngine:
    """An engine that is driven token by token. `reader` begins a text: it gives a function that reads ids after those
    before, and returns the logits of the next one.
    """

    reader: Callable[[], Reader]
    context: int
    vocabulary: int
    load_seconds: float

    def text(self, length: int, tokens: int, number: int) -> Timing:
        prompt = np.random.default_rng(number).integers(self.vocabulary, size=length).tolist()
        read = self.reader()
        started = time.perf_counter()
        token = int(read(prompt).argmax())
        first = time.perf_counter()
        for _ in range(tokens):
            token = int(read([token]).argmax())
        ended = time.perf_counter()
        return Timing(length, first - started, first - started, tokens, ended - first)

    def logits(self, ids: Sequence[int]) -> np.ndarray:
        """float32 [len(ids), vocabulary]: row i predicts the token after ids[i], read one by one."""
        read = self.reader()
        return np.stack([np.array(read([id_])) for id_ in ids])
