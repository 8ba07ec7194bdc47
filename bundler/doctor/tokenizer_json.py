"""The Hugging Face tokenizer.json inside a `.litertlm`: what is in it, and whether the tokenizers library would load
it.

It is not given to that library, which compiles whatever regex the file holds; its structure is checked instead.
"""

from __future__ import annotations

import json
import zlib
from typing import Any

from bundler.doctor.regex_syntax import refusal
from bundler.doctor.report import Finding
from bundler.doctor.tokenizer_facts import TokenizerFacts
from tokenizer_tools.vocabulary import SYMBOL_BYTES

LIMIT = 1 << 26  # bytes, packed and unfolded; the largest known ones have half of that
_MOST_VALUES = (
    4_000_000  # values in the JSON: as many take half a gigabyte and a second; the largest known have two million
)
_MODELS = ("BPE", "Unigram", "WordPiece", "WordLevel")
# What the library knows (tokenizers 0.23.3), and refuses everything else: fields of the file, types of its components,
# flags.
_COMPONENTS = {
    "normalizer": "BertNormalizer ByteLevel Lowercase NFC NFD NFKC NFKD Nmt Precompiled Prepend Replace Sequence Strip "
    "StripAccents",
    "pre_tokenizer": "BertPreTokenizer ByteLevel CharDelimiterSplit Digits FixedLength Metaspace Punctuation Sequence "
    "Split UnicodeScripts Whitespace WhitespaceSplit",
    "post_processor": "BertProcessing ByteLevel RobertaProcessing Sequence TemplateProcessing",
    "decoder": "BPEDecoder ByteFallback ByteLevel CTC Fuse Metaspace Replace Sequence Strip WordPiece",
}
# A component of type Sequence -> the field with its parts.
_PARTS = {
    "normalizer": "normalizers",
    "pre_tokenizer": "pretokenizers",
    "post_processor": "processors",
    "decoder": "decoders",
}
_MOST_PARTS = 100  # of all components; known files have eight
_FIELDS = {"version", "truncation", "padding", "added_tokens", "model", *_COMPONENTS}
_ADDED_FLAGS, _BYTE_LEVEL_FLAGS = (
    ("single_word", "lstrip", "rstrip", "normalized", "special"),
    ("add_prefix_space", "trim_offsets"),
)


def unfold(section: bytes, where: str) -> bytes | Finding:
    """The JSON in a HF_Tokenizer_Zlib section: eight bytes of size, then zlib's format; never more than LIMIT."""
    size, unfolder = int.from_bytes(section[:8], "little"), zlib.decompressobj()
    if size > LIMIT:
        return Finding(
            "tokenizer-unreadable",
            where,
            f"{len(section)} bytes that claim to unfold to {size}; expected at most {LIMIT}",
        )
    try:
        text = unfolder.decompress(section[8:], size + 1)  # one byte more shows a wrong size
    except zlib.error as error:
        return Finding("tokenizer-unreadable", where, f"it does not unfold: {error}")
    if len(text) != size or not unfolder.eof:
        return Finding("tokenizer-unreadable", where, f"it is said to unfold to {size} bytes, and does not")
    return text


def read_tokenizer_json(text: bytes, where: str) -> TokenizerFacts | Finding:
    """The facts, or the finding that says why it cannot be read."""
    if text.count(b",") + text.count(b"[") + text.count(b"{") > _MOST_VALUES:
        return Finding("tokenizer-unreadable", where, f"more than {_MOST_VALUES} values")
    try:
        return _facts(json.loads(text), where)
    except RecursionError:
        return Finding("tokenizer-unreadable", where, "lists nested without end")
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        return Finding("tokenizer-unreadable", where, f"{type(error).__name__}: {error}")


def _facts(tokenizer: dict[str, Any], where: str) -> TokenizerFacts:
    model = _expect(_expect(tokenizer, dict, "the whole").get("model"), dict, "model")
    parts = _check_components(tokenizer)
    kind = model.get("type", "BPE")
    if kind not in _MODELS:
        raise ValueError(f"model of type {kind!r}; expected one of {', '.join(_MODELS)}")
    if kind == "Unigram":
        vocabulary = {
            _expect(entry[0], str, "a piece"): index
            for index, entry in enumerate(_expect(model.get("vocab"), list, "model.vocab"))
        }
    else:
        vocabulary = _expect(model.get("vocab"), dict, "model.vocab")
    added = {
        _expect(entry["content"], str, "an added token"): entry["id"]
        for entry in _expect(tokenizer.get("added_tokens") or [], list, "added_tokens")
    }
    if bad := [
        index for index in (*vocabulary.values(), *added.values()) if type(index) is not int or not 0 <= index < 1 << 32
    ]:
        raise ValueError(f"the id {bad[0]!r}")
    merges = _expect(model.get("merges"), list, "model.merges") if kind == "BPE" else []
    _check_merges(merges, vocabulary)
    if not vocabulary and not added:
        raise ValueError("no tokens")
    ids: dict[bytes, int] = {}
    byte_level = _is_byte_level(tokenizer)
    for token, index in (*vocabulary.items(), *added.items()):
        ids[_token_bytes(token) if byte_level and token not in added else token.encode("utf-8", "replace")] = index
    size = max((*vocabulary.values(), *added.values())) + 1
    special = sorted(token for token, index in added.items())
    shown = {
        "kind": "Hugging Face",
        "algorithm": kind,
        "pieces": len(set(vocabulary.values()) | set(added.values())),
        "merges": len(merges),
        "added_tokens": {token: added[token] for token in special[:32]},
        "byte_alphabet": byte_level,
        "normalizer": _type(tokenizer.get("normalizer")),
        "pre_tokenizer": _type(tokenizer.get("pre_tokenizer")),
    }
    findings = [
        Finding("tokenizer-regex-refused", where, f"{pattern[:100]!r}: {wrong}")
        for part in parts
        if (wrong := refusal(pattern := _regex(part)))
    ]
    decoders = {part["type"] for name, part in parts if name == "decoder"}
    for name, part in parts:
        # A Metaspace is undone in several ways, GPT-2's byte alphabet in one.
        if name != "decoder" and (
            part["type"] == "ByteLevel" and "ByteLevel" not in decoders or part["type"] == "Metaspace" and not decoders
        ):
            findings.append(
                Finding(
                    "tokenizer-decoder-missing",
                    where,
                    f"a {name} of type {part['type']}, and "
                    f"{'decoders ' + ', '.join(sorted(decoders)) if decoders else 'no decoder'}",
                )
            )
    return TokenizerFacts("Hugging Face", size, ids, shown, findings=findings)


