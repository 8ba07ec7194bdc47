"""How far next-token distributions are from a reference's, in the figures of llama.cpp's quantization tables.

The names and definitions are those of llama.cpp's `perplexity --kl-divergence` (tools/perplexity/README.md there);
logarithms are natural.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Iterable, Sequence

import numpy as np

# Positions compared at once: the several arrays in between, float64, have a row of the vocabulary for each.
_SLAB = 32


@dataclass(frozen=True)
class Rows:
    """One number a position each; `loss*` and `moved` are of the token that follows in the text, NaN where none does.

    kl: KL(reference || model), nats. moved: probability of that token, the model's less the reference's.
    """

    kl: np.ndarray
    same_top: np.ndarray
    loss_reference: np.ndarray
    loss: np.ndarray
    moved: np.ndarray
    difference: np.ndarray


@dataclass(frozen=True)
class Divergence:
    """Over all positions. `*_error` is the standard error of the figure before it."""

    tokens: int
    perplexity_reference: float
    perplexity_reference_error: float
    perplexity: float
    perplexity_error: float
    perplexity_delta: float
    perplexity_delta_error: float
    mean_kl: float
    mean_kl_error: float
    kl_999: float  # of 1000 positions 999 have at most this
    largest_kl: float
    rms_delta_p: float
    rms_delta_p_error: float
    same_top: float
    same_top_error: float
    max_logit_difference: float

    def as_dict(self) -> dict:
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"perplexity {self.perplexity:.3f} ± {self.perplexity_error:.3f} for {self.perplexity_reference:.3f} (Δ "
            f"{self.perplexity_delta:+.3f} ± {self.perplexity_delta_error:.3f}); mean KL divergence {self.mean_kl:.2g} "
            f"± {self.mean_kl_error:.1g} nats, 99.9 % {self.kl_999:.2g}; RMS Δp {self.rms_delta_p:.2%} ± "
            f"{self.rms_delta_p_error:.2%}; same top token {self.same_top:.2%} ± {self.same_top_error:.2%}; over "
            f"{self.tokens:,} tokens"
        )


def compare_rows(expected: np.ndarray, found: np.ndarray, following: Sequence[int] = ()) -> Rows:
    """Compare logits [n, vocabulary] of the same positions; `following[i]` is the token after position i, as far as
    known.
    """
    starts = range(0, len(expected), _SLAB)
    return _joined(
        _compare_slab(*(rows[start : start + _SLAB] for rows in (expected, found, following))) for start in starts
    )


def _compare_slab(expected: np.ndarray, found: np.ndarray, following: Sequence[int]) -> Rows:
    p, q = _log_softmax(expected), _log_softmax(found)
    loss_reference, loss, moved = np.full((3, len(p)), np.nan)
    known = np.arange(len(following))
    loss_reference[: len(known)], loss[: len(known)] = -p[known, list(following)], -q[known, list(following)]
    moved[: len(known)] = np.exp(-loss[: len(known)]) - np.exp(-loss_reference[: len(known)])
    return Rows(
        (np.exp(p) * (p - q)).sum(axis=1),
        expected.argmax(1) == found.argmax(1),
        loss_reference,
        loss,
        moved,
        np.abs(expected - found).max(axis=1),
    )


def _joined(parts: Iterable[Rows]) -> Rows:
    parts = list(parts)
    return Rows(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Rows)))


def divergence(parts: Iterable[Rows]) -> Divergence:
    """Summarise. Perplexity and RMS Δp are functions of a mean; their errors follow by the delta method, and that of
    the difference of two perplexities from the differences at each token, because the two rise and fall together."""
    rows = _joined(parts)
    followed = ~np.isnan(rows.loss_reference)
    reference, model, moved = rows.loss_reference[followed], rows.loss[followed], rows.moved[followed]
    perplexity_reference, perplexity = (
        float(np.exp(losses.mean())) if len(losses) else float("nan") for losses in (reference, model)
    )
    rms = float(np.sqrt((moved**2).mean())) if len(moved) else float("nan")
    return Divergence(
        len(rows.kl),
        perplexity_reference,
        perplexity_reference * _error(reference),
        perplexity,
        perplexity * _error(model),
        perplexity - perplexity_reference,
        _error(perplexity * model - perplexity_reference * reference),
        float(rows.kl.mean()),
        _error(rows.kl),
        float(np.quantile(rows.kl, 0.999)),
        float(rows.kl.max()),
        rms,
        _error(moved**2) / (2 * rms) if rms > 0 else 0.0,
        float(rows.same_top.mean()),
        _error(rows.same_top.astype(float)),
        float(rows.difference.max()),
    )


def compare_logits(expected: np.ndarray, found: np.ndarray) -> dict:
    """The figures that need no text: KL divergence, equal top tokens, and the largest logit difference, over rows [n,
    vocabulary].
    """
    rows = compare_rows(expected, found)
    return {
        "mean_kl": float(rows.kl.mean()),
        "largest_kl": float(rows.kl.max()),
        "same_top": float(rows.same_top.mean()),
        "max_logit_difference": float(rows.difference.max()),
    }


def _error(values: np.ndarray) -> float:
    """Standard error of the mean."""
    return float(values.std() / np.sqrt(len(values))) if len(values) else float("nan")


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
