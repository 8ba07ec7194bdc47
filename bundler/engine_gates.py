"""What an engine makes of a bundle: the ids of its tokenizer, its greedy text, and whether start and stop tokens do their work."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Sequence

from bundler.bundle_tokenizer import BundleTokenizer
from bundler.errors import BundleError
from bundler.gate import Gate
from bundler.litertlm_engine import LiteRtLmEngine, open_engine
from bundler.near_greedy import find_path
from bundler.reference import Reference
from bundler.stop_probe import write_with_stop_token
from bundler.temporary_folder import temporary_folder
from bundler.tflite_reference import TFLiteReference
from bundler.verification_text import verification_text

ENGINE_TOKENS = 48
PROMPTS = (
    "The lighthouse keeper wrote",
    "def nearest(points, target):\n    ",
    "We're here, aren't we?\n\nIt's 6 o'clock 🌊 – naïve café,",
)

# Greedy text after a prompt, of so many tokens.
Complete = Callable[[str, int], str]


@dataclass(frozen=True)
class Expected:
    """What an engine has to make of a bundle.

    `slack`: how far below the reference's best logit a token may be and still pass for greedy; for fp32 a rounding's worth.
    `longest`: tokens a completion is asked for, if the context has room for them.
    """

    reference: Reference | TFLiteReference
    tokenizer: BundleTokenizer
    start: int | None
    stop: frozenset[int]
    context: int
    slack: float
    longest: int = ENGINE_TOKENS

    @property
    def count(self) -> int:
        """How many tokens a completion is asked for."""
        return min(self.longest, self.context // 4)

    def prompt(self, text: str) -> list[int]:
        ids = self.tokenizer.encode(text).reference
        return ids if self.start is None else [self.start, *ids]


@dataclass(frozen=True)
class Completion:
    """What an engine wrote after a prompt. `ids` spell it as the reference would have, greedily up to `gap`; None if they cannot."""

    prompt: str
    text: str
    expected: str
    ids: tuple[int, ...] | None
    gap: float = 0.0


def litertlm_gates(path: Path, expected: Expected) -> list[Gate]:
    """LiteRT-LM on a .task or .litertlm file."""
    name = f"LiteRT-LM, {path.suffix}"
    with open_engine(path, max_tokens=expected.context) as engine:
        gates = [_ids_gate(f"{name}: tokens", engine, expected)]
        written = completions(engine.complete, expected)
    gates += [text_gate(f"{name}: greedy text", written, expected), start_gate(f"{name}: start token", written, expected)]

    def complete_in(probe: Path, prompt: str, count: int) -> str:
        with open_engine(probe, max_tokens=expected.context) as engine:
            return engine.complete(prompt, count)

    return [*gates, stop_gate(f"{name}: stop token", path, complete_in, written, expected)]


def _ids_gate(name: str, engine: LiteRtLmEngine, expected: Expected) -> Gate:
    tokenizer = expected.tokenizer
    lines = [line for line in verification_text().splitlines() if line]
    wrong = [line for line in lines if tokenizer.original(engine.tokenize(line)) != tokenizer.encode(line).reference]
    stops = {ids[0] for ids in engine.stop_token_ids if len(ids) == 1}
    passed = not wrong and engine.start_token_id == expected.start and expected.stop <= stops
    return Gate(name, passed,
                f"{len(wrong)} of {len(lines)} lines tokenised unlike the reference; start token {engine.start_token_id}, "
                f"stop tokens {sorted(stops)}" + (f"; first: {wrong[0]!r}" if wrong else ""),
                {"lines": len(lines), "mismatched_lines": len(wrong)})


def completions(complete: Complete, expected: Expected, prompts: Sequence[str] = PROMPTS) -> list[Completion]:
    """Let an engine complete prompts greedily, and follow what it writes through the reference."""
    count, reference, decode = expected.count, expected.reference, expected.tokenizer.decode
    fitting = [prompt for prompt in prompts if len(expected.tokenizer.encode(prompt).bundle) + 1 + count <= expected.context]
    written = []
    for prompt in fitting or ["a"]:
        ids = expected.prompt(prompt)
        text, greedy = complete(prompt, count), reference.greedy(ids, count, expected.stop)
        if text == decode(greedy):
            written.append(Completion(prompt, text, text, tuple(greedy)))
        else:
            way = find_path(text, reference.continuation(ids), decode, expected.slack, count, expected.stop)
            written.append(Completion(prompt, text, decode(greedy), way and way.ids, way.largest_gap if way else 0.0))
    return written


def text_gate(name: str, written: Sequence[Completion], expected: Expected) -> Gate:
    """Is what an engine wrote the reference's greedy text, up to near ties?"""
    equal = [one for one in written if one.text == one.expected]
    near = [one.gap for one in written if one.ids is not None and one.text != one.expected]
    failed = [one for one in written if one.ids is None]
    found = f"{len(equal)} of {len(written)} greedy texts are {expected.reference.name}'s"
    if near:
        found += f"; {len(near)} near-greedy, at most {max(near):.1e} below its best logit"
    if failed:
        found += f"; after {failed[0].prompt!r} it wrote {failed[0].text!r}, {expected.reference.name} {failed[0].expected!r}"
    return Gate(name, not failed, found,
                {"prompts": len(written), "equal": len(equal), "tokens_each": expected.count, "slack": expected.slack,
                 "largest_gap": max(near, default=None), "completions": [[one.prompt, one.text] for one in written]})


