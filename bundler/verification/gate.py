"""What a check found, and how the progress of long work is reported: the types that all verification uses."""

from __future__ import annotations

import contextlib
import itertools
from dataclasses import asdict, dataclass, field
from typing import Any, Callable, ContextManager, Iterator, Sequence

from bundler.errors import VerificationError

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
    """Where long work shows how far it is, and `say`s what one should know before it; nowhere, if nothing is given."""

    stage: Stage = silent
    bar: Bar = silent_bar
    say: Callable[[str], None] = lambda text: None

    @contextlib.contextmanager
    def steps(self, text: str, total: int) -> Iterator[Callable[[], None]]:
        """A bar over so many parts of some work; what is yielded is called after each."""
        with self.bar(text, total) as done:
            finished = itertools.count(1)
            yield lambda: done(completed=next(finished))


@dataclass(frozen=True)
class Gate:
    """One check: what was found, in a sentence, and its figures. One that is `skipped` tested nothing: it passed too,
    and the sentence says why.

    `seconds`: how long something took, by name. Times stand neither in the sentence nor among the figures, because
    what a build writes is the same for the same inputs.
    """

    name: str
    passed: bool
    found: str
    figures: dict = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    skipped: bool = False

    @classmethod
    def skip(cls, name: str, reason: str) -> Gate:
        """A gate that has nothing to test."""
        return cls(name, True, reason, skipped=True)

    @property
    def result(self) -> str:
        return "skipped" if self.skipped else "passed" if self.passed else "FAILED"

    def as_dict(self) -> dict:
        return asdict(self)


def run_gates(functions: Sequence[Callable[[Any], Gate]], subject: Any, step: Callable[[], None]) -> list[Gate]:
    """The gates that `functions` make of `subject`, in their order; `step` is called after each."""
    gates = []
    for gate in functions:
        gates.append(gate(subject))
        step()
    return gates


def require_passed(gates: Sequence[Gate], consequence: str) -> None:
    """Raise VerificationError with what each failed gate found, and the sentence `consequence`; nothing if all
    passed.
    """
    if failed := [gate for gate in gates if not gate.passed]:
        raise VerificationError("; ".join(f"{gate.name}: {gate.found}" for gate in failed) + f". {consequence}")


def verdict(gates: Sequence[Gate]) -> str:
    """How many gates passed, of how many that had something to test."""
    tested = [gate for gate in gates if not gate.skipped]
    skipped = len(gates) - len(tested)
    passed = sum(gate.passed for gate in tested)
    return f"{passed} of {len(tested)} gates passed" + (f", {skipped} skipped" if skipped else "")
