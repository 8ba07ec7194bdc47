"""Which recipe each part of a model gets, so that the whole stays under a limit."""

from __future__ import annotations

from typing import Mapping, NamedTuple, Sequence

import numpy as np


class Option(NamedTuple):
    """A part of the model in `recipe`: its bytes, and the divergence that it brings by itself, a KL in nats."""

    recipe: str
    bytes: int
    kl: float


class _Frontier(NamedTuple):
    """All mixes of some parts than which no other is both smaller and closer: `bytes` ascending, `kl` descending.

    `option`: what the last part takes; `before`: the entry for the other parts in the frontier without it.
    """

    bytes: np.ndarray
    kl: np.ndarray
    option: np.ndarray
    before: np.ndarray


def smallest_mix(parts: Mapping[str, Sequence[Option]], kl: float) -> dict[str, Option] | None:
    """The smallest mix whose divergences add up to at most `kl`; None if there is none."""
    frontiers = _frontiers(parts)
    fitting = np.flatnonzero(frontiers[-1].kl <= kl)
    return _trace(parts, frontiers, fitting[0]) if len(fitting) else None


def closest_mix(parts: Mapping[str, Sequence[Option]], size: int) -> dict[str, Option] | None:
    """The mix of at most `size` bytes whose divergences add up to the least; None if there is none."""
    frontiers = _frontiers(parts)
    fitting = np.flatnonzero(frontiers[-1].bytes <= size)
    return _trace(parts, frontiers, fitting[-1]) if len(fitting) else None


def _frontiers(parts: Mapping[str, Sequence[Option]]) -> list[_Frontier]:
    """The frontier of no part, of the first, of the first two, and so on."""
    nothing = np.zeros(1, np.int64)
    frontiers = [_Frontier(nothing, np.zeros(1), nothing, nothing)]
    for options in parts.values():
        last = frontiers[-1]
        size = np.concatenate([last.bytes + option.bytes for option in options])
        kl = np.concatenate([last.kl + option.kl for option in options])
        order = np.lexsort((kl, size))
        closer = np.minimum.accumulate(kl[order])
        order = order[np.concatenate(([True], closer[1:] < closer[:-1]))]
        frontiers.append(_Frontier(size[order], kl[order], *np.divmod(order, len(last.bytes))))
    return frontiers


def _trace(parts: Mapping[str, Sequence[Option]], frontiers: Sequence[_Frontier], entry: int) -> dict[str, Option]:
    chosen = {}
    for (name, options), frontier in zip(reversed(parts.items()), reversed(frontiers)):
        chosen[name] = options[frontier.option[entry]]
        entry = frontier.before[entry]
    return dict(reversed(chosen.items()))