def start_gate(name: str, written: Sequence[Completion], expected: Expected) -> Gate:
    """Does the engine put the start token before a prompt, and once? Shown by texts that are the reference's after one start
    token, while after none, or two, the reference writes others."""
    if expected.start is None:
        return Gate(name, True, "the bundle has none")
    telling, wrong = 0, 0
    for one in written:
        ids = expected.prompt(one.prompt)
        others = [expected.tokenizer.decode(expected.reference.greedy(other, expected.count, expected.stop))
                  for other in (ids[1:], [expected.start, *ids]) if other]
        telling += one.ids is not None and one.text not in others
        wrong += one.ids is None and one.text in others
    found = f"once before the prompt, by {telling} of {len(written)} texts; after none or two {expected.reference.name} writes others" if telling \
        else "no text here tells"
    if wrong:
        found = f"{wrong} of {len(written)} texts are {expected.reference.name}'s after none, or after two; expected one"
    return Gate(name, not wrong, found, {"telling_texts": telling})


def stop_gate(name: str, path: Path, complete: Callable[[Path, str, int], str], written: Sequence[Completion], expected: Expected) -> Gate:
    """Does the engine stop at a stop token, and leave it out?

    Whether and when a model writes its own is chance. So a copy of the bundle gets one more: a token that it was seen to write.
    """
    decode, pieces = expected.tokenizer.decode, expected.tokenizer.pieces
    for one in written:
        for place, token in enumerate(one.ids or ()):
            if place and token not in one.ids[:place] and "\ufffd" not in decode(one.ids[:place]) and pieces(decode([token])) == [token]:
                with temporary_folder("stop") as folder:
                    probe = Path(folder) / path.name
                    try:
                        write_with_stop_token(path, token, decode([token]), probe)
                    except BundleError as error:
                        return Gate(name, True, f"not tried: {error}")
                    text, whole = complete(probe, one.prompt, expected.count), decode(one.ids[:place])
                found = f"given {decode([token])!r} as one more, it ends before it, after {place} of {len(one.ids)} tokens"
                if text != whole:
                    found = f"given {decode([token])!r} as one more, it wrote {text!r}; expected {whole!r}"
                return Gate(name, text == whole, found, {"stopped_after": place})
    return Gate(name, True, "not tried: no text with a token to stop at")
