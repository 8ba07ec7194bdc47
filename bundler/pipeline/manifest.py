"""What a build says about itself: manifest.json, the bundle's own MANIFEST entry, MODEL_CARD.md."""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Sequence

from bundler.containers.bundle import FORMAT
from bundler.containers.llm_metadata import Sampler
from tokenizer_tools.printable import markdown, printable
from tokenizer_tools.symbols import MODE_LETTERS

if TYPE_CHECKING:
    from bundler.conversion.gpt2 import TokenRows
    from bundler.pipeline.plan import Plan
    from bundler.verification.gate import Gate
    from tokenizer_tools.sentencepiece_model import SentencePieceModel

# The packages that decide the bytes of a bundle.
TOOLS = (
    "task-bundler",
    "torch",
    "jax",
    "jaxlib",
    "litert-torch",
    "litert-converter",
    "ai-edge-quantizer",
    "ai-edge-litert",
    "numpy",
    "flatbuffers",
    "litert-lm-builder",
    "protobuf",
    "sentencepiece",
    "tokenizers",
)


def bundle_manifest(plan: Plan, recipe: str, pieces: SentencePieceModel, rows: TokenRows) -> dict:
    """What decided the bundle's bytes, and the alias table. No time, no path: the same inputs give the same
    manifest.
    """
    source, architecture = plan.checkpoint.source, plan.checkpoint.architecture
    return {
        "format": FORMAT,
        "name": plan.name,
        "source": {
            "kind": source.kind,
            "name": printable(source.name),
            "revision": source.revision,
            "files": source.hashes(),
        },
        "architecture": {
            "layers": architecture.layers,
            "heads": architecture.heads,
            "width": architecture.width,
            "inner": architecture.inner,
            "positions": architecture.positions,
            "vocabulary": architecture.vocabulary,
            "tied_head": architecture.tied_head,
            "activation": architecture.activation,
        },
        "recipe": recipe,
        "context": plan.signatures.context,
        "prefill": list(plan.signatures.prefill),
        "start_token": plan.start_token,
        "stop_tokens": list(plan.stop_tokens),
        "sampler": sampler_facts(Sampler()),
        "notes": list(plan.notes),
        "tokenizer": {
            "mode": next(letter for letter, mode in MODE_LETTERS.items() if mode == pieces.mode),
            "parse_special": plan.vocabulary.parse_special,
            "vocabulary": len(plan.vocabulary),
            "rows": rows.count,
            "sha256": hashlib.sha256(pieces.proto).hexdigest(),
            "alias_of": list(pieces.alias_of),
        },
        "tools": {name: version(name) for name in TOOLS},
    }


def sampler_facts(sampler: Sampler) -> dict[str, float]:
    """A sampler in the words of every engine. A .litertlm carries it; users of a .task have to set it themselves."""
    return {"temperature": sampler.temperature, "top_k": sampler.top_k, "top_p": sampler.top_p}


def folder_manifest(bundle: dict, sizes: dict[str, int], gates: Sequence[Gate], verified: bool) -> dict:
    """The bundle's manifest, the sizes in bytes, and the verification's results."""
    return {
        **bundle,
        "bytes": sizes,
        "verified": verified,
        "verification": [
            _rounded(
                {
                    "name": gate.name,
                    "passed": gate.passed,
                    "skipped": gate.skipped,
                    "found": gate.found,
                    "figures": gate.figures,
                }
            )
            for gate in gates
        ],
    }


def write_documents(folder: Path, name: str, manifest: dict) -> None:
    """Write manifest.json and MODEL_CARD.md."""
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / "MODEL_CARD.md").write_text(_model_card(name, manifest), encoding="utf-8")


def _rounded(value: Any) -> Any:
    """Figures to three digits: what is beyond is noise of the machine that measured."""
    if isinstance(value, float):
        return float(f"{value:.3g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return value


def _weights(manifest: dict) -> str:
    """The recipe, and what a mix is made of."""
    if "mix" not in manifest:
        return manifest["recipe"]
    parts = ", ".join(f"{count} in {recipe}" for recipe, count in manifest["mix"]["recipes"].items())
    return f"{manifest['recipe']}: of the parts of layers {parts}"


def _model_card(name: str, manifest: dict) -> str:
    source, architecture = manifest["source"], manifest["architecture"]
    revision = f" at revision {markdown(source['revision'])}" if source["revision"] else ""
    name = markdown(name)
    made_from = f"{markdown(source['name'])}{revision}"
    sampler = ", ".join(f"{name.replace('_', '-')} {value:g}" for name, value in manifest["sampler"].items())
    typed = "these tokens, as in transformers" if manifest["tokenizer"]["parse_special"] else "text"
    checks = "\n".join(
        f"| {markdown(gate['name'])} | {'skipped' if gate['skipped'] else 'passed'} | {markdown(gate['found'])} |"
        for gate in manifest["verification"]
    )
    return f"""# {name}

A GPT-2 of {architecture["layers"]} layers, width {architecture["width"]}, for on-device use, made from {made_from}.

| | |
|---|---|
| weights | {_weights(manifest)} |
| context | {manifest["context"]} tokens, prefill in chunks of {" or ".join(map(str, manifest["prefill"]))} |
| start token | {markdown(manifest["start_token"])} |
| stop tokens | {", ".join(map(markdown, manifest["stop_tokens"]))} |
| default sampler | {sampler}; the .litertlm carries it, with the .task set it yourself |
| special tokens in a prompt | {typed} |
| tokenizer | {manifest["tokenizer"]["vocabulary"]} tokens, {len(manifest["tokenizer"]["alias_of"])} alias rows |
| {name}.task | {manifest["bytes"]["task"]:,} bytes, for MediaPipe's LLM Inference API |
| {name}.litertlm | {manifest["bytes"]["litertlm"]:,} bytes, for LiteRT-LM |

It completes text; it does not chat. The licence and the limits of the original checkpoint apply to it.

## Verification against the original checkpoint

| check | result | found |
|---|---|---|
{checks}
"""
