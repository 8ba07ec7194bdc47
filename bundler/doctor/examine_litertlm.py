"""The examination of a `.litertlm`."""

from __future__ import annotations

from bundler.containers.litertlm import (
    BASE_FINGERPRINT,
    HF_TOKENIZER_SECTION,
    LLM_METADATA_SECTION,
    MODEL_SECTION,
    PREFILL_DECODE,
    SENTENCEPIECE_SECTION,
)
from bundler.containers.llm_metadata import LlmMetadata
from bundler.doctor.digest import Digests
from bundler.doctor.examine_model import examine_model
from bundler.doctor.examine_task import METADATA_LIMIT, take_sentencepiece
from bundler.doctor.litertlm_survey import LitertlmHeader, SurveyedSection, survey_litertlm
from bundler.doctor.prompt_tokens import PromptTokens, check_byte_mapping, check_max_tokens, check_tokens, of_metadata
from bundler.doctor.report import Finding, Report
from bundler.doctor.sentencepiece_file import LIMIT as SENTENCEPIECE_LIMIT
from bundler.doctor.tokenizer_facts import TokenizerFacts
from bundler.doctor.tokenizer_json import LIMIT as JSON_LIMIT
from bundler.doctor.tokenizer_json import read_tokenizer_json, unfold
from bundler.doctor.vocabulary_fit import check_vocabulary
from bundler.errors import BundleError


def examine_litertlm(report: Report) -> None:
    survey = survey_litertlm(report.path, report.size)
    report.findings += survey.findings
    if (header := survey.header) is None:
        return
    _describe(report, header)
    by_type = {(section.type, section.model_type): section for section in reversed(header.sections) if section.section}
    tokens = _tokens(report, by_type.get((LLM_METADATA_SECTION, "")))
    place, tokenizer = _tokenizer(
        report, by_type.get((HF_TOKENIZER_SECTION, "")), by_type.get((SENTENCEPIECE_SECTION, ""))
    )
    if tokens is not None:
        report.findings += check_tokens(tokens, tokenizer, LLM_METADATA_SECTION) + check_byte_mapping(
            tokens, tokenizer, place
        )
    section = by_type.get((MODEL_SECTION, PREFILL_DECODE))
    model = examine_model(report, section.section) if section else None
    if model is None:
        return
    if tokenizer is not None:
        report.findings += check_vocabulary(
            tokenizer, model.embedding.rows, model.shape.width, model.embedding.bias, place
        )
    if tokens is not None:
        report.findings += check_max_tokens(tokens, model.shape.context, LLM_METADATA_SECTION)


def _describe(report: Report, header: LitertlmHeader) -> None:
    digests, listed = Digests(report.size), []
    for section in header.sections:
        digest = digests.of(section.section) if section.section else None
        listed.append(
            {
                "name": section.name,
                "offset": section.offset,
                "bytes": section.size,
                "pairs": section.pairs,
                "sha256": digest and digest[0],
            }
        )
    report.facts["version"] = ".".join(map(str, header.version))
    report.facts["entries"] = listed
    fingerprint = next(
        (section.pairs[BASE_FINGERPRINT] for section in header.sections if BASE_FINGERPRINT in section.pairs), None
    )
    maker = "task-bundler" if fingerprint else "litert-lm-builder, or one that packs like it"
    report.facts["provenance"] = {"maker": maker, "base_fingerprint": fingerprint, "pairs": header.pairs}


def _tokens(report: Report, section: SurveyedSection | None) -> PromptTokens | None:
    if section is None:
        return None
    if section.size > METADATA_LIMIT:
        report.findings.append(
            Finding("metadata-unreadable", LLM_METADATA_SECTION, f"{section.size} bytes; expected less than a kilobyte")
        )
        return None
    try:
        tokens = of_metadata(LlmMetadata.decode(section.section.read()))
    except BundleError as error:
        report.findings.append(Finding("metadata-unreadable", LLM_METADATA_SECTION, str(error)))
        return None
    report.facts["metadata"] = tokens.shown
    return tokens


def _tokenizer(
    report: Report, hugging_face: SurveyedSection | None, sentencepiece: SurveyedSection | None
) -> tuple[str, TokenizerFacts | None]:
    """(which section, its facts); of the two kinds the engine takes what it finds, a file has one."""
    section = hugging_face or sentencepiece
    if section is None:
        return "", None
    limit = JSON_LIMIT if section is hugging_face else SENTENCEPIECE_LIMIT
    if section.size > limit:
        report.findings.append(
            Finding("tokenizer-unreadable", section.type, f"{section.size} bytes; expected at most {limit}")
        )
        return section.type, None
    data = section.section.read()
    if section is not hugging_face:
        return section.type, take_sentencepiece(report, data, section.type)
    text = unfold(data, section.type)
    tokenizer = text if isinstance(text, Finding) else read_tokenizer_json(text, section.type)
    if isinstance(tokenizer, Finding):
        report.findings.append(tokenizer)
        return section.type, None
    report.facts["tokenizer"] = tokenizer.shown
    report.findings += tokenizer.findings
    return section.type, tokenizer
