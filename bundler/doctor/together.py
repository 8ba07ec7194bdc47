"""Files that are examined together: which ones a folder holds, and whether they belong to each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Sequence

from bundler.containers.litertlm import SENTENCEPIECE_SECTION
from bundler.containers.task import MODEL_ENTRY, TOKENIZER_ENTRY
from bundler.doctor.report import Finding, Report
from bundler.errors import BundleError
from bundler.tflite.model import AT, IDENTIFIER
from tokenizer_tools.printable import printable

_SUFFIXES, _TOKENIZERS = (".task", ".litertlm", ".tflite"), (".model", ".spm")
_LITERTLM, _PIECE = b"LITERTLM", b"\x0a"
_SHOWN = 16  # digits of a hash


def known_files(folder: Path) -> list[Path]:
    """The files in a folder, and in the folders in it, that the doctor knows by their names or first bytes.

    What begins with a dot is left out. Raises BundleError if there are none.
    """
    try:
        listed = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
        for path in [path for path in listed if path.is_dir()]:
            listed += sorted(inner for inner in path.iterdir() if not inner.name.startswith("."))
        known = [path for path in listed if path.is_file() and _is_known(path)]
    except OSError as error:
        raise BundleError(
            f"{printable(str(folder))}: cannot be listed ({error.strerror or error}); expected a folder; check the path"
        ) from error
    if not known:
        raise BundleError(
            f"{printable(str(folder))}: no file that the doctor knows; expected .task, .litertlm, .tflite or "
            "SentencePiece files in it or in a folder in it; check the path"
        )
    return known


def _is_known(path: Path) -> bool:
    if path.suffix in _SUFFIXES:
        return True
    try:
        with open(path, "rb") as stream:
            beginning = stream.read(len(_LITERTLM))
    except OSError:  # of another name, and not to be read: nothing that was meant
        return False
    return (
        beginning == _LITERTLM
        or beginning[AT] == IDENTIFIER
        or path.suffix in _TOKENIZERS
        and beginning.startswith(_PIECE)
    )


def check_together(reports: Sequence[Report]) -> None:
    """Add to the reports what is wrong between them. An adapter or tokenizer has to fit one of the bundles, not all."""
    bundles = [
        report
        for report in reports
        if report.kind in (".task", ".litertlm") and "context" in report.facts.get("model", {})
    ]
    for report in reports:
        if report.kind == "adapter" and report.facts.get("adapter"):
            report.findings += _adapter(report, bundles)
        elif report.kind == "tokenizer":
            report.findings += _tokenizer(report, bundles)
        elif report.kind == ".litertlm" and report in bundles:
            report.findings += [
                finding
                for task in bundles
                if task.kind == ".task" and task.path.with_suffix(".litertlm") == report.path
                for finding in _containers(report, task)
            ]
        report.sort()


def _adapter(report: Report, bundles: list[Report]) -> list[Finding]:
    adapter = report.facts["adapter"]
    misfits = [_misfit(adapter, bundle) for bundle in bundles]
    if misfits and all(misfits):
        return [Finding("adapter-of-another-base", "", misfit) for misfit in misfits]
    findings = []
    for bundle in (bundle for bundle, misfit in zip(bundles, misfits) if not misfit):
        plain, extra = bundle.facts["model"]["lora"].values()  # the ranks of LiteRT-LM's layout and of MediaPipe's
        ranks = extra if bundle.kind == ".task" else [] if plain is None else [plain]
        if bundle.kind == ".litertlm" and not ranks:
            findings.append(
                Finding("bundle-takes-no-adapters", "", f"{bundle.path.name} has no LoRA inputs in LiteRT-LM's layout")
            )
        elif ranks and not set(adapter["ranks"]) <= set(ranks):
            findings.append(
                Finding(
                    "adapter-rank-unlike-bundle",
                    "",
                    f"rank {', '.join(map(str, adapter['ranks']))}, {bundle.path.name} takes "
                    f"{', '.join(map(str, ranks))}",
                )
            )
    return findings


def _misfit(adapter: dict[str, Any], bundle: Report) -> str:
    """Why the adapter is for another base than the bundle's; empty if nothing says so."""
    model = bundle.facts["model"]
    for name in ("layers", "width"):
        if adapter[name] and model[name] and adapter[name] != model[name]:
            return f"{name} {adapter[name]}, those of {bundle.path.name} are {model[name]}"
    return _other_base((adapter["header"] or {}).get("base_fingerprint"), bundle)


def _other_base(fingerprint: Any, bundle: Report) -> str:
    expected = bundle.facts["provenance"].get("base_fingerprint")
    if not isinstance(fingerprint, str) or not isinstance(expected, str) or fingerprint == expected:
        return ""
    return f"base {fingerprint[:_SHOWN]}…, that of {bundle.path.name} is {expected[:_SHOWN]}…"


def _tokenizer(report: Report, bundles: list[Report]) -> list[Finding]:
    inside = {
        bundle.path.name: digest
        for bundle in bundles
        if (digest := _entry_hash(bundle, TOKENIZER_ENTRY) or _entry_hash(bundle, SENTENCEPIECE_SECTION))
    }
    digest = report.facts.get("sha256")
    if not inside or digest is None or digest in inside.values():
        return []
    return [
        Finding(
            "tokenizer-of-another-bundle",
            "",
            f"SHA-256 {digest[:_SHOWN]}…, "
            + ", ".join(f"that in {name} {digest[:_SHOWN]}…" for name, digest in list(inside.items())[:8]),
        )
    ]


def _entry_hash(bundle: Report, prefix: str) -> str | None:
    return next((entry["sha256"] for entry in bundle.facts["entries"] if entry["name"].startswith(prefix)), None)


def _containers(litertlm: Report, task: Report) -> list[Finding]:
    """A .litertlm and the .task of its name beside it."""
    model, task_model = litertlm.facts["model"], task.facts["model"]
    wrong = [
        f"{name.replace('_', ' ')} {model[name]} and {task_model[name]}"
        for name in ("layers", "width", "logits_width")
        if model[name] != task_model[name]
    ]
    if model["context"]["cache"] != task_model["context"]["cache"]:
        wrong.append(f"context {model['context']['cache']} and {task_model['context']['cache']}")
    fingerprint = litertlm.facts["provenance"].get("base_fingerprint")
    if differs := _other_base(fingerprint, task):
        wrong.append(differs)
    # Without LoRA inputs, which differ between the containers, a build writes one model into both, or the same weights
    # around a cache that grows.
    elif fingerprint and not any((*model["lora"].values(), *task_model["lora"].values())):
        if "placeholder" in model["context"]:
            stored, task_stored = (
                {kind: row for kind, row in facts["weights"].items() if kind != "other"}
                for facts in (model, task_model)
            )
            if stored != task_stored:
                wrong.append("the weights are not stored alike")
        elif _entry_hash(litertlm, "TFLiteModel") != _entry_hash(task, MODEL_ENTRY):
            wrong.append("the models are not the same bytes")
    return [Finding("containers-of-two-builds", "", f"beside {task.path.name}: {'; '.join(wrong)}")] if wrong else []