def _expect(value: Any, kind: type, name: str) -> Any:
    if not isinstance(value, kind):
        raise ValueError(f"{name} is {type(value).__name__}, not {kind.__name__}")
    return value


def _check_components(tokenizer: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The rest of the file, as far as the library looks at it before it tokenizes. Returns (component, part of it) for
    every part.
    """
    if unknown := sorted(tokenizer.keys() - _FIELDS):
        raise ValueError(f"a field {unknown[0]!r}")
    if tokenizer.get("version", "1.0") != "1.0":
        raise ValueError(f"version {tokenizer['version']!r}, not 1.0")
    parts: list[tuple[str, dict[str, Any]]] = []
    waiting = [(name, tokenizer[name]) for name in _COMPONENTS if tokenizer.get(name) is not None]
    while waiting:
        name, part = waiting.pop()
        type_ = _expect(part, dict, name).get("type")
        if type_ not in _COMPONENTS[name].split():
            raise ValueError(f"a {name} of type {str(type_)[:80]!r}")
        _check_flags(name, part, _BYTE_LEVEL_FLAGS if type_ == "ByteLevel" and name != "normalizer" else ())
        if type_ == "Sequence":
            waiting += [(name, inner) for inner in _expect(part.get(_PARTS[name]), list, f"{name}.{_PARTS[name]}")]
        elif type_ in ("Split", "Replace"):
            _check_pattern(name, part)
        parts.append((name, part))
        if len(parts) > _MOST_PARTS:
            raise ValueError(f"more than {_MOST_PARTS} components")
    for name in ("truncation", "padding"):
        if (limits := tokenizer.get(name)) is not None and "strategy" not in _expect(limits, dict, name):
            raise ValueError(f"{name} without strategy")
    for token in _expect(tokenizer.get("added_tokens") or [], list, "added_tokens"):
        _check_flags("an added token", _expect(token, dict, "an added token"), _ADDED_FLAGS)
    return parts


def _check_pattern(name: str, part: dict[str, Any]) -> None:
    pattern = _expect(part.get("pattern"), dict, f"{name}.pattern")
    if (
        len(pattern) != 1
        or not pattern.keys() <= {"String", "Regex"}
        or not all(isinstance(text, str) for text in pattern.values())
    ):
        raise ValueError(f"a {name} with the pattern {str(pattern)[:80]!r}; expected a String or a Regex")


def _regex(part: tuple[str, dict[str, Any]]) -> str:
    """The regular expression of a component's part, empty if it has none."""
    return part[1]["pattern"].get("Regex", "") if part[1]["type"] in ("Split", "Replace") else ""


def _check_flags(name: str, part: dict[str, Any], flags: tuple[str, ...]) -> None:
    if missing := [flag for flag in flags if not isinstance(part.get(flag), bool)]:
        raise ValueError(f"{name} without {missing[0]}")


def _check_merges(merges: list, vocabulary: dict[str, int]) -> None:
    """What the library refuses: a merge of, or to, something that is not in the vocabulary."""
    for number, merge in enumerate(merges):
        parts = merge.split(" ") if isinstance(merge, str) else merge
        if not isinstance(parts, list) or len(parts) != 2 or not all(isinstance(part, str) for part in parts):
            raise ValueError(f"merge {number} is {merge!r}; expected two tokens")
        if (unknown := next((part for part in (*parts, "".join(parts)) if part not in vocabulary), None)) is not None:
            raise ValueError(f"merge {number} needs the token {unknown!r}, which is not in the vocabulary")


def _is_byte_level(tokenizer: dict[str, Any]) -> bool:
    return "ByteLevel" in _type(tokenizer.get("pre_tokenizer")) or "ByteLevel" in _type(tokenizer.get("decoder"))


def _type(part: Any) -> str:
    """The type of a component and of those it is a sequence of."""
    if not isinstance(part, dict):
        return ""
    parts = next(
        (part[name] for name in ("pretokenizers", "normalizers", "decoders") if isinstance(part.get(name), list)), []
    )
    return " ".join(
        [
            str(part.get("type", ""))[:40],
            *(str(inner.get("type", ""))[:40] for inner in parts[:8] if isinstance(inner, dict)),
        ]
    )


def _token_bytes(token: str) -> bytes:
    if all(character in SYMBOL_BYTES for character in token):
        return bytes(SYMBOL_BYTES[character] for character in token)
    return token.encode("utf-8", "replace")
