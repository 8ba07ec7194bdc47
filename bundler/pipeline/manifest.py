"""What a build says about itself: manifest.json, the bundle's own MANIFEST entry, and README.md, the model card."""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Sequence

from bundler.containers.bundle import FORMAT
from bundler.containers.llm_metadata import Sampler
from bundler.pipeline.model_card import FILE, model_card
from tokenizer_tools.printable import printable
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
    """Write manifest.json and the model card."""
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / FILE).write_text(model_card(name, manifest), encoding="utf-8")


def _rounded(value: Any) -> Any:
    """Figures to three digits: what is beyond is noise of the machine that measured."""
    if isinstance(value, float):
        return float(f"{value:.3g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return value
