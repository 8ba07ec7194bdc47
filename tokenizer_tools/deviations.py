"""In what a Hugging Face tokenizer.json asks for something else than GPT-2's rules."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Iterator

from tokenizer_tools.errors import TokenizerError, brief
from tokenizer_tools.vocabulary import GPT2_PATTERN

# The regexes of other byte-level BPEs in use. Any regex but these is refused: it is run on every text, here and in an
# engine, and a regex can take longer than anyone waits.
KNOWN_PATTERNS = {
    GPT2_PATTERN: "GPT-2",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
    r"\s*[\r\n]+|\s+(?!\S)|\s+": "Llama 3",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
    r"\s*[\r\n]+|\s+(?!\S)|\s+": "Qwen 2",
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+": "GPT-2, digits one by one",
    r"\p{N}{1,3}": "digits by threes",
    r"\p{N}": "digits one by one",
    r"\d": "digits one by one",
    r"[0-9]": "digits one by one",
}


def deviations(document: dict[str, Any], typed: list[dict[str, Any]]) -> list[str]:
    """One sentence for each thing that this package does not rebuild; empty for a GPT-2 tokenizer.

    `typed`: the added tokens that are cut out of a text. Raises TokenizerError for what is no tokenizer, and for
    regexes that are not among KNOWN_PATTERNS.
    """
    parts = {
        name: steps(document.get(name), name) for name in ("normalizer", "pre_tokenizer", "post_processor", "decoder")
    }
    for name, flat in parts.items():
        _refuse_unknown_regexes(flat, name)
    return [
        *_model(document["model"]),
        *_normalizer(parts["normalizer"]),
        *_pre_tokenizer(parts["pre_tokenizer"], document.get("pre_tokenizer") is None),
        *_added_tokens(typed),
        *_decoder(parts["decoder"]),
        *_around_the_text(parts["post_processor"], start_of_text(document)),
    ]


def puts_prefix_space(document: dict[str, Any]) -> bool:
    """Does the pre-tokenizer put a space before a text that begins with none?"""
    flat = steps(document.get("pre_tokenizer"), "pre_tokenizer")
    return any(step["type"] == "ByteLevel" and bool(step.get("add_prefix_space")) for step in flat)


def leftovers(document: dict[str, Any], path: Path) -> Iterator[str]:
    """One sentence for each setting of an earlier call that transformers saved with the tokenizer, and ignores in the
    next.
    """
    for rule in ("truncation", "padding"):
        if document.get(rule):
            yield f"{path}: {rule} is on, left over from a call; ignored, as transformers does"


def start_of_text(document: dict[str, Any]) -> int | None:
    """The id of the token that the post-processor puts before a text, if that is all it does."""
    templates = [
        step for step in steps(document.get("post_processor"), "post_processor") if step["type"] == "TemplateProcessing"
    ]
    single = templates[0].get("single") if len(templates) == 1 else None
    if _kinds(single) != [{"SpecialToken"}, {"Sequence"}]:
        return None
    try:
        ids = templates[0]["special_tokens"][single[0]["SpecialToken"]["id"]]["ids"]
    except (KeyError, TypeError):
        return None
    return ids[0] if isinstance(ids, list) and len(ids) == 1 and type(ids[0]) is int else None


def _kinds(template: Any) -> list[set[str]] | None:
    """What each part of a template is; None if it is no template."""
    if not isinstance(template, list) or not all(isinstance(part, dict) for part in template):
        return None
    return [set(part) for part in template]


def steps(component: Any, name: str) -> list[dict[str, Any]]:
    """A component's steps, Sequences taken apart; `name` is its own. Raises TokenizerError for what is none."""
    flat, pending = [], [] if component is None else [component]
    while pending:
        step = pending.pop()
        kind = step.get("type") if isinstance(step, dict) else None
        if not isinstance(kind, str):
            raise TokenizerError(
                f'{name} holds {brief(step)}; an object with a "type" was expected. Fetch the file again'
            )
        if kind != "Sequence":
            flat.append(step)
            continue
        inner = next(
            (step[key] for key in ("normalizers", "pretokenizers", "processors", "decoders") if key in step), None
        )
        if not isinstance(inner, list):
            raise TokenizerError(f"{name} has a Sequence of {brief(inner)}; a list was expected. Fetch the file again")
        pending += reversed(inner)
    return flat


