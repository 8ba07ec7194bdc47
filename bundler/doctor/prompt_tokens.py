"""Start and stop tokens of a bundle, held against its tokenizer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bundler.containers.llm_metadata import LlmMetadata
from bundler.containers.llm_parameters import LlmParameters
from bundler.doctor.report import Finding
from bundler.doctor.tokenizer_facts import TokenizerFacts

# LiteRT-LM refuses a prompt of as many tokens as it is told of, and the shortest has a token after the start token
_FEWEST_TOKENS = 2


@dataclass(frozen=True)
class PromptTokens:
    """What the metadata says, whichever container it is of. A stop token of several ids is a tuple."""

    start: str | int | None
    stops: tuple[str | int | tuple[int, ...], ...]
    byte_mapping: bool
    max_tokens: int
    shown: dict[str, Any]


def of_parameters(parameters: LlmParameters) -> PromptTokens:
    """Of a `.task`."""
    start = parameters.start_token if parameters.start_token is not None else parameters.start_token_id
    shown = {
        "start_token": start,
        "stop_tokens": [*parameters.stop_tokens, *parameters.stop_token_ids],
        "byte_mapping": parameters.bytes_to_unicode,
        "system_prompt": parameters.system_prompt,
        "templates": _templates(parameters),
        "unknown_fields": [number for number, _ in parameters.unknown],
    }
    return PromptTokens(
        start, (*parameters.stop_tokens, *parameters.stop_token_ids), parameters.bytes_to_unicode, 0, shown
    )


def of_metadata(metadata: LlmMetadata) -> PromptTokens:
    """Of a `.litertlm`."""
    shown = {
        "start_token": metadata.start_token,
        "stop_tokens": [list(token) if isinstance(token, tuple) else token for token in metadata.stop_tokens],
        "max_num_tokens": metadata.max_num_tokens,
        "model_type": metadata.model_type,
        "templates": _templates(metadata),
        "chat_template_characters": len(metadata.chat_template),
    }
    return PromptTokens(metadata.start_token, metadata.stop_tokens, False, metadata.max_num_tokens, shown)


def _templates(metadata: LlmParameters | LlmMetadata) -> dict[str, list[str]]:
    return {
        role: [template.prefix, template.suffix]
        for role in ("user", "model", "system")
        if (template := getattr(metadata, role)).prefix or template.suffix
    }


def check_tokens(
    tokens: PromptTokens, tokenizer: TokenizerFacts | None, where: str, text_stops_only: bool = False
) -> list[Finding]:
    """`text_stops_only`: MediaPipe reads stop tokens as text only. Without a tokenizer only what needs none is
    checked.
    """
    findings = []

    def tell(code: str, text: str) -> None:
        findings.append(Finding(code, where, text))

    if tokens.start is None:
        tell("start-token-missing", "no start token")
    if "" in (tokens.start, *tokens.stops) or () in tokens.stops:
        tell("token-empty", f"start token {tokens.start!r}, stop tokens {list(tokens.stops)}")
    if not tokens.stops:
        tell("stop-token-missing", "no stop token")
    elif text_stops_only and not any(isinstance(stop, str) for stop in tokens.stops):
        tell("stop-token-missing", f"stop tokens as ids only, {list(tokens.stops)}, which MediaPipe does not read")
    if tokenizer is None:
        return findings
    if isinstance(tokens.start, str) and tokens.start and tokens.start.encode("utf-8", "replace") not in tokenizer.ids:
        tell("start-token-unknown", f"{tokens.start!r} is none of the tokenizer's {len(tokenizer.ids)} tokens")
    elif isinstance(tokens.start, int) and not 0 <= tokens.start < tokenizer.size:
        tell("start-token-unknown", f"id {tokens.start}, but the tokenizer's ids end at {tokenizer.size - 1}")
    for stop in tokens.stops:
        if isinstance(stop, str) and stop and stop.encode("utf-8", "replace") not in tokenizer.ids:
            tell("stop-token-unknown", f"{stop!r} is none of the tokenizer's {len(tokenizer.ids)} tokens")
        ids = (stop,) if isinstance(stop, int) else stop if isinstance(stop, tuple) else ()
        if bad := [index for index in ids if not 0 <= index < tokenizer.size]:
            tell("stop-id-out-of-range", f"id {bad[0]}, but the tokenizer's ids end at {tokenizer.size - 1}")
    for token in dict.fromkeys((tokens.start, *tokens.stops)):
        index = tokenizer.ids.get(token.encode("utf-8", "replace")) if isinstance(token, str) else token
        if index in tokenizer.user_defined:
            tell("special-piece-in-text", f"{token!r} is a USER_DEFINED piece")
        elif index in tokenizer.untyped:
            tell("special-token-is-text", f"{token!r} in a prompt is text to this tokenizer")
    return findings


def check_max_tokens(tokens: PromptTokens, context: int | None, where: str) -> list[Finding]:
    """What LiteRT-LM is told of the context, held against the cache; 0 leaves it to the engine."""
    most = tokens.max_tokens
    if most <= 0 or most == context:
        return []
    if most < _FEWEST_TOKENS + (tokens.start is not None):
        return [Finding("max-tokens-too-few", where, f"max_num_tokens is {most}")]
    if context is None:
        return []
    text = f"max_num_tokens is {most}, the cache holds {context}"
    return [
        Finding("max-tokens-over-context", where, text)
        if most > context
        else Finding("max-tokens-under-context", where, text)
    ]


def check_byte_mapping(tokens: PromptTokens, tokenizer: TokenizerFacts | None, where: str) -> list[Finding]:
    """Whether GPT-2's byte alphabet is asked for exactly where the pieces are in it. Only SentencePiece models are
    concerned.
    """
    if tokenizer is None or tokenizer.kind != "SentencePiece":
        return []
    if tokenizer.byte_mapped and not tokens.byte_mapping:
        return [
            Finding("byte-mapping-off", where, f"pieces like {_example(tokenizer)!r}, and no byte mapping asked for")
        ]
    if tokens.byte_mapping and not tokenizer.byte_mapped:
        return [
            Finding(
                "byte-mapping-unwanted", where, "a byte mapping, though the pieces are not in GPT-2's byte alphabet"
            )
        ]
    if tokens.byte_mapping:
        return [Finding("byte-mapping-ignored", where, f"pieces like {_example(tokenizer)!r}, and a byte mapping")]
    return []


def _example(tokenizer: TokenizerFacts) -> str:
    return next(
        (
            piece.decode("utf-8", "replace")
            for piece in tokenizer.ids
            if piece.startswith("Ġ".encode()) and len(piece) > 2
        ),
        "Ġ",
    )
