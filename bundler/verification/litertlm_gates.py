"""What LiteRT-LM makes of a .task or .litertlm: the ids of its tokenizer, and the gates on every engine."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Callable

from bundler.containers.bundle import open_bundle
from bundler.tflite.model import open_model
from bundler.tflite.signatures import llm_shape
from bundler.verification.engine_gates import (
    FEW,
    Expected,
    Trial,
    compare_texts,
    completions,
    edge_gate,
    follow,
    prompt_of,
    start_gate,
    stop_gate,
    text_gate,
)
from bundler.verification.gate import Gate, run_gates
from bundler.verification.runtimes import Runtimes
from bundler.verification.text import verification_text


def litertlm_gates(
    path: Path, expected: Expected, step: Callable[[], None] = lambda: None, runtimes: Runtimes = Runtimes()
) -> list[Gate]:
    """Run every gate of `GATES` on a .task or .litertlm file; `step` is called `STEPS` times on the way."""
    with ExitStack() as opened:
        engine = opened.enter_context(runtimes.engine(path, max_tokens=expected.context))

        def complete_in(copy: Path, prompt: str, count: int) -> str:
            opened.close()
            with runtimes.engine(copy, max_tokens=expected.context) as engine:
                return engine.complete(prompt, count)

        written = completions(engine.complete, expected)
        step()
        trial = Trial(f"LiteRT-LM, {path.suffix}", path, expected, engine, written, complete_in)
        gates = run_gates(GATES, trial, step)
    gates += growing_gates(path, expected, runtimes)
    step()
    return gates


def tokens_gate(trial: Trial) -> Gate:
    """Does the engine's own tokenizer give the reference's ids, and does it know the start and stop tokens?"""
    tokenizer, engine = trial.expected.tokenizer, trial.engine
    lines = [line for line in (*verification_text().splitlines(), *tokenizer.typed) if line]
    wrong = [line for line in lines if tokenizer.original(engine.tokenize(line)) != tokenizer.encode(line).reference]
    stops = {ids[0] for ids in engine.stop_token_ids if len(ids) == 1}
    return Gate(
        f"{trial.name}: tokens",
        not wrong and engine.start_token_id == tokenizer.start and tokenizer.stop <= stops,
        f"{len(wrong)} of {len(lines)} lines tokenized unlike the reference; start token {engine.start_token_id}, "
        f"stop tokens {sorted(stops)}" + (f"; first: {wrong[0]!r}" if wrong else ""),
        {"lines": len(lines), "mismatched_lines": len(wrong)},
    )


def growing_gates(path: Path, expected: Expected, runtimes: Runtimes) -> list[Gate]:
    """Is the text the reference's while a cache grows from text to text on one engine, and once it is long? Empty where
    it does not grow.
    """
    if llm_shape(open_model(open_bundle(path).model)).placeholder is None:
        return []
    with runtimes.engine(path, first=1) as engine:
        lengths = [expected.context * quarters // 4 - FEW for quarters in (1, 2, 3, 4)]
        prompts = [prompt for length in lengths if length > 1 and (prompt := prompt_of(length, expected))]
        written, caches = [], []
        for prompt in (*prompts, *prompts[:1]):
            written.append(follow(engine.complete, expected, prompt, FEW))
            caches.append(engine.cache.tokens)
    name = f"LiteRT-LM, {path.suffix}: a cache that grows"
    if not written:
        return [Gate.skip(name, f"no text of {', '.join(map(str, lengths))} tokens was found")]
    gate = compare_texts(name, written, expected)
    sizes = ", ".join(map(str, dict.fromkeys(caches)))
    figures = {key: gate.figures[key] for key in ("prompts", "equal", "slack", "largest_gap")} | {"caches": caches}
    return [replace(gate, found=f"{gate.found}; caches of {sizes} tokens", figures=figures)]


# In the order of the table. `stop_gate` closes the engine, so it is the last.
GATES = (tokens_gate, edge_gate, text_gate, start_gate, stop_gate)
STEPS = len(GATES) + 2  # the texts before them, the growing cache after
