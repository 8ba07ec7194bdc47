"""What every engine makes of a bundle: its greedy text, also after the longest prompts, and whether start and stop
tokens do their work. litertlm_gates.py and mediapipe_gates.py list which engine passes which gates.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Callable, Sequence

from bundler.containers.bundle import is_litertlm
from bundler.containers.litertlm import (
    HF_TOKENIZER_SECTION,
    LLM_METADATA_SECTION,
    MODEL_SECTION,
    SENTENCEPIECE_SECTION,
    read_litertlm,
    write_litertlm,
)
from bundler.containers.task import METADATA_ENTRY, read_task, write_task
from bundler.containers.tokenizer import BundleTokenizer
from bundler.errors import BundleError
from bundler.system.temporary_folder import temporary_folder
from bundler.verification.gate import Gate
from bundler.verification.near_greedy import Path as GreedyPath
from bundler.verification.near_greedy import find_path
from bundler.verification.references import Reference, TFLiteReference
from bundler.verification.text import PROMPTS, verification_text

if TYPE_CHECKING:
    from bundler.engines.litertlm import LiteRtLmEngine
    from bundler.engines.mediapipe import MediaPipeEngine

ENGINE_TOKENS = 48
EDGE_TRIES = 100
FEW = 4  # tokens after a prompt: all that is needed to see what the engine has read

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
    context: int
    slack: float
    prefill: tuple[int, ...] = ()
    longest: int = ENGINE_TOKENS

    @property
    def count(self) -> int:
        """How many tokens a completion is asked for."""
        return min(self.longest, self.context // 4)

    def greedy(self, prompt: Sequence[int], count: int) -> str:
        """The reference's own text after a prompt, up to a stop token: a call of the reference for each token."""
        return self.tokenizer.decode(self.reference.greedy(prompt, count, self.tokenizer.stop))

    def path(self, prompt: Sequence[int], text: str, count: int, slack: float) -> GreedyPath | None:
        """How the reference would have written `text`, losing at most `slack` of a logit at any step."""
        likely = self.tokenizer.encode(text).reference[: count - 1]

        def guess(written: list[int]) -> list[int]:
            return likely[len(written) :] if likely[: len(written)] == written else []

        next_logits = self.reference.continuation(prompt, guess)
        return find_path(text, next_logits, self.tokenizer.decode, slack, count, self.tokenizer.stop)


@dataclass(frozen=True)
class Completion:
    """What an engine wrote after a prompt. `ids` spell it as the reference would have, greedily up to `gap`; None if
    they cannot, and then `expected` is what the reference writes.
    """

    prompt: str
    text: str
    ids: tuple[int, ...] | None
    gap: float = 0.0
    expected: str | None = None

    @property
    def equal(self) -> bool:
        """Whether it is the reference's own text."""
        return self.ids is not None and not self.gap


@dataclass(frozen=True)
class Trial:
    """A bundle open in an engine, and what the engine wrote: what the gates on an engine look at.

    `name`: of engine and container, with which the gates' names begin. `complete_in` completes a prompt in a copy of
    the bundle, and closes `engine` first: two engines at once would take twice the memory.
    """

    name: str
    bundle: Path
    expected: Expected
    engine: LiteRtLmEngine | MediaPipeEngine
    written: Sequence[Completion]
    complete_in: Callable[[Path, str, int], str]


def completions(complete: Complete, expected: Expected, prompts: Sequence[str] = PROMPTS) -> list[Completion]:
    """Let an engine complete prompts greedily, and follow what it writes through the reference."""
    count = expected.count
    fitting = [
        prompt for prompt in prompts if len(expected.tokenizer.encode(prompt).bundle) + 1 + count <= expected.context
    ]
    return [follow(complete, expected, prompt, count) for prompt in fitting or ["a"]]


def follow(complete: Complete, expected: Expected, prompt: str, count: int) -> Completion:
    """Let an engine write `count` tokens after a prompt, and follow them through the reference."""
    ids, text = expected.tokenizer.prompt(prompt), complete(prompt, count)
    if path := expected.path(ids, text, count, expected.slack):
        return Completion(prompt, text, path.ids, path.largest_gap)
    return Completion(prompt, text, None, expected=expected.greedy(ids, count))


