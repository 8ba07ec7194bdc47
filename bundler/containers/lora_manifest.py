"""What a finished .task says about LoRA, read from its manifest; lora_facts.py writes it. Without PyTorch, for
speed.
"""

from __future__ import annotations

from bundler.containers.bundle import Bundle
from bundler.errors import BundleError
from lora_weights.adapter import Base

FORMAT = 1
# The SHA-256 of the adapter file that was merged into the bundle; zeros: none. Of fixed length, so that merging can
# write it into a finished file without moving a byte.
UNMERGED = "0" * 64


def base_of_bundle(bundle: Bundle) -> Base:
    """The same from a finished .task. Raises BundleError if its manifest does not say."""
    facts = _facts(bundle)
    try:
        return Base(facts["layers"], facts["width"], tuple(facts["query_scale"]), facts["base_fingerprint"])
    except (KeyError, TypeError) as error:
        raise BundleError(
            f"{bundle.path}: its manifest says nothing usable about LoRA ({error}); build the bundle again"
        ) from error


def ranks_of(bundle: Bundle) -> tuple[int, ...]:
    """The ranks its .task has signatures for. Raises BundleError if its manifest does not say."""
    ranks = _facts(bundle).get("ranks")
    if not isinstance(ranks, list) or not all(type(rank) is int for rank in ranks):
        raise BundleError(
            f"{bundle.path}: its manifest says ranks {ranks!r}; expected a list of numbers; build the bundle again"
        )
    return tuple(ranks)


def tensors_of(bundle: Bundle) -> list[dict]:
    """The manifest's map of tensors. Raises BundleError if there is none, or an adapter was merged already."""
    facts = _facts(bundle)
    if facts.get("merged_adapter") != UNMERGED:
        raise BundleError(
            f"{bundle.path}: adapter {str(facts.get('merged_adapter'))[:16]}… is merged into it already, and roundings "
            "would add up; give the bundle it was merged into"
        )
    if "tensors" not in facts:
        raise BundleError(
            f"{bundle.path}: nothing can be merged into it: "
            f"{facts.get('unmergeable', 'its manifest has no map of tensors')}"
        )
    return facts["tensors"]


def _facts(bundle: Bundle) -> dict:
    if bundle.tokenizer_json is not None:
        raise BundleError(
            f"{bundle.path} is a .litertlm, which has no manifest; adapters are exported by the .task beside it, and "
            "merged into a .task, which LiteRT-LM opens too"
        )
    facts = bundle.manifest.get("lora")
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise BundleError(
            f"{bundle.path}: no manifest that speaks of LoRA in format {FORMAT}; expected a .task that this release of "
            "`task-bundler build` wrote; build the bundle again"
        )
    return facts
