"""The examination of one file: what it is by its content, what is in it, and everything that is wrong with it."""

from __future__ import annotations

import hashlib
from pathlib import Path

from bundler.doctor.adapter_check import describe_adapter, is_adapter
from bundler.doctor.digest import Digests
from bundler.doctor.examine_litertlm import examine_litertlm
from bundler.doctor.examine_model import LARGE, describe_model
from bundler.doctor.examine_task import examine_task, take_sentencepiece
from bundler.doctor.report import Finding, Report
from bundler.doctor.sentencepiece_file import LIMIT as SENTENCEPIECE_LIMIT
from bundler.doctor.sha256sums import listed_hashes
from bundler.errors import BundleError
from bundler.system.file_section import FileSection
from bundler.tflite.flatbuffer import Damaged
from bundler.tflite.model import AT, IDENTIFIER, read_model
from tokenizer_tools.printable import printable

_END_RECORD, _END_LIMIT = b"PK\5\6", 0xFFFF + 22  # a ZIP ends with this record and a comment of at most 65535 bytes
_PADDING = 64  # bytes before a ZIP's first header in which it is looked for
_FEWEST_PIECES = 4  # of a SentencePiece model by itself
_ADAPTER_NAMES, _NAMES_WITHIN = b"lora_atten_", 1 << 20  # how a damaged adapter is told from a damaged model
CONTAINERS = (".task", ".litertlm")
_NAMES = {"adapter": "adapter", "tokenizer": "SentencePiece model"} | {kind: kind for kind in (*CONTAINERS, ".tflite")}
_PIECE = b"\x0a"  # the tag of ModelProto's first field, with which every SentencePiece model begins


def examine(path: Path) -> Report:
    """Everything that can be said about the file at `path`. Raises BundleError only if it cannot be opened."""
    path = Path(path)
    shown = printable(str(path))
    if path.exists() and not path.is_file():
        raise BundleError(f"{shown}: no regular file; expected a file to look at; check the path")
    try:
        with open(path, "rb") as stream:
            size = stream.seek(0, 2)
            stream.seek(0)
            beginning = stream.read(_PADDING)
            stream.seek(max(0, size - _END_LIMIT))
            ending = stream.read()
    except OSError as error:
        raise BundleError(
            f"{shown}: cannot be read ({error.strerror or error}); expected a file to look at; check the path"
        ) from error
    report = Report(path, _kind(beginning, ending), size)
    try:
        match report.kind:
            case ".litertlm":
                examine_litertlm(report)
            case ".task":
                examine_task(report)
            case ".tflite":
                _examine_tflite(report)
            case _:
                _examine_other(report, beginning)
        _compare_name(report)
        _compare_hash(report)
    except OSError as error:
        raise BundleError(f"{shown}: reading it failed ({error.strerror or error}); copy it again") from error
    report.sort()
    return report


def _compare_name(report: Report) -> None:
    """LiteRT-LM goes by the end of a file's name, in small letters."""
    suffix = report.path.suffix
    if report.kind == "unknown" or suffix == report.kind:
        return
    if suffix in CONTAINERS or suffix == ".tflite" and report.kind in (*CONTAINERS, "tokenizer"):
        report.findings.append(
            Finding(
                "name-of-another-kind", "", f"its name ends in {suffix}, its content is that of a {_NAMES[report.kind]}"
            )
        )
    elif report.kind in CONTAINERS:
        report.findings.append(
            Finding(
                "name-unknown-to-engine",
                "",
                f"its name ends in {suffix or 'nothing'}, its content is that of a {report.kind}",
            )
        )


def _compare_hash(report: Report) -> None:
    """With the SHA256SUMS that list it. The whole of a file is hashed only if one does, and was not yet."""
    for listed in listed_hashes(report.path):
        sums = str(listed.sums)
        if listed.wrong:
            report.findings.append(Finding("sha256sums-unreadable", sums, listed.wrong))
        if not listed.hashes:
            continue
        if "sha256" not in report.facts:
            digest = Digests(report.size).of(FileSection(report.path, 0, report.size))
            report.facts["sha256"] = digest and digest[0]
        if listed.hashes != {report.facts["sha256"]}:
            expected = " and ".join(digest[:16] for digest in sorted(listed.hashes))
            report.findings.append(
                Finding(
                    "sha256sums-differ",
                    sums,
                    f"the file has SHA-256 {str(report.facts['sha256'])[:16]}…, {expected}… is listed",
                )
            )
        else:
            report.facts["listed_in"] = sums


def _kind(beginning: bytes, ending: bytes) -> str:
    if beginning.startswith(b"LITERTLM"):
        return ".litertlm"
    if beginning[AT] == IDENTIFIER:
        return ".tflite"
    if beginning.lstrip(b"\0").startswith(b"PK\3\4") or _END_RECORD in ending:
        return ".task"
    return "tokenizer" if beginning.startswith(_PIECE) else "unknown"


def _examine_tflite(report: Report) -> None:
    """A model, or an adapter, which is a TFLite file without a graph."""
    if report.size >= LARGE:
        report.findings.append(Finding("model-over-2gib", "", f"{report.size} bytes"))
    section = FileSection(report.path, 0, report.size, "")
    if digest := Digests(report.size).of(section):
        report.facts["sha256"] = digest[0]
    with section.map() as data:
        try:
            model = read_model(data)
        except Damaged as damage:
            if _ADAPTER_NAMES in bytes(data[:_NAMES_WITHIN]):
                report.kind = "adapter"
            report.findings.append(
                Finding("adapter-unreadable" if report.kind == "adapter" else "model-unreadable", "", str(damage))
            )
            return
        if is_adapter(model):
            report.kind = "adapter"
            describe_adapter(report, model, data)
        else:
            describe_model(report, model, data, "")


def _examine_other(report: Report, beginning: bytes) -> None:
    """A SentencePiece model, which has no mark of its own, or nothing known."""
    if not report.size:
        report.findings.append(Finding("file-truncated", "", "it is empty"))
        return
    if report.kind == "tokenizer" and report.size <= SENTENCEPIECE_LIMIT:
        data = report.path.read_bytes()
        tokenizer = take_sentencepiece(report, data, "")
        if tokenizer is None or tokenizer.size >= _FEWEST_PIECES:
            report.facts["sha256"] = hashlib.sha256(data).hexdigest()
            return
        report.findings, report.facts = [], {}  # another protobuf message with a text in its first field
    report.kind = "unknown"
    report.findings.append(Finding("not-a-known-file", "", f"it begins with {beginning[:24]!r}"))
