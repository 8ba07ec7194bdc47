"""The figures of quantization tables, against torch and against their definitions."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bundler.verification.divergence import compare_logits, compare_rows, divergence


def random_logits(seed, noise, rows=40, vocabulary=11):
    generator = np.random.default_rng(seed)
    expected = generator.normal(size=(rows, vocabulary)).astype(np.float32) * 3
    return (
        expected,
        expected + generator.normal(size=expected.shape).astype(np.float32) * noise,
        generator.integers(0, vocabulary, rows - 1),
    )


@given(st.integers(0, 2**32 - 1), st.floats(0.01, 10))
def test_the_figures_agree_with_torch(seed, noise):
    expected, measured, following = random_logits(seed, noise)
    figures = divergence([compare_rows(expected, measured, following)])
    p, q = (torch.tensor(logits).double().log_softmax(1) for logits in (expected, measured))
    kl = torch.nn.functional.kl_div(q, p, log_target=True, reduction="none").sum(1)
    targets = torch.tensor(following)
    assert figures.mean_kl == pytest.approx(kl.mean().item(), rel=1e-6, abs=1e-9)
    assert figures.largest_kl == pytest.approx(kl.max().item(), rel=1e-6, abs=1e-9)
    assert figures.kl_999 == pytest.approx(torch.quantile(kl, 0.999).item(), rel=1e-6, abs=1e-9)
    assert figures.perplexity_reference == pytest.approx(torch.nn.functional.nll_loss(p[:-1], targets).exp().item())
    assert figures.perplexity == pytest.approx(torch.nn.functional.nll_loss(q[:-1], targets).exp().item())
    moved = (q.exp() - p.exp())[:-1].gather(1, targets[:, None])
    assert figures.rms_delta_p == pytest.approx(moved.square().mean().sqrt().item(), rel=1e-6)
    assert figures.same_top == pytest.approx((p.argmax(1) == q.argmax(1)).double().mean().item())


def test_errors_are_those_of_repeated_sampling():
    """Each standard error against the spread of its figure over many texts of the same kind."""
    runs = [divergence([compare_rows(*random_logits(seed, 0.5, rows=400))]) for seed in range(200)]
    for name in ("perplexity", "perplexity_reference", "perplexity_delta", "mean_kl", "rms_delta_p", "same_top"):
        spread = np.std([getattr(run, name) for run in runs])
        claimed = np.median([getattr(run, f"{name}_error") for run in runs])
        assert claimed == pytest.approx(spread, rel=0.25), name


def test_parts_of_a_text_make_the_whole():
    expected, measured, following = random_logits(3, 0.2)
    whole = divergence([compare_rows(expected[:-1], measured[:-1], following)])
    parts = divergence(
        [
            compare_rows(expected[:9], measured[:9], following[:9]),
            compare_rows(expected[9:-1], measured[9:-1], following[9:]),
        ]
    )
    assert parts.as_dict() == pytest.approx(whole.as_dict())


def test_the_last_token_has_none_after_it():
    expected, measured, following = random_logits(4, 0.2)
    assert divergence([compare_rows(expected, measured, following)]).tokens == 40
    assert divergence([compare_rows(expected[:1], measured[:1])]).tokens == 1


def test_a_shift_of_all_logits_changes_nothing():
    expected, _, _ = random_logits(5, 0)
    assert compare_logits(expected, expected + 5) == pytest.approx(
        {"mean_kl": 0, "largest_kl": 0, "same_top": 1, "max_logit_difference": 5}, abs=1e-5
    )


def test_no_number_is_no_agreement():
    expected, measured, following = random_logits(6, 0)
    measured[3] = np.nan
    assert not divergence([compare_rows(expected, measured, following)]).mean_kl <= 1e9
