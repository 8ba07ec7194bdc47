"""Our own MANIFEST entry in a `.task`, held against the rest of the bundle; and what can be told of other makers."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from bundler.containers.bundle import FORMAT, MANIFEST
from bundler.containers.lora_manifest import UNMERGED
from bundler.containers.task import TOKENIZER_ENTRY
from bundler.doctor.examine_model import LanguageModel
from bundler.doctor.prompt_tokens import PromptTokens
from bundler.doctor.report import Finding
from lora_weights.errors import LoraError
from lora_weights.tensor_map import map_from_json

LIMIT = 1 << 23  # bytes; GPT-2 XL's alias table and map of tensors take 60 kB
_MOST_VALUES = 1_000_000


def read_manifest(data: bytes) -> dict[str, Any] | Finding:
    """The manifest of a format known here, or the finding that it is none."""
    if data.count(b",") + data.count(b"[") + data.count(b"{") > _MOST_VALUES:
        return Finding("manifest-unreadable", MANIFEST, f"more than {_MOST_VALUES} values")
    try:
        manifest = json.loads(data)
    except (ValueError, RecursionError) as error:
        return Finding("manifest-unreadable", MANIFEST, f"{type(error).__name__}: {error}")
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        return Finding(
            "manifest-unreadable",
            MANIFEST,
            f"format {manifest.get('format') if isinstance(manifest, dict) else None!r}; expected {FORMAT}",
        )
    return manifest


def check_manifest(
    manifest: dict[str, Any],
    tokenizer: bytes | None,
    tokens: PromptTokens | None,
    model: LanguageModel | None,
    model_bytes: int,
) -> list[Finding]:
    """Whether what the manifest says is what the other entries are; what it leaves out, as one of a repacked bundle
    does, is not held
    against it. None: that entry could not be read."""
    findings = []

    def hold(name: str, facts: dict[str, Any], key: str, actual: Any) -> None:
        if key in facts and facts[key] != actual:
            findings.append(
                Finding("manifest-contradicts", MANIFEST, f"it says {name} {facts[key]!r}, the bundle has {actual!r}")
            )

    facts = manifest.get("tokenizer") if isinstance(manifest.get("tokenizer"), dict) else {}
    if (
        tokenizer is not None
        and "sha256" in facts
        and facts["sha256"] != (digest := hashlib.sha256(tokenizer).hexdigest())
    ):
        findings.append(
            Finding(
                "tokenizer-not-the-built",
                TOKENIZER_ENTRY,
                f"it has SHA-256 {digest}, the {MANIFEST} says {facts['sha256']!r}",
            )
        )
    if tokens is not None:
        hold("start token", manifest, "start_token", tokens.start)
        hold("stop tokens", manifest, "stop_tokens", list(tokens.stops))
    if model is not None:
        shape, rows = model.shape, model.embedding.rows
        hold("prefill lengths", manifest, "prefill", list(shape.prefill))
        context = manifest.get("context")
        if shape.context and not (
            type(context) is int and context > shape.context
        ):  # which has a finding of its own: max-tokens-over-context
            hold("context", manifest, "context", shape.context)
        if rows is not None:
            hold("embedding rows", facts, "rows", rows)
    lora = manifest.get("lora")
    if isinstance(lora, dict) and model is not None:
        hold("LoRA ranks", lora, "ranks", list(model.lora.extra))
        if "tensors" in lora and (wrong := _broken_map(lora, model.shape.layers, model_bytes)):
            findings.append(Finding("manifest-contradicts", MANIFEST, wrong))
    return findings


def _broken_map(lora: dict[str, Any], layers: int, model_bytes: int) -> str:
    """What is wrong with the map of tensors that merging uses."""
    width = lora.get("width")
    if (
        lora.get("layers") != layers
        or type(width) is not int
        or not 0 < width < 1 << 20
        or not isinstance(lora["tensors"], list)
    ):
        return f"its map of tensors is for {lora.get('layers')!r} layers of width {width!r}, the model has {layers}"
    try:
        map_from_json(lora["tensors"], layers, width, model_bytes)
    except (LoraError, KeyError, TypeError, ValueError, OverflowError) as error:
        return f"its map of tensors: {error}"
    return ""


def provenance_of_manifest(manifest: dict[str, Any]) -> dict[str, Any]:
    """Who made the bundle from what, for people and JSON."""
    lora, source = (manifest[name] if isinstance(manifest.get(name), dict) else {} for name in ("lora", "source"))
    merged = lora.get("merged_adapter")
    return {
        "maker": "task-bundler",
        **{name: manifest.get(name) for name in ("name", "recipe", "tools")},
        "source": {name: source.get(name) for name in ("kind", "name", "revision")},
        "base_fingerprint": lora.get("base_fingerprint"),
        "merged_adapter": None if merged == UNMERGED else merged,
    }
