"""The gates a bundle must pass: its tokenizer's ids, its logits against PyTorch's, and the text the engines write."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Sequence

from bundler.checkpoints.checkpoint import Checkpoint
from bundler.containers.bundle import is_litertlm
from bundler.containers.tokenizer import BundleTokenizer, Ids
from bundler.errors import BundleError, OptionError
from bundler.system.native_output import quiet
from bundler.tflite.runner import TFLiteGPT2
from bundler.verification.engine_gates import Expected, litertlm_gates
from bundler.verification.gate import Bar, Gate, Stage, silent, silent_bar
from bundler.verification.logit_gates import divergence_gate, logit_gates
from bundler.verification.near_greedy import common_prefix
from bundler.verification.reference import Reference
from bundler.verification.text import verification_text
from bundler.verification.text_divergence import text_blocks, text_divergence
from tokenizer_tools.report import MismatchReport
from tokenizer_tools.texts import text_files

LITERTLM, MEDIAPIPE = "litert-lm", "mediapipe"
ENGINES = (LITERTLM, MEDIAPIPE)


@dataclass(frozen=True)
class Subject:
    """What is verified: a TFLite model, the bundles that hold it, and what the engines must take for start and stop.

    `byte_mapped`: the .task's tokenizer needs MediaPipe's byte mapping, which LiteRT-LM ignores: it would read unknown
    tokens where spaces are.
    """

    model: Path
    bundles: tuple[Path, ...]
    recipe: str
    tokenizer: BundleTokenizer
    start: int | None
    stop: frozenset[int]
    engines: tuple[str, ...] = (LITERTLM,)
    byte_mapped: bool = False


def verify(subject: Subject, checkpoint: Checkpoint, stage: Stage = silent) -> list[Gate]:
    """Run every gate; `stage` is entered with a line of text around each part of the work."""
    tokenizer, text = subject.tokenizer, verification_text()
    with stage("Verifying the tokenizer"):
        gates = [tokenizer_gate(tokenizer, [text, *text.split("\n\n"), *text.splitlines(), *tokenizer.typed])]
    with stage("Verifying logits against PyTorch"), quiet():
        reference = Reference(checkpoint, tokenizer.vocabulary)
        model = TFLiteGPT2(subject.model)
        if model.rows < tokenizer.vocabulary:
            raise BundleError(
                f"{subject.model}: {model.rows} logits; expected one for each of the {tokenizer.vocabulary} tokens of "
                "the checkpoint's vocabulary. It was made from another model"
            )
        ids = tokenizer.encode(text)
        if tokenizer.original(ids.bundle) != ids.reference:
            ids = Ids(ids.reference, ids.reference)  # the gate above says so; here it is the weights that are looked at
        logits = logit_gates(model, reference, subject.recipe, ids.repeated(model.context), subject.start)
        gates += logits
    # A token passes for greedy if rounding could have put it first: both logits may be off by the difference measured.
    slack = 2 * max(gate.figures["max_logit_difference"] for gate in logits)
    expected = Expected(
        reference, tokenizer, subject.start, subject.stop, model.context, slack, prefill=tuple(model.prefill_lengths)
    )
    for bundle in subject.bundles:
        task = not is_litertlm(bundle)
        if LITERTLM in subject.engines and not (task and subject.byte_mapped):
            with stage(f"Verifying {bundle.suffix} in LiteRT-LM"):
                gates += litertlm_gates(bundle, expected)
        if MEDIAPIPE in subject.engines and task:
            from bundler.verification.mediapipe_gates import mediapipe_gates

            with stage(f"Verifying {bundle.suffix} in MediaPipe's engine"):
                gates += mediapipe_gates(bundle, expected)
    return gates


def verify_text(subject: Subject, checkpoint: Checkpoint, texts: Sequence[Path], bar: Bar = silent_bar) -> Gate:
    """Perplexity and divergence along the user's own text: files or folders, read as they are needed."""
    try:
        total = sum(path.stat().st_size for path in text_files(texts) if path)
    except FileNotFoundError as error:
        raise OptionError(f"`texts`: {error}") from error
    context = TFLiteGPT2(subject.model, threads=1).context
    with bar("Reading the text in the bundle and in PyTorch", total) as done:
        figures = text_divergence(
            text_blocks(texts, subject.tokenizer, subject.start, context),
            checkpoint,
            subject.tokenizer.vocabulary,
            subject.model,
            lambda bytes_read: done(completed=bytes_read),
        )
    return divergence_gate("distributions on the given text", figures, subject.recipe)


def tokenizer_gate(tokenizer: BundleTokenizer, texts: Sequence[str]) -> Gate:
    """The bundle's tokenizer gives the reference's ids on every text (alias ids counted as what they stand for)."""
    tokens = wrong = 0
    for text in texts:
        ids = tokenizer.encode(text)
        tokens += len(ids.reference)
        if tokenizer.original(ids.bundle) != ids.reference:
            wrong += len(ids.reference) - common_prefix(tokenizer.original(ids.bundle), ids.reference)
    parsed = any(token.special for token in tokenizer.reference.get_added_tokens_decoder().values())
    found = f"{wrong} of {tokens:,} tokens differ from the reference tokenizer"
    return Gate(
        "tokenizer",
        not wrong,
        found + ("" if parsed or not tokenizer.typed else "; special tokens typed in a prompt are text"),
        {"texts": len(texts), "tokens": tokens, "mismatched_tokens": wrong},
    )


def token_gate(report: MismatchReport) -> Gate:
    """The full comparison of a tokenizer with its reference, as a gate."""
    strings, wrong = report.total("strings"), report.mismatched_tokens
    return Gate(
        "tokenizer, built-in and generated texts",
        not wrong,
        f"{wrong} of {report.total('tokens'):,} tokens in {strings:,} strings differ from the reference tokenizer",
        {
            "strings": strings,
            "tokens": report.total("tokens"),
            "mismatched_tokens": wrong,
            "unknown_tokens": report.total("unknown_tokens"),
            "round_trip_failures": report.total("round_trip_failures"),
        },
    )
