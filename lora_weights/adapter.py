"""An adapter in memory: two thin matrices for each attention projection it changes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from lora_weights.errors import LoraError

# The matrices that the runtimes' contract can carry, in the order of the adapter file.
PROJECTIONS = ("q", "k", "v", "o")
# Those of the MLP, which only a merge can take; their names in a bundle are the checkpoint's.
MLP = ("c_fc", "c_proj")
# LiteRT-LM 0.18.1 takes an adapter of one of these ranks only; a smaller one is padded with zeros, which is exact.
LITERTLM_RANKS = (16, 32)


@dataclass(frozen=True)
class Base:
    """What an adapter has to fit: the base model's shape, and the `fingerprint` of its weights (None: not known).

    `query_scale`: per layer, the factor that bundles have on q's weights, and so on q's delta.
    """

    layers: int
    width: int
    query_scale: tuple[float, ...]
    fingerprint: str | None = None


@dataclass(frozen=True)
class LowRank:
    """delta = x @ a @ b, float32: a [in, rank] with alpha / rank folded in, b [rank, out]. For attention both are the
    width.
    """

    a: np.ndarray
    b: np.ndarray

    @property
    def rank(self) -> int:
        return self.a.shape[1]


@dataclass(frozen=True)
class Adapter:
    """The pairs of the projections it changes, by (layer, projection), in the terms of the checkpoint; of those of the
    MLP too, if it was read for merging.

    `layers` is how many the base has to have. `alpha` and `licence` are what its source says, for the record.
    """

    name: str
    layers: int
    width: int
    pairs: dict[tuple[int, str], LowRank]
    alpha: float | None = None
    licence: str | None = None
    base_fingerprint: str | None = None

    @property
    def rank(self) -> int:
        return max(pair.rank for pair in self.pairs.values())

    def part(self, projections: tuple[str, ...]) -> Adapter:
        """The adapter of these projections alone."""
        return replace(self, pairs={place: pair for place, pair in self.pairs.items() if place[1] in projections})


def tensor_name(projection: str, factor: str, layer: int) -> str:
    """The name of a LoRA tensor, as both runtimes look for it; `factor` is a or b."""
    return f"lora_atten_{projection}_{factor}_prime_weight_{layer}"


def tensor_names(layers: int) -> list[str]:
    """The name of every tensor of an adapter file, in its order."""
    return [
        tensor_name(projection, factor, layer)
        for layer in range(layers)
        for projection in PROJECTIONS
        for factor in "ab"
    ]


def tensor_shapes(layers: int, width: int, rank: int) -> dict[str, tuple[int, int]]:
    """Every tensor of an adapter file, in its order."""
    names = tensor_names(layers)  # a and b in turns
    return dict(zip(names, [(width, rank), (rank, width)] * (len(names) // 2)))


def check_base(name: str, layers: int, width: int, fingerprint: str | None, base: Base) -> None:
    """Raise LoraError unless an adapter for a model of this shape and fingerprint fits `base`."""
    for what, own, expected in (("width", width, base.width), ("layers", layers, base.layers)):
        if own != expected:
            raise LoraError(
                f"adapter {name} is for a model with {what} {own}, this one has {expected}; "
                "give the model it was trained on"
            )
    if None not in (fingerprint, base.fingerprint) and fingerprint != base.fingerprint:
        raise LoraError(
            f"adapter {name} was trained on a base with fingerprint {fingerprint[:16]}…, this one's is "
            f"{base.fingerprint[:16]}…: same shape, other weights. Give the model it was trained on"
        )


def bundle_tensors(adapter: Adapter, base: Base, rank: int) -> dict[str, np.ndarray]:
    """The tensors of the adapter file, all of `base`'s layers and projections, in the terms of a bundle.

    Pairs of a lower rank are padded with zeros, projections without a pair are zeros, and q's b is multiplied by
    the layer's query scale (in float64, rounded once). Raises LoraError if the adapter does not fit.
    """
    check_base(adapter.name, adapter.layers, adapter.width, adapter.base_fingerprint, base)
    tensors = {
        name: np.zeros(shape, np.float32) for name, shape in tensor_shapes(base.layers, base.width, rank).items()
    }
    for (layer, projection), pair in adapter.pairs.items():
        if pair.rank > rank:
            raise LoraError(
                f"adapter {adapter.name} has rank {pair.rank} in layer {layer}, more than the {rank} asked for; "
                f"ask for a rank of {pair.rank} or more, or train one of a lower rank"
            )
        scale = base.query_scale[layer] if projection == "q" else 1.0
        tensors[tensor_name(projection, "a", layer)][:, : pair.rank] = pair.a
        tensors[tensor_name(projection, "b", layer)][: pair.rank] = (pair.b.astype(np.float64) * scale).astype(
            np.float32
        )
    return tensors


def check_finite(name: str, tensor: np.ndarray, where: str) -> None:
    """Raise LoraError if a tensor holds NaN or infinite values: one of them poisons the engine's cache for good."""
    if wrong := int((~np.isfinite(tensor)).sum()):
        raise LoraError(
            f"{where}: {name} has {wrong} NaN or infinite values out of {tensor.size}: training diverged or the file "
            "is damaged; give an earlier state of the adapter"
        )
