"""The gates a bundle must pass: its logits against PyTorch's, its tokenizer's ids, and the text the engine writes."""

from __future__ import annotations

import contextlib
from dataclasses import asdict, dataclass, field
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Callable, ContextManager, Sequence

import numpy as np

from bundler.checkpoint import Checkpoint
from bundler.litertlm_engine import LiteRtLmEngine, open_engine
from bundler.native_output import quiet
from bundler.near_greedy import common_prefix, find_path
from bundler.quantize import RECIPES, Recipe
from bundler.reference import Reference
from bundler.tflite_runner import TFLiteGPT2
from tokenizer_tools.report import MismatchReport
from tokenizer_tools.vocabulary import bytes_to_symbols

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Stage = Callable[[str], ContextManager]

GREEDY_STEPS = 64
TEXT_TOKENS = 256
ENGINE_TOKENS = 48
# Bars for fp32 against PyTorch: the same sums in another order.
MAX_LOGIT_DIFFERENCE = 1e-3
PROMPTS = (
    "The lighthouse keeper wrote",
    "def nearest(points, target):\n    ",
    "We're here, aren't we?\n\nIt's 6 o'clock 🌊 – naïve café,",
)


def silent(text: str) -> ContextManager:
    """A Stage that shows nothing."""
    return contextlib.nullcontext()


@dataclass(frozen=True)
class Gate:
    """One check: what was found, in a sentence, and its figures."""

    name: str
    passed: bool
    found: str
    figures: dict = field(default_factory=dict)

    def as_dict(self) -> dict:
        return asdict(self)


@dataclass(frozen=True)
class Ids:
    """The same text as token ids twice: as the reference tokenizer gives it, and as the bundle's does (with alias ids)."""

    reference: list[int]
    bundle: list[int]


@dataclass(frozen=True)
class BundleTokenizer:
    """The bundle's own tokenizer, `pieces`, beside the reference it must agree with.

    Id `vocabulary` + i is another name of the token alias_of[i].
    """

    reference: Tokenizer
    pieces: Callable[[str], list[int]]
    alias_of: tuple[int, ...] = ()

    @property
    def vocabulary(self) -> int:
        return self.reference.get_vocab_size(with_added_tokens=True)

    def encode(self, text: str) -> Ids:
        return Ids(self.reference.encode(text, add_special_tokens=False).ids, self.pieces(text))

    def original(self, ids: Sequence[int]) -> list[int]:
        """Alias ids turned into the tokens they stand for; an id beyond them is -1."""
        last = self.vocabulary + len(self.alias_of)
        return [id_ if id_ < self.vocabulary else self.alias_of[id_ - self.vocabulary] if id_ < last else -1 for id_ in ids]

    def decode(self, ids: Sequence[int]) -> str:
        return self.reference.decode(list(ids), skip_special_tokens=False)


def sentencepiece_tokenizer(reference: Tokenizer, proto: bytes, alias_of: tuple[int, ...], byte_mapped: bool = False) -> BundleTokenizer:
    """The tokenizer of a `.task`; `byte_mapped` if MediaPipe is told to map text to GPT-2's byte alphabet first."""
    from sentencepiece import SentencePieceProcessor

    pieces = SentencePieceProcessor(model_proto=proto)
    encode = (lambda text: pieces.encode(bytes_to_symbols(text.encode()))) if byte_mapped else pieces.encode
    return BundleTokenizer(reference, encode, alias_of)


@dataclass(frozen=True)
class Subject:
    """What is verified: a TFLite model, the bundles that hold it, and what the engines must take for start and stop."""

    model: Path
    bundles: tuple[Path, ...]
    recipe: str
    tokenizer: BundleTokenizer
    start: int
    stop: frozenset[int]


