"""Several adapters, each with a weight, as one: their deltas are added.

A sum of low-rank matrices is a low-rank matrix: the factors are put side by side, and the rank is the sum of the ranks.
A lower rank is the best approximation of that rank (Eckart and Young), by SVD.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Sequence

import numpy as np

from lora_weights.adapter import PROJECTIONS, Adapter, LowRank, check_finite, tensor_name
from lora_weights.adapter_file import AdapterFile
from lora_weights.errors import LoraError
from tokenizer_tools.errors import brief


@dataclass(frozen=True)
class Combined:
    """`adapter`: the weighted sum. `error`: what a lower rank leaves out of it, as Frobenius' norm over that of all
    deltas; 0 if nothing was cut.
    """

    adapter: Adapter
    error: float = 0.0


def combine(adapters: Sequence[Adapter], scales: Sequence[float], rank: int | None = None) -> Combined:
    """The sum of `adapters`, each times its scale, at most of `rank`; None: of whatever rank the sum has.

    Raises LoraError if they are not of one model, or if a scaled value is not finite.
    """
    first = adapters[0]
    if len(adapters) == 1 and scales[0] == 1 and (rank is None or first.rank <= rank):
        return Combined(first)
    for adapter in adapters[1:]:
        _check_same_model(first, adapter)
    pairs = {}
    for place in sorted({place for adapter in adapters for place in adapter.pairs}):
        factors = [_scaled(adapter, place, scale) for adapter, scale in zip(adapters, scales) if place in adapter.pairs]
        pairs[place] = LowRank(
            np.concatenate([pair.a for pair in factors], axis=1), np.concatenate([pair.b for pair in factors])
        )
    alpha = first.alpha * scales[0] if len(adapters) == 1 and first.alpha is not None else None
    total = replace(
        first,
        name="+".join(
            f"{scale:g}*{adapter.name}" if scale != 1 else adapter.name for adapter, scale in zip(adapters, scales)
        ),
        pairs=pairs,
        alpha=alpha,
        licence=first.licence if all(adapter.licence == first.licence for adapter in adapters) else None,
        base_fingerprint=next((adapter.base_fingerprint for adapter in adapters if adapter.base_fingerprint), None),
    )
    return Combined(total) if rank is None or total.rank <= rank else _cut(total, rank)


def adapter_of(file: AdapterFile) -> Adapter:
    """An adapter file's content in the terms of the checkpoint, without the zeros that fill up its rank."""
    header, pairs = file.header, {}
    for layer in range(header.layers):
        for projection in PROJECTIONS:
            a, b = (file.tensors[tensor_name(projection, factor, layer)] for factor in "ab")
            used = a.any(axis=0) & b.any(axis=1)
            if not used.any():
                continue
            scale = header.query_scale[layer] if projection == "q" else 1.0
            unscaled = (b[used].astype(np.float64) / scale).astype(np.float32)
            pairs[layer, projection] = LowRank(np.ascontiguousarray(a[:, used]), unscaled)
    if not pairs:
        raise LoraError(f"adapter {header.name} is one of zeros, which changes nothing; give others")
    return Adapter(
        header.name, header.layers, header.width, pairs, header.alpha, header.licence, header.base_fingerprint
    )


def _check_same_model(first: Adapter, adapter: Adapter) -> None:
    for what in ("width", "layers", "base_fingerprint"):
        values = getattr(first, what), getattr(adapter, what)
        if None not in values and values[0] != values[1]:
            raise LoraError(
                f"adapters {first.name} and {adapter.name} are for models with {what} {brief(values[0])} and "
                f"{brief(values[1])}; adapters of one model were expected"
            )


def _scaled(adapter: Adapter, place: tuple[int, str], scale: float) -> LowRank:
    pair = adapter.pairs[place]
    if scale == 1:
        return pair
    with np.errstate(over="ignore"):
        a = (pair.a.astype(np.float64) * scale).astype(np.float32)
    check_finite(f"a of layer {place[0]}, {place[1]}, times {scale:g}", a, f"adapter {adapter.name}")
    return replace(pair, a=a)


def _cut(adapter: Adapter, rank: int) -> Combined:
    """The adapter of at most `rank` whose deltas are nearest to those of `adapter`, in float64."""
    pairs, lost, whole = {}, 0.0, 0.0
    for place, pair in adapter.pairs.items():
        if pair.rank <= rank:
            pairs[place] = pair
            whole += float(np.sum((pair.a.astype(np.float64).T @ pair.a) * (pair.b.astype(np.float64) @ pair.b.T)))
            continue
        # Of a @ b by way of small matrices: a = P R, b^T = Q S, so a @ b = P (R S^T) Q^T.
        (p, r), (q, s) = np.linalg.qr(pair.a.astype(np.float64)), np.linalg.qr(pair.b.T.astype(np.float64))
        u, values, vt = np.linalg.svd(r @ s.T)
        roots = np.sqrt(values[:rank])
        pairs[place] = LowRank(
            np.ascontiguousarray(p @ (u[:, :rank] * roots), np.float32),
            np.ascontiguousarray((roots[:, None] * vt[:rank]) @ q.T, np.float32),
        )
        lost += float(np.sum(values[rank:] ** 2))
        whole += float(np.sum(values**2))
    return Combined(replace(adapter, pairs=pairs), float(np.sqrt(lost / whole)) if whole else 0.0)