def _refuse_unknown_regexes(flat: list[dict[str, Any]], name: str) -> None:
    for step in flat:
        if step["type"] == "Precompiled":
            raise TokenizerError(
                f"{name} has a compiled character map, SentencePiece's; byte-level BPE has none. Give GPT-2's "
                "tokenizer.json"
            )
        if (pattern := _regex(step)) is not None and not (isinstance(pattern, str) and pattern in KNOWN_PATTERNS):
            raise TokenizerError(
                f"{name} has the regex {brief(pattern)}, which is not GPT-2's, nor that of another model known here; "
                "it is not run, because a regex may never end. Give a tokenizer.json of GPT-2"
            )


def _regex(step: dict[str, Any]) -> Any:
    pattern = step.get("pattern")
    return pattern.get("Regex") if isinstance(pattern, dict) else None


def _model(model: dict[str, Any]) -> Iterator[str]:
    if model.get("byte_fallback"):
        yield "model.byte_fallback is on; GPT-2's bytes are tokens of the vocabulary themselves"
    if model.get("ignore_merges"):
        yield "model.ignore_merges is on: a word that is a token is taken whole, whatever the merges say"
    if model.get("dropout"):
        yield f"model.dropout is {brief(model['dropout'])}: the ids are random"
    for affix in ("continuing_subword_prefix", "end_of_word_suffix"):
        if model.get(affix):
            yield f"model.{affix} is {brief(model[affix])}; GPT-2 has none"


def _normalizer(flat: list[dict[str, Any]]) -> Iterator[str]:
    if flat:
        yield f"the normalizer {_named(flat)} changes the text; GPT-2 has none"


def _pre_tokenizer(flat: list[dict[str, Any]], absent: bool) -> Iterator[str]:
    if absent:
        yield "there is no pre-tokenizer; GPT-2 cuts the text with a regex"
        return
    cut = False
    for step in flat:
        if step["type"] == "ByteLevel":
            cut = cut or step.get("use_regex", True)
        elif step["type"] == "Split":
            if _regex(step) != GPT2_PATTERN or step.get("behavior") != "Isolated" or step.get("invert"):
                yield f"the pre-tokenizer cuts with another regex than GPT-2's: {brief(step.get('pattern'))}"
            cut = True
        else:
            yield f"the pre-tokenizer has a step {_named([step])}, which GPT-2 has not"
            cut = True
    if not cut:
        yield "the pre-tokenizer does not cut the text with GPT-2's regex (use_regex is off)"


def _added_tokens(typed: list[dict[str, Any]]) -> Iterator[str]:
    for rule in ("lstrip", "rstrip", "single_word"):
        if ruled := [token for token in typed if token.get(rule)]:
            yield f"{_counted(ruled)} the rule {rule}, which takes more of a text than the token's own"
    if broken := [token for token in typed if "\0" in token["content"]]:
        yield f"{_counted(broken)} a NUL, which SentencePiece cannot hold"
    # Tokens that are not to be normalized are cut out of the whole text first, then the others; SentencePiece reads
    # once.
    first, second = (
        [token["content"] for token in typed if bool(token.get("normalized", not token.get("special"))) is kind]
        for kind in (False, True)
    )
    beginnings = {text[:end] for text in first for end in range(1, len(text) + 1)}
    endings = {text[start:] for text in first for start in range(len(text))}
    for text in second:
        parts = (
            {text[start:end] for start in range(len(text)) for end in range(start + 1, len(text) + 1)}
            if len(text) < 200
            else {text}
        )
        clash = (
            parts & set(first)
            or {text[start:] for start in range(len(text))} & beginnings
            or {text[:end] for end in range(1, len(text) + 1)} & endings
        )
        if clash:
            yield f"the added token {brief(text)} overlaps with another that is cut out first, at {brief(min(clash))}"


def _counted(tokens: list[dict[str, Any]]) -> str:
    first = brief(tokens[0]["content"])
    return f"the added token {first} has" if len(tokens) == 1 else f"{len(tokens)} added tokens, such as {first}, have"


def _decoder(flat: list[dict[str, Any]]) -> Iterator[str]:
    if [step["type"] for step in flat] != ["ByteLevel"]:
        yield f"the decoder is {_named(flat) if flat else 'missing'}; GPT-2 decodes bytes (ByteLevel)"


def _around_the_text(flat: list[dict[str, Any]], start: int | None) -> Iterator[str]:
    for step in flat:
        kinds = _kinds(step.get("single", []))
        if step["type"] == "TemplateProcessing" and (
            start is not None or (kinds is not None and all(kind == {"Sequence"} for kind in kinds))
        ):
            continue
        if step["type"] != "ByteLevel":
            yield f"the post-processor {_named([step])} adds tokens around the text"


def _named(flat: list[dict[str, Any]]) -> str:
    names = list(dict.fromkeys(step["type"][:40] for step in flat))
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
