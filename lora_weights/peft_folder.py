"""An adapter in memory -> a PEFT folder that computes the same, without PyTorch and PEFT.

PEFT has one A for GPT-2's fused c_attn. Where q, k and v have an A of their own, the three stand in one of three times
the rank, and B has zeros where one is not for the other.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Mapping

import numpy as np

from lora_weights.adapter import Adapter, LowRank
from lora_weights.peft_adapter import RECORD, SAFETENSORS
from lora_weights.peft_config import ATTENTION, CONFIG

_MODULES = dict(zip(ATTENTION, ("qkv", "o")))


def write_peft(adapter: Adapter, folder: Path) -> None:
    """Write adapter_config.json, adapter_model.safetensors and the base's fingerprint to `folder`."""
    tensors, ranks = {}, {}
    for layer in range(adapter.layers):
        for module, projections in _MODULES.items():
            pairs = [adapter.pairs.get((layer, projection)) for projection in projections]
            if not any(pairs):
                continue
            name = f"transformer.h.{layer}.{module}"
            a, b = _fused(pairs, adapter.width)
            ranks[name] = len(a)
            tensors |= {f"base_model.model.{name}.lora_A.weight": a, f"base_model.model.{name}.lora_B.weight": b}
    rank = max(ranks.values())
    config = {
        "r": rank,
        "lora_alpha": rank,  # alpha / rank is inside A
        "rank_pattern": ranks,
        "alpha_pattern": ranks,
        "target_modules": [*ranks],
    }
    _save(folder, config, tensors)
    if adapter.base_fingerprint:
        (folder / RECORD).write_text(json.dumps({"base_fingerprint": adapter.base_fingerprint}) + "\n")
    if adapter.licence and re.fullmatch(r"\S{1,100}", adapter.licence):
        (folder / "README.md").write_text(f"---\nlicense: {adapter.licence}\n---\n", encoding="utf-8")


def write_peft_tensors(
    folder: Path, tensors: Mapping[str, np.ndarray], rank: int, alpha: float, base: str = "", rslora: bool = False
) -> None:
    """Write `tensors`, float32 by PEFT's names, as an adapter of both attention modules in all layers."""
    named = {"base_model_name_or_path": base} if base else {}
    modules = {"r": rank, "lora_alpha": alpha, "use_rslora": rslora, "target_modules": list(ATTENTION)}
    _save(folder, {**named, **modules}, tensors)


def _save(folder: Path, config: dict[str, Any], tensors: Mapping[str, np.ndarray]) -> None:
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    kind = {"peft_type": "LORA", "task_type": "CAUSAL_LM"}
    fixed = {"fan_in_fan_out": True, "bias": "none", "inference_mode": True}
    (folder / CONFIG).write_text(json.dumps({**kind, **config, **fixed}, indent=1) + "\n")
    # safetensors writes the memory of an array, whatever its order
    stored = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    save_file(stored, folder / SAFETENSORS, {"format": "pt"})


def _fused(pairs: list[LowRank | None], width: int) -> tuple[np.ndarray, np.ndarray]:
    """A [rank, width] and B [projections * width, rank] of one module, of the pairs of its projections."""
    present = [pair for pair in pairs if pair]
    if all(np.array_equal(pair.a, present[0].a) for pair in present):
        blocks = [pair.b.T if pair else np.zeros((width, present[0].rank), np.float32) for pair in pairs]
        return present[0].a.T, np.concatenate(blocks)
    b = np.zeros((len(pairs) * width, sum(pair.rank for pair in present)), np.float32)
    at = 0
    for index, pair in enumerate(pairs):
        if pair:
            b[index * width : (index + 1) * width, at : at + pair.rank] = pair.b.T
            at += pair.rank
    return np.concatenate([pair.a.T for pair in present]), b
