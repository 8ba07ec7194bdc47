"""The gates a bundle must pass: its tokenizer's ids, its logits against PyTorch's, and the text the engines write."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Sequence

from bundler.checkpoints.checkpoint import open_checkpoint
from bundler.checkpoints.hub_id import HubAccess
from bundler.containers.bundle import is_litertlm, open_bundle
from bundler.containers.tokenizer import BundleTokenizer, bundle_tokenizer
from bundler.conversion.quantize import check_known, recipe_of
from bundler.conversion.recipes import RECIPES
from bundler.doctor.examine import examine
from bundler.doctor.own_pieces import read_sound_vocabulary
from bundler.engines.mediapipe import missing_tools
from bundler.errors import BundleError, OptionError
from bundler.system.native_output import quiet
from bundler.system.temporary_folder import temporary_folder
from bundler.tflite.fixed_model import write_fixed
from bundler.tflite.model import open_model
from bundler.tflite.runner import context_of
from bundler.verification.engine_gates import Expected
from bundler.verification.gate import Gate, Progress
from bundler.verification.litertlm_gates import STEPS as LITERTLM_STEPS
from bundler.verification.litertlm_gates import litertlm_gates
from bundler.verification.logit_gates import GATES as LOGIT_GATES
from bundler.verification.logit_gates import divergence_gate, logit_gates, verification_pair
from bundler.verification.lora_gates import lora_gates
from bundler.verification.near_greedy import common_prefix
from bundler.verification.runtimes import runtimes_apart
from bundler.verification.subject import LITERTLM, MEDIAPIPE, Subject
from bundler.verification.text import verification_text
from bundler.verification.text_divergence import text_blocks, text_divergence
from bundler.verification.trainer_gates import trainer_gates
from tokenizer_tools.texts import text_files

# Families of gates: each function runs one, and gives the results in the order of the table.
Gates = tuple[Callable[[Subject, Progress], list[Gate]], ...]


@dataclass(frozen=True)
class VerifyOptions:
    """How a bundle is verified. `recipe` names the limits to hold it to; None takes what the bundle says or looks like.

    `tokenizer`, `revision` and `hub` are of the checkpoint, see checkpoint.open_checkpoint. `texts`: files or folders
    of text to read in the bundle and in PyTorch.
    """

    tokenizer: Path | None = None
    revision: str | None = None
    recipe: str | None = None
    engines: tuple[str, ...] = (LITERTLM,)
    texts: tuple[Path, ...] = ()
    hub: HubAccess = HubAccess()


def verify_bundle(
    path: Path, model: str, options: VerifyOptions = VerifyOptions(), progress: Progress = Progress()
) -> list[Gate]:
    """Hold a finished .task or .litertlm file, whoever made it, against the checkpoint `model`.

    Raises BundleError when the file or the checkpoint cannot be used at all; a gate that fails is in the result.
    """
    if options.recipe is not None:
        check_known(options.recipe)
    check_engines(options.engines)
    check_texts(options.texts)
    bundle = open_bundle(path)
    checkpoint = open_checkpoint(model, tokenizer=options.tokenizer, revision=options.revision, hub=options.hub)
    vocabulary = read_sound_vocabulary(checkpoint.folder)
    with temporary_folder("verify") as folder, runtimes_apart() as runtimes:
        tflite = Path(folder) / "model.tflite"
        write_fixed(bundle.model, tflite)
        recipe = options.recipe or bundle.manifest.get("recipe") or recipe_of(open_model(bundle.model))
        if not isinstance(recipe, str) or recipe not in RECIPES:
            raise BundleError(
                f"{path}: made in the recipe {recipe!r}, which is not known; give `recipe` with one of "
                f"{', '.join(RECIPES)}"
            )
        tokenizer = bundle_tokenizer(bundle, vocabulary)
        return verify(
            Subject(
                checkpoint,
                tflite,
                recipe,
                tokenizer,
                (path,),
                options.engines,
                tuple(options.texts),
                runtimes=runtimes,
            ),
            progress,
        )


def check_engines(engines: Sequence[str]) -> None:
    """Raise OptionError if what an engine needs is not installed: before the work, not after minutes of it."""
    if MEDIAPIPE in engines and (missing := missing_tools()):
        raise OptionError(f"`engines` {MEDIAPIPE}: {missing}; or leave that engine out")


def check_texts(texts: Sequence[Path]) -> None:
    """Raise OptionError for texts that hold nothing to read."""
    for path in texts:
        if path.exists() and not any(file and file.stat().st_size for file in text_files([path])):
            raise OptionError(f"`texts` {path}: no text in it; expected a file, or a folder with files, in UTF-8")


def verify(subject: Subject, progress: Progress = Progress(), gates: Gates | None = None) -> list[Gate]:
    """Run gates, all of `GATES` unless others are given."""
    return [gate for family in gates or GATES for gate in family(subject, progress)]


def comparison_gates(subject: Subject, progress: Progress) -> list[Gate]:
    """The full comparison of a build's tokenizer with its reference, as a gate."""
    report = subject.comparison
    if report is None:
        return []
    strings, wrong = report.total("strings"), report.mismatched_tokens
    return [
        Gate(
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
    ]


def doctor_gates(subject: Subject, progress: Progress) -> list[Gate]:
    """An examination of each file of a build."""
    if not subject.files:
        return []
    with progress.stage("Examining the files"):
        return [doctor_gate(path) for path in subject.files]


def doctor_gate(path: Path) -> Gate:
    """Passes if no finding is an error: an error is what makes an engine fail, or write wrong text."""
    report = examine(path)
    findings = "; ".join(
        f"{finding.code}{f' in {finding.where}' if finding.where else ''}: {finding.found}"
        for finding in report.findings
    )
    return Gate(
        f"doctor, {path.name}",
        not report.errors,
        findings or "no findings",
        {"kind": report.kind, "findings": [finding.code for finding in report.findings]},
    )


def tokenizer_gates(subject: Subject, progress: Progress) -> list[Gate]:
    """The bundle's tokenizer on the verification text: as a whole, by paragraph and by line, and on typed tokens."""
    text = verification_text()
    with progress.stage("Verifying the tokenizer"):
        texts = [text, *text.split("\n\n"), *text.splitlines(), *subject.tokenizer.typed]
        return [tokenizer_gate(subject.tokenizer, texts)]


def tokenizer_gate(tokenizer: BundleTokenizer, texts: Sequence[str]) -> Gate:
    """The bundle's tokenizer gives the reference's ids on every text (alias ids counted as what they stand for)."""
    tokens = wrong = 0
    for text in texts:
        ids = tokenizer.encode(text)
        tokens += len(ids.reference)
        if tokenizer.original(ids.bundle) != ids.reference:
            wrong += len(ids.reference) - common_prefix(tokenizer.original(ids.bundle), ids.reference)
    parsed = any(token.special for token in tokenizer.reference.get_added_tokens_decoder().values())
    sentence = f"{wrong} of {tokens:,} tokens differ from the reference tokenizer"
    return Gate(
        "tokenizer",
        not wrong,
        sentence + ("" if parsed or not tokenizer.typed else "; special tokens typed in a prompt are text"),
        {"texts": len(texts), "tokens": tokens, "mismatched_tokens": wrong},
    )


def model_gates(subject: Subject, progress: Progress) -> list[Gate]:
    """Logits against PyTorch's, then each bundle in each engine: what they differ by is what an engine may."""
    tokenizer = subject.tokenizer
    with progress.steps("Verifying logits against PyTorch", len(LOGIT_GATES)) as step, quiet():
        pair = verification_pair(subject.model, subject.checkpoint, tokenizer, subject.recipe, subject.runtimes)
        gates = logit_gates(pair, step)
    # A token passes for greedy if rounding could have put it first: both logits may be off by the difference measured.
    slack = 2 * max(gate.figures["max_logit_difference"] for gate in gates)
    expected = Expected(pair.reference, tokenizer, pair.model.context, slack, tuple(pair.model.prefill_lengths))
    del pair  # the engines take memory too
    for bundle in subject.bundles:
        gates += engine_gates(bundle, subject, expected, progress)
    return gates


def engine_gates(bundle: Path, subject: Subject, expected: Expected, progress: Progress) -> list[Gate]:
    """A bundle in the subject's engines, as far as they take it: LiteRT-LM ignores MediaPipe's byte mapping, and would
    read unknown tokens where spaces are.
    """
    task, gates = not is_litertlm(bundle), []
    byte_mapped = task and subject.tokenizer.byte_mapped
    if LITERTLM in subject.engines and byte_mapped:
        gates.append(Gate.skip(f"LiteRT-LM, {bundle.suffix}", "its tokenizer needs the byte mapping of MediaPipe"))
    elif LITERTLM in subject.engines:
        with progress.steps(f"Verifying {bundle.suffix} in LiteRT-LM", LITERTLM_STEPS) as step:
            gates += litertlm_gates(bundle, expected, step, subject.runtimes)
    if MEDIAPIPE in subject.engines and task:
        from bundler.verification.mediapipe_gates import GATES as MEDIAPIPE_GATES
        from bundler.verification.mediapipe_gates import mediapipe_gates

        with progress.steps(f"Verifying {bundle.suffix} in MediaPipe's engine", len(MEDIAPIPE_GATES)) as step:
            gates += mediapipe_gates(bundle, expected, step)
    return gates


def text_gates(subject: Subject, progress: Progress) -> list[Gate]:
    """Perplexity and divergence along the user's own text: files or folders, read as they are needed."""
    if not subject.texts:
        return []
    try:
        total = sum(path.stat().st_size for path in text_files(subject.texts) if path)
    except FileNotFoundError as error:
        raise OptionError(f"`texts`: {error}") from error
    with progress.bar("Reading the text in the bundle and in PyTorch", total) as done:
        figures = text_divergence(
            text_blocks(subject.texts, subject.tokenizer, context_of(subject.model)),
            subject.checkpoint,
            subject.tokenizer.vocabulary,
            subject.model,
            lambda bytes_read: done(completed=bytes_read),
        )
    return [divergence_gate("distributions on the given text", figures, subject.recipe)]


# What a build holds its files to even without PyTorch.
FILE_GATES: Gates = (comparison_gates, doctor_gates)
# Every gate there is, in the order of the table, for `build` and `verify` alike: what a subject lacks, its gates leave
# out. Those on logits, on an engine and on LoRA signatures are listed as GATES in the files that are named so.
GATES: Gates = (
    *FILE_GATES,
    tokenizer_gates,
    model_gates,
    text_gates,
    lora_gates,
    trainer_gates,
)
