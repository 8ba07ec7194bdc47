"""What was tried, what went wrong, and the table of both."""

from __future__ import annotations

import sys
import threading
import time
from dataclasses import asdict, dataclass, field

COLUMNS = ("lost", "half-written", "left behind", "tracebacks", "wrong verdicts")
_EVERY = 20.0  # seconds between lines of progress


@dataclass(frozen=True)
class Failure:
    """`column`: one of COLUMNS. `case`: its name, which --case takes."""

    part: str
    column: str
    case: str
    found: str

    @property
    def command(self) -> str:
        return f"python benchmarks/hardening.py --only {self.part} --case '{self.case}'"


@dataclass
class Tally:
    """Of one part. `total`: cases planned, as far as they are known; `remarks`: what was not tried, and why."""

    part: str
    total: int = 0
    tried: int = 0
    failures: list[Failure] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._started = self._shown = time.monotonic()

    def expect(self, cases: int) -> None:
        with self._lock:
            self.total += cases

    def trial(self, cases: int = 1) -> None:
        """A case is done."""
        with self._lock:
            self.tried += cases
            now = time.monotonic()
            if now - self._shown >= _EVERY:
                self._shown, spent = now, now - self._started
                left = spent / self.tried * max(0, self.total - self.tried)
                print(
                    f"{self.part}: {self.tried} of {max(self.total, self.tried)}, {len(self.failures)} failures, "
                    f"{spent:.0f} s, about {left:.0f} s left",
                    file=sys.stderr,
                    flush=True,
                )

    def fail(self, column: str, case: str, found: str) -> None:
        assert column in COLUMNS
        with self._lock:
            self.failures.append(Failure(self.part, column, case, " ".join(found.split())[:300]))

    def counts(self) -> dict[str, int]:
        return {column: sum(failure.column == column for failure in self.failures) for column in COLUMNS}

    def as_dict(self) -> dict:
        return {
            "part": self.part,
            "tried": self.tried,
            **self.counts(),
            "remarks": self.remarks,
            "failures": [{**asdict(failure), "command": failure.command} for failure in self.failures],
        }


def table(tallies: list[Tally]) -> str:
    """A row for each part; then each failure, with the command that shows it again."""
    rows = [("", "tried", *COLUMNS), *((tally.part, tally.tried, *tally.counts().values()) for tally in tallies)]
    widths = [max(len(str(row[column])) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(
            str(cell).rjust(width) if column else str(cell).ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths))
        )
        for row in rows
    ]
    lines += [f"{tally.part}: {remark}" for tally in tallies for remark in tally.remarks]
    lines += [
        f"{failure.column}: {failure.case}: {failure.found}\n    {failure.command}"
        for tally in tallies
        for failure in tally.failures
    ]
    return "\n".join(lines)
