"""What an engine makes of a bundle: the ids of its tokenizer, its greedy text, also after the longest prompts, and
whether start and stop
tokens do their work."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Sequence

from bundler.containers.tokenizer import BundleTokenizer
from bundler.engines.litertlm import LiteRtLmEngine, open_engine
from bundler.errors import BundleError
from bundler.system.temporary_folder import temporary_folder
from bundler.verification.gate import Gate
from bundler.verification.near_greedy import find_path
from bundler.verification.reference import Reference
from bundler.verification.stop_probe import write_with_stop_token
from bundler.verification.text import verification_text
from bundler.verification.tflite_reference import TFLiteReference

ENGINE_TOKENS = 48
EDGE_TRIES = 100
FEW = 4  # tokens after a prompt: all that is needed to see what the engine has read
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

    `slack`: how far below the reference's best logit a token may be and still pass for greedy; for fp32 a rounding's
    worth.
    `longest`: tokens a completion is asked for, if the context has room for them. `prefill`: the lengths of its chunks.
    """

    reference: Reference | TFLiteReference
    tokenizer: BundleTokenizer
    start: int | None
    stop: frozenset[int]
    context: int
    slack: float
    longest: int = ENGINE_TOKENS
    prefill: tuple[int, ...] = ()

    @property
    def count(self) -> int:
        """How many tokens a completion is asked for."""
        return min(self.longest, self.context // 4)

    def prompt(self, text: str) -> list[int]:
        ids = self.tokenizer.encode(text).reference
        return ids if self.start is None else [self.start, *ids]


@dataclass(frozen=True)
class Completion:
    """What an engine wrote after a prompt. `ids` spell it as the reference would have, greedily up to `gap`; None if
    they cannot.
    """

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
        gates.append(edge_gate(f"{name}: to the last position", engine.complete, expected))
    gates += [
        text_gate(f"{name}: greedy text", written, expected),
        start_gate(f"{name}: start token", written, expected),
    ]

    def complete_in(probe: Path, prompt: str, count: int) -> str:
        with open_engine(probe, max_tokens=expected.context) as engine:
            return engine.complete(prompt, count)

    return [*gates, stop_gate(f"{name}: stop token", path, complete_in, written, expected)]


def _ids_gate(name: str, engine: LiteRtLmEngine, expected: Expected) -> Gate:
    tokenizer = expected.tokenizer
    lines = [line for line in (*verification_text().splitlines(), *tokenizer.typed) if line]
    wrong = [line for line in lines if tokenizer.original(engine.tokenize(line)) != tokenizer.encode(line).reference]
    stops = {ids[0] for ids in engine.stop_token_ids if len(ids) == 1}
    passed = not wrong and engine.start_token_id == expected.start and expected.stop <= stops
    return Gate(
        name,
        passed,
        f"{len(wrong)} of {len(lines)} lines tokenized unlike the reference; start token {engine.start_token_id}, "
        f"stop tokens {sorted(stops)}" + (f"; first: {wrong[0]!r}" if wrong else ""),
        {"lines": len(lines), "mismatched_lines": len(wrong)},
    )


def completions(complete: Complete, expected: Expected, prompts: Sequence[str] = PROMPTS) -> list[Completion]:
    """Let an engine complete prompts greedily, and follow what it writes through the reference."""
    count = expected.count
    fitting = [
        prompt for prompt in prompts if len(expected.tokenizer.encode(prompt).bundle) + 1 + count <= expected.context
    ]
    return [_completion(complete, expected, prompt, count) for prompt in fitting or ["a"]]


def _completion(complete: Complete, expected: Expected, prompt: str, count: int) -> Completion:
    ids, reference, decode = expected.prompt(prompt), expected.reference, expected.tokenizer.decode
    text, greedy = complete(prompt, count), reference.greedy(ids, count, expected.stop)
    if text == decode(greedy):
        return Completion(prompt, text, text, tuple(greedy))
    path = find_path(text, reference.continuation(ids), decode, expected.slack, count, expected.stop)
    return Completion(prompt, text, decode(greedy), path and path.ids, path.largest_gap if path else 0.0)


def edge_gate(name: str, complete: Complete, expected: Expected) -> Gate:
    """Does the engine write the reference's text after prompts that end where its chunks of prefill do, and at the end
    of the context?

    A chunk that would pass the end of the cache is moved back over entries in use; LiteRT-LM refuses such a prompt,
    MediaPipe does not.
    """
    prompts = {length: prompt for length in _edges(expected) if (prompt := _prompt_of(length, expected))}
    uneven = any(whole % length for length, whole in zip(expected.prefill, (*expected.prefill[1:], expected.context)))
    cause = (
        f"; its prefill lengths ({', '.join(map(str, expected.prefill))}) do not divide each other and the context: "
        "build it with such that do"
        if uneven
        else ""
    )
    gaps = {}
    for length, prompt in prompts.items():
        try:
            written = _completion(complete, expected, prompt, min(FEW, expected.context - length))
        except BundleError as error:
            return Gate(
                name,
                False,
                f"{error}\n  It has {length} tokens with its start token; the context is {expected.context}{cause}",
            )
        if written.ids is None:
            return Gate(
                name,
                False,
                f"after a prompt of {length} tokens it wrote {written.text!r}, {expected.reference.name} "
                f"{written.expected!r}{cause}",
            )
        gaps[length] = written.gap
    found = (
        f"{expected.reference.name}'s text after prompts of {', '.join(map(str, gaps))} tokens"
        if gaps
        else "not tried: no prompt fits"
    )
    return Gate(
        name,
        True,
        found,
        {"prompt_tokens": [*gaps], "slack": expected.slack, "largest_gap": max(gaps.values(), default=None)},
    )


def _edges(expected: Expected) -> list[int]:
    """Lengths of prompts, start token included: just past the first chunk, around the start of the last one, and the
    longest that an
    engine takes, which leaves room for a token."""
    longest = max(expected.prefill, default=expected.context)
    last = (expected.context - 2) // longest * longest
    return sorted(
        length for length in {longest + 1, last + 1, last + 2, expected.context - 1} if 1 < length < expected.context
    )


def _prompt_of(length: int, expected: Expected) -> str | None:
    """A text of `length` tokens with its start token, or None: a text that is cut anywhere is not always of as many
    tokens again.
    """
    size, tokenizer = length - (expected.start is not None), expected.tokenizer
    ids = tokenizer.encode(verification_text()).repeated(expected.context + EDGE_TRIES).reference
    for begin in range(EDGE_TRIES):
        text = tokenizer.decode(ids[begin : begin + size])
        again = tokenizer.encode(text)
        if len(again.reference) == len(again.bundle) == size:
            return text
    return None


def text_gate(name: str, written: Sequence[Completion], expected: Expected) -> Gate:
    """Is what an engine wrote the reference's greedy text, up to near ties?"""
    equal = [one for one in written if one.text == one.expected]
    near = [one.gap for one in written if one.ids is not None and one.text != one.expected]
    failed = [one for one in written if one.ids is None]
    found = f"{len(equal)} of {len(written)} greedy texts are {expected.reference.name}'s"
    if near:
        found += f"; {len(near)} near-greedy, at most {max(near):.1e} below its best logit"
    if failed:
        first = failed[0]
        found += f"; after {first.prompt!r} it wrote {first.text!r}, {expected.reference.name} {first.expected!r}"
    return Gate(
        name,
        not failed,
        found,
        {
            "prompts": len(written),
            "equal": len(equal),
            "tokens_each": expected.count,
            "slack": expected.slack,
            "largest_gap": max(near, default=None),
            "completions": [[one.prompt, one.text] for one in written],
        },
    )


def start_gate(name: str, written: Sequence[Completion], expected: Expected) -> Gate:
    """Does the engine put the start token before a prompt, and once? Shown by texts that are the reference's after one
    start
    token, while after none, or two, the reference writes others."""
    if expected.start is None:
        return Gate(name, True, "the bundle has none")
    telling, wrong = 0, 0
    for one in written:
        ids = expected.prompt(one.prompt)
        others = [
            expected.tokenizer.decode(expected.reference.greedy(other, expected.count, expected.stop))
            for other in (ids[1:], [expected.start, *ids])
            if other
        ]
        telling += one.ids is not None and one.text not in others
        wrong += one.ids is None and one.text in others
    found = (
        f"once before the prompt, by {telling} of {len(written)} texts; after none or two {expected.reference.name} "
        "writes others"
        if telling
        else "no text here tells"
    )
    if wrong:
        found = (
            f"{wrong} of {len(written)} texts are {expected.reference.name}'s after none, or after two; expected one"
        )
    return Gate(name, not wrong, found, {"telling_texts": telling})


def stop_gate(
    name: str, path: Path, complete: Callable[[Path, str, int], str], written: Sequence[Completion], expected: Expected
) -> Gate:
    """Does the engine stop at a stop token, and leave it out?

    Whether and when a model writes its own is chance. So a copy of the bundle gets one more: a token that it was seen
    to write.
    """
    decode, pieces = expected.tokenizer.decode, expected.tokenizer.pieces
    for one in written:
        for place, token in enumerate(one.ids or ()):
            if (
                place
                and token not in one.ids[:place]
                and "\ufffd" not in decode(one.ids[:place])
                and pieces(decode([token])) == [token]
            ):
                with temporary_folder("stop") as folder:
                    probe = Path(folder) / path.name
                    try:
                        write_with_stop_token(path, token, decode([token]), probe)
                    except BundleError as error:
                        return Gate(name, True, f"not tried: {error}")
                    text, whole = complete(probe, one.prompt, expected.count), decode(one.ids[:place])
                found = (
                    f"given {decode([token])!r} as one more, it ends before it, after {place} of {len(one.ids)} tokens"
                )
                if text != whole:
                    found = f"given {decode([token])!r} as one more, it wrote {text!r}; expected {whole!r}"
                return Gate(name, text == whole, found, {"stopped_after": place})
    return Gate(name, True, "not tried: no text with a token to stop at")
