"""What LiteRT-LM makes of a .task or .litertlm: the ids of its tokenizer, and the gates on every engine."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from bundler.engines.litertlm import open_engine
from bundler.verification.engine_gates import (
    Expected,
    Trial,
    completions,
    edge_gate,
    start_gate,
    stop_gate,
    text_gate,
)
from bundler.verification.gate import Gate
from bundler.verification.text import verification_text


def litertlm_gates(path: Path, expected: Expected) -> list[Gate]:
    """Run every gate of `GATES` on a .task or .litertlm file."""
    with ExitStack() as opened:
        engine = opened.enter_context(open_engine(path, max_tokens=expected.context))

        def complete_in(copy: Path, prompt: str, count: int) -> str:
            opened.close()
            with open_engine(copy, max_tokens=expected.context) as engine:
                return engine.complete(prompt, count)

        written = completions(engine.complete, expected)
        trial = Trial(f"LiteRT-LM, {path.suffix}", path, expected, engine, written, complete_in)
        return [gate(trial) for gate in GATES]


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


# In the order of the table. `stop_gate` closes the engine, so it is the last.
GATES = (tokens_gate, edge_gate, text_gate, start_gate, stop_gate)
