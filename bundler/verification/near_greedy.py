"""Is a text that an engine wrote the greedy one, up to ties?

An engine returns text, not logits. Where two tokens are nearly equally likely, a rounding decides
between them, and everything after differs: comparing texts says nothing there. So the text is
followed token by token through the reference: it passes if at every step the reference's own logit
of the token written is within `slack` of its best.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Callable, Sequence

import numpy as np

REPLACEMENT = "\ufffd"


@dataclass(frozen=True)
class Path:
    """The tokens that spell a text, and the largest distance of one of their logits from the best."""

    ids: tuple[int, ...]
    largest_gap: float


def find_path(
    text: str,
    next_logits: Callable[[list[int]], np.ndarray],
    decode: Callable[[list[int]], str],
    slack: float,
    count: int,
    stop: frozenset[int],
) -> Path | None:
    """The most likely way to have written `text` with at most `slack` lost at any step, or None.

    `next_logits` gives the reference's logits after the tokens written so far; `count` is how many tokens
    the engine was asked for: a shorter text must end where a token of `stop` was within reach.
    The search gives up after 16 * count steps: nearly greedy texts of tiny models with random weights, whose logits lie
    close together, took 4 * count at most.
    Bytes that are no UTF-8 are compared as one replacement character a run, because decoders write
    different numbers of them.
    """
    return _Search(_comparable(text), next_logits, decode, slack, count, stop, steps_left=16 * count).follow([], 0.0)


# No closure that calls itself: such a cycle would keep `next_logits`, and a cache with it, until it is collected.
@dataclass
class _Search:
    """A search of `find_path`, whose parameters these are; `goal` is the text."""

    goal: str
    next_logits: Callable[[list[int]], np.ndarray]
    decode: Callable[[list[int]], str]
    slack: float
    count: int
    stop: frozenset[int]
    steps_left: int

    def follow(self, ids: list[int], gap: float) -> Path | None:
        """The rest of the path after the tokens `ids`, which have lost `gap` at most."""
        written = _comparable(self.decode(ids))
        if len(ids) == self.count:
            return Path(tuple(ids), gap) if written == self.goal else None
        self.steps_left -= 1
        logits = self.next_logits(ids)
        best = float(logits.max())
        reachable = np.flatnonzero(logits >= best - self.slack)
        for token in reachable[np.argsort(-logits[reachable], kind="stable")].tolist():
            if self.steps_left <= 0:
                break
            lost = max(gap, best - float(logits[token]))
            if token in self.stop:
                if written == self.goal:
                    return Path(tuple(ids), lost)
                continue
            # An incomplete character at the end decodes to replacements that later bytes may mend.
            if self.goal.startswith(_comparable(self.decode([*ids, token])).rstrip(REPLACEMENT)):
                if path := self.follow([*ids, token], lost):
                    return path
        return None


def common_prefix(first: Sequence, second: Sequence) -> int:
    """How many leading items two sequences share."""
    return next((i for i, (a, b) in enumerate(zip(first, second)) if a != b), min(len(first), len(second)))


def _comparable(text: str) -> str:
    return re.sub(f"{REPLACEMENT}+", REPLACEMENT, text)
