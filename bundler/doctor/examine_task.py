"""The examination of a `.task`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from bundler.containers.llm_parameters import LlmParameters
from bundler.containers.task import METADATA_ENTRY, MODEL_ENTRY, TOKENIZER_ENTRY
from bundler.containers.zip_directory import ALIGNMENT, ZipEntry, read_directory
from bundler.doctor.digest import Digests
from bundler.doctor.examine_model import examine_model
from bundler.doctor.manifest_check import LIMIT as MANIFEST_LIMIT
from bundler.doctor.manifest_check import MANIFEST, check_manifest, provenance_of_manifest, read_manifest
from bundler.doctor.prompt_tokens import PromptTokens, check_byte_mapping, check_tokens, of_parameters
from bundler.doctor.report import Finding, Report
from bundler.doctor.sentencepiece_file import LIMIT as SENTENCEPIECE_LIMIT
from bundler.doctor.sentencepiece_file import read_sentencepiece
from bundler.doctor.tokenizer_facts import TokenizerFacts
from bundler.doctor.vocabulary_fit import check_vocabulary
from bundler.errors import BundleError
from bundler.system.file_section import FileSection

METADATA_LIMIT = 1 << 18  # bytes; real metadata has less than a kilobyte, with templates some
_EPOCH = 0x21  # 1980-01-01 in the ZIP's days: what task-bundler writes; other packers write the present


def examine_task(report: Report) -> None:
    sections = _digested(report, _entries(report))
    tokens = _tokens(report, sections.get(METADATA_ENTRY))
    tokenizer_bytes, tokenizer = _tokenizer(report, sections.get(TOKENIZER_ENTRY))
    if tokens is not None:
        report.findings += check_tokens(tokens, tokenizer, METADATA_ENTRY, text_stops_only=True) + check_byte_mapping(
            tokens, tokenizer, METADATA_ENTRY
        )
    model = examine_model(report, sections[MODEL_ENTRY]) if MODEL_ENTRY in sections else None
    if tokenizer is not None and model is not None:
        report.findings += check_vocabulary(
            tokenizer, model.embedding.rows, model.shape.width, model.embedding.bias, TOKENIZER_ENTRY
        )
    manifest = _manifest(report, sections.get(MANIFEST))
    if manifest is None:
        return
    shape = model.shape if model else None
    if shape and shape.context and type(promised := manifest.get("context")) is int and promised > shape.context:
        report.findings.append(
            Finding("max-tokens-over-context", MANIFEST, f"it says {promised} tokens, the cache holds {shape.context}")
        )
    size = sections[MODEL_ENTRY].size if MODEL_ENTRY in sections else 0
    report.findings += check_manifest(manifest, tokenizer_bytes, tokens, model, size)


def _entries(report: Report) -> tuple[ZipEntry, ...]:
    """The entries in the order of the file, with everything told that is wrong with the ZIP."""
    with open(report.path, "rb") as stream:
        beginning = stream.read(6)
        directory = read_directory(stream)
    report.findings += [Finding(defect.kind, defect.entry, defect.text) for defect in directory.defects]
    if directory.entries is None:
        return ()
    for entry in directory.entries:
        if entry.name == MODEL_ENTRY and entry.sound and not entry.aligned:
            text = f"begins at byte {entry.offset}, no multiple of {ALIGNMENT}"
            report.findings.append(Finding("entry-misaligned", MODEL_ENTRY, text))
    names = sorted(entry.name for entry in directory.entries)
    for name in (MODEL_ENTRY, TOKENIZER_ENTRY, METADATA_ENTRY):
        if name not in names:
            text = f"no entry of this name, only {', '.join(names[:8]) or 'none at all'}"
            report.findings.append(Finding("entry-missing", name, text))
    if beginning[4:] != b"PK":
        report.findings.append(Finding("web-start-bytes", "", f"the file begins with {beginning!r}"))
    return directory.entries


def _digested(report: Report, entries: tuple[ZipEntry, ...]) -> dict[str, FileSection]:
    """The entries' bytes by name (of two of one name, the last, as engines read them), with their checksums checked and
    told.
    """
    digests, sections, listed = Digests(report.size), {}, []
    for entry in entries:
        section = FileSection(report.path, entry.offset, entry.size, entry.name) if entry.sound else None
        digest = digests.of(section) if section else None
        if digest and digest[1] != entry.crc:
            report.findings.append(
                Finding(
                    "entry-checksum-wrong",
                    entry.name,
                    f"its bytes have CRC-32 {digest[1]:08x}, the bundle says {entry.crc:08x}",
                )
            )
        if section:
            sections[entry.name] = section
        listed.append(
            {
                "name": entry.name,
                "offset": entry.offset,
                "bytes": entry.size,
                "aligned": entry.aligned,
                "stored": not entry.compressed,
                "sha256": digest and digest[0],
            }
        )
    report.facts["entries"] = listed
    report.facts["provenance"] = _packer(entries)
    return sections


def _packer(entries: tuple[ZipEntry, ...]) -> dict[str, Any]:
    dates = {entry.written for entry in entries}
    aligned = all(entry.aligned for entry in entries) and bool(entries)
    if not entries or {date for date, _ in dates} == {_EPOCH}:
        return {"maker": "unknown"}
    date, time = max(dates)
    try:
        written = datetime(
            1980 + (date >> 9), date >> 5 & 15, date & 31, time >> 11, time >> 5 & 63, time % 32 * 2
        ).isoformat(" ")
    except ValueError:
        written = None
    return {"maker": "MediaPipe's bundler, or one that packs like it" if aligned else "a ZIP tool", "packed": written}


def _tokens(report: Report, section: FileSection | None) -> PromptTokens | None:
    if section is None:
        return None
    if section.size > METADATA_LIMIT:
        report.findings.append(
            Finding("metadata-unreadable", METADATA_ENTRY, f"{section.size} bytes; expected less than a kilobyte")
        )
        return None
    try:
        tokens = of_parameters(LlmParameters.decode(section.read()))
    except BundleError as error:
        report.findings.append(Finding("metadata-unreadable", METADATA_ENTRY, str(error)))
        return None
    report.facts["metadata"] = tokens.shown
    return tokens


def _tokenizer(report: Report, section: FileSection | None) -> tuple[bytes | None, TokenizerFacts | None]:
    if section is None:
        return None, None
    if section.size > SENTENCEPIECE_LIMIT:
        report.findings.append(
            Finding(
                "tokenizer-unreadable", TOKENIZER_ENTRY, f"{section.size} bytes; expected at most {SENTENCEPIECE_LIMIT}"
            )
        )
        return None, None
    data = section.read()
    return data, take_sentencepiece(report, data, TOKENIZER_ENTRY)


def take_sentencepiece(report: Report, data: bytes, where: str) -> TokenizerFacts | None:
    """Add the facts and findings on a SentencePiece model; None if it cannot be read."""
    tokenizer = read_sentencepiece(data, where)
    if isinstance(tokenizer, Finding):
        report.findings.append(tokenizer)
        return None
    report.facts["tokenizer"] = tokenizer.shown
    report.findings += tokenizer.findings
    return tokenizer


def _manifest(report: Report, section: FileSection | None) -> dict[str, Any] | None:
    if section is None:
        return None
    if section.size > MANIFEST_LIMIT:
        report.findings.append(
            Finding("manifest-unreadable", MANIFEST, f"{section.size} bytes; expected at most {MANIFEST_LIMIT}")
        )
        return None
    manifest = read_manifest(section.read())
    if isinstance(manifest, Finding):
        report.findings.append(manifest)
        return None
    report.facts["provenance"] = provenance_of_manifest(manifest)
    return manifest
