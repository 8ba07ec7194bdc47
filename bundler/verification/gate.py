"""What a check found, and how the progress of long work is reported: the types that all verification uses."""

from __future__ import annotations

import contextlib
from dataclasses import asdict, dataclass, field
from typing import Callable, ContextManager

# Entered with a line of text around a part of the work.
Stage = Callable[[str], ContextManager]
# A progress bar: entered with a text and a total; gives a function that takes `completed=`, the part done.
Bar = Callable[[str, float], ContextManager[Callable[..., None]]]


def silent(text: str) -> ContextManager:
    """A Stage that shows nothing."""
    return contextlib.nullcontext()


def silent_bar(text: str, total: float) -> ContextManager[Callable[..., None]]:
    """A Bar that shows nothing."""
    return contextlib.nullcontext(lambda completed: None)


@dataclass(frozen=True)
class Progress:
    """Where long work shows how far it is; nowhere, if nothing is given."""

    stage: Stage = silent
    bar: Bar = silent_bar


@dataclass(frozen=True)
class Gate:
    """One check: what was found, in a sentence, and its figures.

    `seconds`: how long something took, by name. Times stand neither in the sentence nor among the figures, because
    what a build writes is the same for the same inputs.
    """

    name: str
    passed: bool
    found: str
    figures: dict = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def as_dict(self) -> dict:
        return asdict(self)