def verify(subject: Subject, checkpoint: Checkpoint, stage: Stage = silent) -> list[Gate]:
    """Run every gate; `stage` is entered with a line of text around each part of the work."""
    tokenizer, text = subject.tokenizer, verification_text()
    with stage("Verifying the tokenizer"):
        gates = [tokenizer_gate(tokenizer, [text, *text.split("\n\n"), *text.splitlines()])]
    with stage("Verifying logits against PyTorch"), quiet():
        reference = Reference(checkpoint, tokenizer.vocabulary)
        model = TFLiteGPT2(subject.model)
        ids = tokenizer.encode(text)
        copies = -(-model.context // len(ids.reference))
        logits = logit_gates(model, reference, subject.recipe, Ids(ids.reference * copies, ids.bundle * copies), subject.start)
        gates += logits
    # A token passes for greedy if rounding could have put it first: both logits may be off by the difference measured.
    slack = 2 * max(gate.figures["max_logit_difference"] for gate in logits)
    for bundle in subject.bundles:
        with stage(f"Verifying {bundle.suffix} in LiteRT-LM"):
            gates += engine_gates(bundle, reference, tokenizer, subject.start, subject.stop, model.context, slack)
    return gates


def verification_text() -> str:
    """A few kilobytes of prose, code and many scripts, on which bundles are checked."""
    return resources.files("bundler").joinpath("verification_text.txt").read_text(encoding="utf-8")


def tokenizer_gate(tokenizer: BundleTokenizer, texts: Sequence[str]) -> Gate:
    """The SentencePiece model gives the reference's ids on every text (alias ids counted as what they stand for)."""
    tokens = wrong = 0
    for text in texts:
        ids = tokenizer.encode(text)
        tokens += len(ids.reference)
        if tokenizer.original(ids.bundle) != ids.reference:
            wrong += len(ids.reference) - common_prefix(tokenizer.original(ids.bundle), ids.reference)
    return Gate("tokenizer", not wrong, f"{wrong} of {tokens:,} tokens differ from the reference tokenizer",
                {"texts": len(texts), "tokens": tokens, "mismatched_tokens": wrong})


def token_gate(report: MismatchReport) -> Gate:
    """The full comparison of a tokenizer with its reference, as a gate."""
    strings, wrong = report.total("strings"), report.mismatched_tokens
    return Gate("tokenizer, built-in and generated texts", not wrong,
                f"{wrong} of {report.total('tokens'):,} tokens in {strings:,} strings differ from the reference tokenizer",
                {"strings": strings, "tokens": report.total("tokens"), "mismatched_tokens": wrong,
                 "unknown_tokens": report.total("unknown_tokens"), "round_trip_failures": report.total("round_trip_failures")})


def logit_gates(model: TFLiteGPT2, reference: Reference, recipe: str, ids: Ids, start: int) -> list[Gate]:
    """Logits after one prefill chunk, after several, then along `GREEDY_STEPS` decode steps; and on a text.

    `ids` must be at least a context long. The TFLite model reads the bundle's ids, PyTorch the reference's.
    """
    limits = RECIPES[recipe]
    steps = min(GREEDY_STEPS, model.context // 4)
    longest = max(model.prefill_lengths)
    room = model.context - steps - 1
    prompts = {"prefill in one chunk": min(longest, room),
               "prefill in several chunks": min(2 * longest + min(model.prefill_lengths) // 2 + 1, room)}
    gates, difference = [], 0.0
    for name, length in prompts.items():
        gate = _prompt_gate(model, reference, limits, name, Ids([start, *ids.reference[:length]], [start, *ids.bundle[:length]]), steps)
        gates.append(gate)
        difference = max(difference, gate.figures["max_logit_difference"])
    length = min(TEXT_TOKENS, model.context - 1)
    gates.append(_text_gate(model, reference, limits, Ids([start, *ids.reference[:length]], [start, *ids.bundle[:length]])))
    return gates


def _prompt_gate(model: TFLiteGPT2, reference: Reference, limits: Recipe, name: str, prompt: Ids, steps: int) -> Gate:
    """`prompt` in chunks, then PyTorch's greedy tokens one by one; every row of logits against PyTorch's."""
    greedy = reference.greedy(prompt.reference, steps)
    expected = reference.logits([*prompt.reference, *greedy])[len(prompt.reference) - 1:-1]
    model.reset()
    model.prefill(prompt.bundle[:-1])
    rows = np.stack([model.decode(token) for token in [prompt.bundle[-1], *greedy[:-1]]])
    found = rows[:, :reference.vocabulary]
    difference = float(np.abs(found - expected).max())
    # As long as it would have written the same token itself, the next step is what it would have done alone.
    same = common_prefix(rows.argmax(1).tolist(), greedy)
    passed = bool(np.isfinite(found).all()) and int(rows.argmax(1).max()) < reference.vocabulary
    if limits.exact:
        passed = passed and difference <= MAX_LOGIT_DIFFERENCE and same == steps
    return Gate(f"{name}, {steps} decode steps", passed,
                f"largest logit difference {difference:.1e}; first {same} of {steps} greedy tokens are PyTorch's",
                {"prompt_tokens": len(prompt.bundle), "max_logit_difference": difference,
                 "greedy_tokens_equal": same, "greedy_tokens": steps})


def _text_gate(model: TFLiteGPT2, reference: Reference, limits: Recipe, text: Ids) -> Gate:
    """Next-token distributions along a text, each from all the tokens before it."""
    expected = reference.logits(text.reference)
    model.reset()
    found = np.stack([model.decode(token)[:reference.vocabulary] for token in text.bundle])
    figures = compare_logits(expected, found)
    return Gate("distributions on a text", figures["mean_kl"] <= limits.mean_kl,
                f"mean KL divergence {figures['mean_kl']:.2g} nats (at most {limits.mean_kl:g}), "
                f"top token equal for {figures['same_top']:.1%}",
                {"tokens": len(expected), **figures})


def compare_logits(expected: np.ndarray, found: np.ndarray) -> dict:
    """KL(expected || found) in nats, share of equal top tokens, and the largest logit difference, over rows [n, vocabulary]."""
    p, q = _log_softmax(expected), _log_softmax(found)
    kl = (np.exp(p) * (p - q)).sum(axis=1)
    return {"mean_kl": float(kl.mean()), "largest_kl": float(kl.max()),
            "same_top": float((expected.argmax(1) == found.argmax(1)).mean()),
            "max_logit_difference": float(np.abs(expected - found).max())}


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def engine_gates(path: Path, reference: Reference, tokenizer: BundleTokenizer, start: int, stop: frozenset[int],
                 context: int, slack: float) -> list[Gate]:
    """What LiteRT-LM makes of a file: the ids of its tokenizer, start and stop tokens, and greedy text against PyTorch's.

    `slack`: how far below PyTorch's best logit a token may be and still pass for greedy; for fp32 a rounding's worth.
    """
    count = min(ENGINE_TOKENS, context // 4)
    with open_engine(path, max_tokens=context) as engine:
        return [_engine_ids_gate(engine, path, tokenizer, start, stop),
                text_gate(f"LiteRT-LM, {path.suffix}: greedy text", engine.complete, reference, tokenizer, start, stop, context, count,
                          slack)]


def _engine_ids_gate(engine: LiteRtLmEngine, path: Path, tokenizer: BundleTokenizer, start: int, stop: frozenset[int]) -> Gate:
    lines = [line for line in verification_text().splitlines() if line]
    wrong = [line for line in lines if tokenizer.original(engine.tokenize(line)) != tokenizer.encode(line).reference]
    stops = {ids[0] for ids in engine.stop_token_ids if len(ids) == 1}
    passed = not wrong and engine.start_token_id == start and stop <= stops
    return Gate(f"LiteRT-LM, {path.suffix}: tokens", passed,
                f"{len(wrong)} of {len(lines)} lines tokenised unlike the reference; start token {engine.start_token_id}, "
                f"stop tokens {sorted(stops)}" + (f"; first: {wrong[0]!r}" if wrong else ""),
                {"lines": len(lines), "mismatched_lines": len(wrong)})


def text_gate(name: str, complete: Callable[[str, int], str], reference: Reference, tokenizer: BundleTokenizer, start: int,
              stop: frozenset[int], context: int, count: int, slack: float) -> Gate:
    """What an engine writes (`complete(prompt, tokens)`, greedily) is the reference's greedy text, up to near ties."""
    equal, gaps, failed, texts = 0, [], [], []
    prompts = [prompt for prompt in PROMPTS if len(tokenizer.encode(prompt).bundle) + 1 + count <= context] or ["a"]
    for prompt in prompts:
        ids = [start, *tokenizer.encode(prompt).reference]
        text = complete(prompt, count)
        texts.append([prompt, text])
        expected = tokenizer.decode(reference.greedy(ids, count, stop))
        if text == expected:
            equal += 1
        elif way := find_path(text, reference.continuation(ids), tokenizer.decode, slack, count, stop):
            gaps.append(way.largest_gap)
        else:
            failed.append((prompt, text, expected))
    found = f"{equal} of {len(prompts)} greedy texts are {reference.name}'s"
    if gaps:
        found += f"; {len(gaps)} near-greedy, at most {max(gaps):.1e} below its best logit"
    if failed:
        prompt, text, expected = failed[0]
        found += f"; after {prompt!r} it wrote {text!r}, {reference.name} {expected!r}"
    return Gate(name, not failed, found,
                {"prompts": len(prompts), "equal": equal, "tokens_each": count, "slack": slack,
                 "largest_gap": max(gaps, default=None), "completions": texts})

