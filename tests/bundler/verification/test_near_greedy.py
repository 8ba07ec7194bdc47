"""Texts followed through a reference whose logits are known."""

import gc
import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundler.verification.near_greedy import common_prefix, find_path

TOKENS = ["a", "b", "ab", "\ufffd", "c", "<stop>"]
STOP = frozenset({5})


def decode(ids):
    return "".join(TOKENS[id_] for id_ in ids)


def logits_after(table):
    """Logits by how many tokens are written, from a table of {token: logit}."""
    return lambda written: np.array([table[len(written)].get(token, -9.0) for token in TOKENS], np.float32)


def test_the_greedy_text_has_no_gap():
    path = find_path("ab", logits_after([{"a": 1.0}, {"b": 1.0}]), decode, 0.01, 2, STOP)
    assert path.ids == (0, 1) and path.largest_gap == 0


def test_the_reference_is_let_go_with_the_search():
    """Its cache takes a tenth of a gigabyte, and would be there until Python collects cycles."""
    next_logits = logits_after([{"a": 1.0}, {"b": 1.0}])
    alive = weakref.ref(next_logits)
    gc.disable()
    try:
        assert find_path("ab", next_logits, decode, 0.01, 2, STOP)
        del next_logits
        assert alive() is None
    finally:
        gc.enable()


def test_a_near_tie_passes_and_its_gap_is_told():
    path = find_path("cb", logits_after([{"a": 1.0, "c": 0.995}, {"b": 1.0}]), decode, 0.01, 2, STOP)
    assert path.ids == (4, 1) and path.largest_gap == pytest.approx(0.005, abs=1e-6)


def test_a_token_out_of_reach_fails():
    assert find_path("cb", logits_after([{"a": 1.0, "c": 0.9}, {"b": 1.0}]), decode, 0.01, 2, STOP) is None


def test_another_way_to_spell_the_same_text_is_found():
    # "a" is as good as "ab" at first, but leads nowhere.
    path = find_path("abc", logits_after([{"a": 1.0, "ab": 1.0}, {"c": 1.0}]), decode, 0.01, 2, STOP)
    assert path.ids == (2, 4)


def test_a_short_text_must_end_at_a_stop_token():
    table = [{"a": 1.0}, {"<stop>": 1.0, "b": 0.999}]
    assert find_path("a", logits_after(table), decode, 0.01, 2, STOP).ids == (0,)
    assert find_path("a", logits_after([{"a": 1.0}, {"b": 1.0}]), decode, 0.01, 2, STOP) is None


def test_runs_of_replacement_characters_count_as_one():
    table = [{"\ufffd": 1.0}, {"\ufffd": 1.0}, {"a": 1.0}]
    assert find_path("\ufffda", logits_after(table), decode, 0.01, 3, STOP) is not None


def test_a_search_without_end_is_given_up():
    calls = []

    def logits(written):
        calls.append(written)
        return np.zeros(len(TOKENS), np.float32)

    assert find_path("ab" * 20 + "z", logits, decode, 1, 30, STOP) is None  # 2**20 ways, none to the end
    assert len(calls) <= 16 * 30


@given(st.lists(st.integers(0, 4), min_size=1, max_size=4), st.integers(0, 2**32 - 1))
def test_every_text_passes_with_unlimited_slack_and_only_the_greedy_one_with_none(ids, seed):
    table = np.random.default_rng(seed).normal(size=(len(ids), len(TOKENS))).astype(np.float32)
    table[:, 5] = -100

    def logits(written):
        return table[len(written)]

    assert find_path(decode(ids), logits, decode, 50, len(ids), STOP) is not None
    greedy = table.argmax(1).tolist()
    assert find_path(decode(greedy), logits, decode, 0, len(ids), STOP).ids == tuple(greedy)


@pytest.mark.parametrize(
    "first, second, length", [([], [], 0), ([1], [1], 1), ([1, 2], [1, 3], 1), ([1, 2, 3], [1, 2], 2)]
)
def test_common_prefix(first, second, length):
    assert common_prefix(first, second) == length