def edge_gate(trial: Trial) -> Gate:
    """Does the engine write the reference's text after prompts that end where its chunks of prefill do, and at the end
    of the context?

    A chunk that would pass the end of the cache is moved back over entries in use; LiteRT-LM refuses such a prompt,
    MediaPipe does not.
    """
    name, expected = f"{trial.name}: to the last position", trial.expected
    prompts = {length: prompt for length in _edges(expected) if (prompt := prompt_of(length, expected))}
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
            written = follow(trial.engine.complete, expected, prompt, min(FEW, expected.context - length))
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
    if not gaps:
        return Gate.skip(name, f"no text of {', '.join(map(str, _edges(expected)))} tokens was found")
    sentence = f"{expected.reference.name}'s text after prompts of {', '.join(map(str, gaps))} tokens"
    return Gate(
        name,
        True,
        sentence,
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


def prompt_of(length: int, expected: Expected) -> str | None:
    """A text of `length` tokens with its start token, or None: a text that is cut anywhere is not always of as many
    tokens again.
    """
    size, tokenizer = length - (expected.tokenizer.start is not None), expected.tokenizer
    ids = tokenizer.encode(verification_text()).repeated(expected.context + EDGE_TRIES).reference
    for begin in range(EDGE_TRIES):
        text = tokenizer.decode(ids[begin : begin + size])
        again = tokenizer.encode(text)
        if len(again.reference) == len(again.bundle) == size:
            return text
    return None


def text_gate(trial: Trial) -> Gate:
    """Is what an engine wrote the reference's greedy text, up to near ties?"""
    return compare_texts(f"{trial.name}: greedy text", trial.written, trial.expected)


def compare_texts(name: str, written: Sequence[Completion], expected: Expected) -> Gate:
    """The gate `name` on any completions of an engine."""
    equal = [completion for completion in written if completion.equal]
    failed = [completion for completion in written if completion.ids is None]
    near = [completion.gap for completion in written if completion.gap]
    sentence = f"{len(equal)} of {len(written)} greedy texts are {expected.reference.name}'s"
    if near:
        sentence += f"; {len(near)} near-greedy, at most {max(near):.1e} below its best logit"
    if failed:
        first = failed[0]
        sentence += f"; after {first.prompt!r} it wrote {first.text!r}, {expected.reference.name} {first.expected!r}"
    return Gate(
        name,
        not failed,
        sentence,
        {
            "prompts": len(written),
            "equal": len(equal),
            "tokens_each": expected.count,
            "slack": expected.slack,
            "largest_gap": max(near, default=None),
            "completions": [[completion.prompt, completion.text] for completion in written],
        },
    )


def start_gate(trial: Trial) -> Gate:
    """Does the engine put the start token before a prompt, and once? Shown by texts that are the reference's after one
    start token, while after none, or two, the reference writes others.
    """
    name, expected, tokenizer = f"{trial.name}: start token", trial.expected, trial.expected.tokenizer
    if tokenizer.start is None:
        return Gate.skip(name, "the bundle has none")
    telling, wrong = 0, 0
    for completion in trial.written:
        ids = tokenizer.prompt(completion.prompt)
        misled = any(
            expected.path(prompt, completion.text, expected.count, slack=0.0)
            for prompt in (ids[1:], [tokenizer.start, *ids])
            if prompt
        )
        telling += completion.ids is not None and not misled
        wrong += completion.ids is None and misled
    written, writer = len(trial.written), expected.reference.name
    if wrong:
        sentence = f"{wrong} of {written} texts are {writer}'s after none, or after two; expected one"
    elif telling:
        sentence = f"once before the prompt, by {telling} of {written} texts; after none or two {writer} writes others"
    else:
        return Gate.skip(name, f"after no or two start tokens {writer} writes the same {written} texts")
    return Gate(name, not wrong, sentence, {"telling_texts": telling})


def stop_gate(trial: Trial) -> Gate:
    """Does the engine stop at a stop token, and leave it out? It closes the trial's engine.

    Whether and when a model writes its own is chance. So a copy of the bundle gets one more: a token that it was seen
    to write.
    """
    name, expected, tokenizer = f"{trial.name}: stop token", trial.expected, trial.expected.tokenizer
    for completion in trial.written:
        for place, token in enumerate(completion.ids or ()):
            before, spelled = completion.ids[:place], tokenizer.decode([token])
            whole = tokenizer.decode(before)
            if place and token not in before and "\ufffd" not in whole and tokenizer.pieces(spelled) == [token]:
                with temporary_folder("stop") as folder:
                    probe = Path(folder) / trial.bundle.name
                    try:
                        write_with_stop_token(trial.bundle, token, spelled, probe)
                    except BundleError as error:
                        return Gate.skip(name, str(error))
                    text = trial.complete_in(probe, completion.prompt, expected.count)
                sentence = (
                    f"given {spelled!r} as one more, it ends before it, after {place} of {len(completion.ids)} tokens"
                )
                if text != whole:
                    sentence = f"given {spelled!r} as one more, it wrote {text!r}; expected {whole!r}"
                return Gate(name, text == whole, sentence, {"stopped_after": place})
    return Gate.skip(name, "no text holds a token to stop at")


def write_with_stop_token(path: Path, id_: int, text: str, output: Path) -> None:
    """Copy the .task or .litertlm `path` to `output` with the token `id_`, spelled `text`, among the stop tokens.

    Raises BundleError for a .litertlm with sections that this project does not write.
    """
    if is_litertlm(path):
        _litertlm(path, id_, output)
        return
    task = read_task(path)
    parameters = task.parameters()
    metadata = dataclasses.replace(parameters, stop_tokens=(*parameters.stop_tokens, text)).encode()
    write_task(output, {entry.name: task.section(entry.name) for entry in task.entries} | {METADATA_ENTRY: metadata})


def _litertlm(path: Path, id_: int, output: Path) -> None:
    file = read_litertlm(path)
    tokenizer = next(
        (found for kind in (HF_TOKENIZER_SECTION, SENTENCEPIECE_SECTION) if (found := file.find(kind))), None
    )
    if tokenizer is None or sorted(section.type for section in file.sections) != sorted(
        [LLM_METADATA_SECTION, tokenizer.type, MODEL_SECTION]
    ):
        raise BundleError(
            f"{path}: sections {', '.join(section.type for section in file.sections)}; expected metadata, a "
            "tokenizer and a model"
        )
    section, metadata = file.find(MODEL_SECTION), file.llm_metadata()
    pairs = {name: value for name, value in section.metadata.items() if name != "model_type"}
    write_litertlm(
        output,
        file.bytes_of(section),
        dataclasses.replace(metadata, stop_tokens=(*metadata.stop_tokens, id_)),
        model_metadata=pairs,
        **(
            {"tokenizer_json": file.tokenizer_json()}
            if tokenizer.type == HF_TOKENIZER_SECTION
            else {"sentencepiece": file.bytes_of(tokenizer).read()}
        ),
    )
