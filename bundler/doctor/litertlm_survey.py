"""The sections of a `.litertlm` and everything that is wrong with its header; `litertlm_file.read_litertlm` refuses at
the first defect.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from litert_lm_builder import litertlm_core as core

from bundler.containers.litertlm import (
    HEADER_LIMIT,
    HF_TOKENIZER_SECTION,
    LLM_METADATA_SECTION,
    MODEL_SECTION,
    PREFILL_DECODE,
    SENTENCEPIECE_SECTION,
    LitertLmSection,
    parse_header,
)
from bundler.doctor.report import Finding
from bundler.system.file_section import FileSection
from bundler.tflite.flatbuffer import Damaged

ARTISAN = "tf_lite_artisan_text_decoder"  # the model_type of weights for browsers

_MOST_SECTIONS = 1 << 10  # the largest known files have a dozen


@dataclass(frozen=True)
class SurveyedSection:
    """One section as the header has it. `section`: its bytes, None if they are not all in the file."""

    type: str
    model_type: str
    offset: int
    size: int
    pairs: dict[str, str | int | float | bool]
    section: FileSection | None

    @property
    def name(self) -> str:
        return f"{self.type} {self.model_type}".rstrip()


@dataclass(frozen=True)
class LitertlmHeader:
    version: tuple[int, int, int]
    pairs: dict[str, str | int | float | bool]
    sections: tuple[SurveyedSection, ...]


class LitertlmSurvey(NamedTuple):
    """`header` is None if it cannot be read."""

    header: LitertlmHeader | None
    findings: list[Finding]


def survey_litertlm(path: Path, size: int) -> LitertlmSurvey:
    """Read the header of a file of `size` bytes, and look for its sections."""
    with open(path, "rb") as stream:
        fixed = stream.read(core.HEADER_BEGIN_BYTE_OFFSET)
        if len(fixed) < core.HEADER_BEGIN_BYTE_OFFSET:
            return LitertlmSurvey(
                None, [Finding("file-truncated", "", f"{size} bytes, less than the fixed part of the header")]
            )
        *version, _, end = struct.unpack("<4LQ", fixed[8:])
        if version[0] != core.LITERTLM_MAJOR_VERSION:
            return LitertlmSurvey(
                None, [Finding("container-version-unsupported", "", f"version {'.'.join(map(str, version))}")]
            )
        length = end - core.HEADER_BEGIN_BYTE_OFFSET
        if not 0 < length <= HEADER_LIMIT:
            return LitertlmSurvey(
                None, [Finding("container-header-unreadable", "", f"the header is said to end at byte {end}")]
            )
        if end > size:
            defect = f"{size} bytes, and the header alone is said to end at byte {end}"
            return LitertlmSurvey(None, [Finding("file-truncated", "", defect)])
        data = stream.read(length)
    try:
        parsed = parse_header(data)
        if len(parsed.sections) > _MOST_SECTIONS:
            raise Damaged(f"{len(parsed.sections)} sections")
    except Damaged as damage:
        return LitertlmSurvey(None, [Finding("container-header-unreadable", "", f"the header holds {damage}")])
    sections = tuple(_section(path, section, size) for section in parsed.sections)
    header = LitertlmHeader(tuple(version), parsed.metadata, sections)
    return LitertlmSurvey(header, _findings(sections, end, size))


def _section(path: Path, listed: LitertLmSection, size: int) -> SurveyedSection:
    begin, end = listed.offset, listed.offset + listed.size
    model_type = str(listed.metadata.get("model_type", "")) if listed.type == MODEL_SECTION else ""
    inside = core.HEADER_BEGIN_BYTE_OFFSET <= begin <= end <= size
    return SurveyedSection(
        listed.type,
        model_type,
        begin,
        listed.size,
        listed.metadata,
        FileSection(path, begin, listed.size, listed.type) if inside else None,
    )


def _findings(sections: tuple[SurveyedSection, ...], header_end: int, size: int) -> list[Finding]:
    findings, seen, end, last = [], set(), header_end, "the header"
    for section in sorted(sections, key=lambda section: section.offset):
        if section.section is None:
            findings.append(
                Finding(
                    "section-outside-file",
                    section.name,
                    f"bytes {section.offset} to {section.offset + section.size} of {size}",
                )
            )
            continue
        if section.offset < end:
            findings.append(
                Finding(
                    "section-overlap",
                    section.name,
                    f"begins at byte {section.offset}, inside {last}, which ends at {end}",
                )
            )
        elif section.offset % core.BLOCK_SIZE:
            findings.append(
                Finding(
                    "section-misaligned",
                    section.name,
                    f"begins at byte {section.offset}, no multiple of {core.BLOCK_SIZE}",
                )
            )
        if section.name in seen:
            findings.append(Finding("section-duplicated", section.name, "there are two of them"))
        seen.add(section.name)
        end, last = max(end, section.offset + section.size), section.name
    if LLM_METADATA_SECTION not in seen:
        findings.append(Finding("section-missing", LLM_METADATA_SECTION, _only(seen)))
    if not seen & {HF_TOKENIZER_SECTION, SENTENCEPIECE_SECTION}:
        findings.append(Finding("section-missing", f"{HF_TOKENIZER_SECTION} or {SENTENCEPIECE_SECTION}", _only(seen)))
    model_types = {section.model_type for section in sections if section.type == MODEL_SECTION}
    if PREFILL_DECODE not in model_types:
        if ARTISAN in model_types:
            findings.append(
                Finding(
                    "model-web-only", f"{MODEL_SECTION} {ARTISAN}", "the only model that writes text is of this type"
                )
            )
        else:
            findings.append(Finding("section-missing", f"{MODEL_SECTION} {PREFILL_DECODE}", _only(seen)))
    return findings


def _only(names: set[str]) -> str:
    return f"no such section, only {', '.join(sorted(names)[:8]) or 'none at all'}"
