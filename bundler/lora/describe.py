"""What is in an adapter, for people."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bundler.tflite.adapter_file import read_adapter_file
from lora_weights.adapter import PROJECTIONS, tensor_name
from lora_weights.peft_adapter import read_peft


def describe_adapter(path: Path) -> dict:
    """Name, shape, rank, alpha, licence and base of an adapter file or a PEFT folder, and `delta_norms` by layer.

    A norm is Frobenius' of alpha / rank * A * B, so a folder and the file made of it have the same ones. Raises
    LoraError.
    """
    if path.is_dir():
        adapter = read_peft(path)
        pairs = {place: (pair.a, pair.b) for place, pair in adapter.pairs.items()}
        facts = {
            "name": adapter.name,
            "kind": "PEFT folder",
            "layers": adapter.layers,
            "width": adapter.width,
            "rank": adapter.rank,
            "alpha": adapter.alpha,
            "licence": adapter.licence,
            "base_fingerprint": adapter.base_fingerprint,
        }
    else:
        file = read_adapter_file(path)
        header = file.header
        pairs = {
            (layer, projection): tuple(file.tensors[tensor_name(projection, factor, layer)] for factor in "ab")
            for layer in range(header.layers)
            for projection in PROJECTIONS
        }
        for layer, scale in enumerate(header.query_scale):  # of the attention scores, inside q's b
            a, b = pairs[layer, "q"]
            pairs[layer, "q"] = a, b / np.float32(scale or 1)
        facts = {
            "name": header.name,
            "kind": "adapter file",
            "layers": header.layers,
            "width": header.width,
            "rank": header.rank,
            "alpha": header.alpha,
            "licence": header.licence,
            "base_fingerprint": header.base_fingerprint,
        }
    norms = [
        {
            projection: _norm(*pairs[layer, projection]) if (layer, projection) in pairs else 0.0
            for projection in PROJECTIONS
        }
        for layer in range(facts["layers"])
    ]
    return {**facts, "delta_norms": norms}


def _norm(a: np.ndarray, b: np.ndarray) -> float:
    """Of a @ b, by way of small matrices."""
    return float(np.sqrt(max(0.0, np.sum((a.T.astype(np.float64) @ a) * (b.astype(np.float64) @ b.T)))))
