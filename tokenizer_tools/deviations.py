"""In what a Hugging Face tokenizer.json asks for something else than GPT-2's rules."""

from __future__ import annotations

from typing import Any, Iterator

from tokenizer_tools.vocabulary import GPT2_PATTERN


def deviations(document: dict[str, Any]) -> list[str]:
    """One sentence for each thing that this package does not rebuild; empty for a GPT-2 tokenizer."""
    return [*_model(document["model"]), *_normalizer(document.get("normalizer")),
            *_pre_tokenizer(document.get("pre_tokenizer")), *_added_tokens(document.get("added_tokens") or []),
            *_around_the_text(document)]


def _model(model: dict[str, Any]) -> Iterator[str]:
    if model.get("byte_fallback"):
        yield "model.byte_fallback is on; GPT-2's bytes are tokens of the vocabulary themselves"
    if model.get("ignore_merges"):
        yield "model.ignore_merges is on: a word that is a token is taken whole, whatever the merges say"
    if model.get("dropout"):
        yield f"model.dropout is {model['dropout']}: the ids are random"
    for affix in ("continuing_subword_prefix", "end_of_word_suffix"):
        if model.get(affix):
            yield f"model.{affix} is {model[affix]!r}; GPT-2 has none"


def _normalizer(normalizer: dict[str, Any] | None) -> Iterator[str]:
    if normalizer is not None and normalizer != {"type": "Sequence", "normalizers": []}:
        yield f"the normalizer {_named(normalizer)} changes the text; GPT-2 has none"


def _pre_tokenizer(pre_tokenizer: dict[str, Any] | None) -> Iterator[str]:
    if pre_tokenizer is None:
        yield "there is no pre-tokenizer; GPT-2 cuts the text with a regex"
        return
    steps = pre_tokenizer.get("pretokenizers", []) if pre_tokenizer.get("type") == "Sequence" else [pre_tokenizer]
    cut = False
    for step in steps:
        if step.get("type") == "ByteLevel":
            if step.get("add_prefix_space"):
                yield "the pre-tokenizer puts a space before the text (add_prefix_space)"
            cut = cut or step.get("use_regex", True)
        elif step.get("type") == "Split":
            pattern = step.get("pattern", {}).get("Regex", step.get("pattern"))
            if pattern == GPT2_PATTERN and step.get("behavior") == "Isolated" and not step.get("invert"):
                cut = True
            else:
                yield f"the pre-tokenizer cuts with another regex than GPT-2's: {pattern}"
                cut = True
        else:
            yield f"the pre-tokenizer has a step {_named(step)}, which GPT-2 has not"
            cut = True
    if not cut:
        yield "the pre-tokenizer does not cut the text with GPT-2's regex (use_regex is off)"


def _added_tokens(added: list[dict[str, Any]]) -> Iterator[str]:
    for token in added:
        rules = [rule for rule in ("lstrip", "rstrip", "single_word") if token.get(rule)]
        if rules:
            yield f"the added token {token['content']!r} has the rule {', '.join(rules)}"
        if not token.get("special", False):
            yield (f"the added token {token['content']!r} is not special: it is cut out of the text before the merges; "
                   "here it is a control token, which no text becomes")


def _around_the_text(document: dict[str, Any]) -> Iterator[str]:
    steps = document.get("post_processor")
    for step in (steps.get("processors", []) if steps and steps.get("type") == "Sequence" else [steps] if steps else []):
        if step.get("type") == "TemplateProcessing" and all(set(part) == {"Sequence"} for part in step.get("single", [])):
            continue
        if step.get("type") != "ByteLevel":
            yield f"the post-processor {_named(step)} adds tokens around the text"
    for rule in ("truncation", "padding"):
        if document.get(rule):
            yield f"{rule} is on"


def _named(step: dict[str, Any]) -> str:
    if step.get("type") == "Sequence":
        inner = step.get("normalizers") or step.get("pretokenizers") or step.get("processors") or []
        return "Sequence of " + ", ".join(_named(part) for part in inner)
    return str(step.get("type"))
