"""Every writing command, killed at moments spread over its work and at its file-system events."""

from __future__ import annotations

import shutil
import signal
from dataclasses import dataclass
from pathlib import Path

from attack import Attack, judge_end
from launcher import Ended, Job, Launcher
from tally import Tally
from trees import changes, contents, copy, empty, remove, same
from writing import PLACE, Writing, writing_commands

TEMPORARY = "temporary"
# A moment is a file-system event as often as a point in time. Of the last two a quarter as many.
SIGNALS = {signal.SIGKILL: 1.0, signal.SIGTERM: 1.0, signal.SIGHUP: 0.25, signal.SIGINT: 0.25}


def kill(attack: Attack) -> Tally:
    tally = Tally("kill")
    inputs = attack.inputs()
    before = contents(inputs.folder)
    states = [
        (writing, replaces)
        for writing in writing_commands(inputs)
        for replaces in ((False, True) if writing.outputs else (False,))
    ]
    sets = [
        Set(attack, tally, writing, replaces) for writing, replaces in states if attack.wants(_name(writing, replaces))
    ]
    attack.each(sets, lambda chosen, launcher: chosen.attack_with(launcher))
    for change in changes(before, contents(inputs.folder)):
        tally.fail("lost", "", f"an input: {change}")
    return tally


def _name(writing: Writing, replaces: bool) -> str:
    return f"{writing.name}, {'with --force over an earlier output' if replaces else 'to a free name'}"


@dataclass(frozen=True)
class Reference:
    """An undisturbed run. `new` and `old`: folders with copies of what may be at the outputs. `events`: numbers of its
    file-system
    events that found the files changed, those first that found other names."""

    new: Path
    old: Path | None
    seconds: float
    events: list[int]


@dataclass
class Set:
    """A command and a state of its output, with a folder of its own."""

    attack: Attack
    tally: Tally
    writing: Writing
    replaces: bool

    def __post_init__(self) -> None:
        self.name = _name(self.writing, self.replaces)
        self.folder = self.attack.work / "kill" / self.name.replace(" ", "-").replace(",", "")
        self.place, self.temporary = self.folder / PLACE, self.folder / TEMPORARY
        moments = {number: max(1, round(self.attack.moments * share)) for number, share in SIGNALS.items()}
        self.tally.expect(sum(moments.values()) + 2)
        self.moments = moments

    def attack_with(self, launcher: Launcher) -> None:
        self.launcher = launcher
        for folder in (self.place, self.temporary):
            empty(folder)
        reference = self._reference()
        if reference is None:
            return
        for number, count in self.moments.items():
            self._kills(reference, number, count)
        shutil.rmtree(self.folder)

    # ---- undisturbed

    def _reference(self) -> Reference | None:
        """Two runs to the end: the first says what is written, the second what is there at each event."""
        new, old, copies = self.folder / "new", self.folder / "old", self.folder / "copies"
        if self.replaces:
            if not self._to_the_end(self.writing.old, f"{self.name}, before"):
                return None
            self._keep(old)
        if not self._to_the_end(self.writing.new, f"{self.name}, undisturbed"):
            return None
        self._keep(new)
        self._reset(old if self.replaces else None)
        counts = self.folder / "counts"
        watch = {"roots": [str(self.place), str(self.temporary)], "copies": str(copies), "counts": str(counts)}
        ended = self.launcher.run(self._job(self.writing.new, watch))
        events, spent = map(int, counts.read_text().split()) if counts.exists() else (0, 0)
        reference = Reference(
            new, old if self.replaces else None, max(0.05, ended.seconds - spent / 1e9), _events(copies)
        )
        self.tally.trial()
        if not all(same(self.place / name, new / name) for name in self.writing.outputs):
            self.tally.fail("wrong verdicts", f"{self.name}, undisturbed", "two runs wrote different outputs")
        for number in reference.events:
            self._judge_outputs(f"{self.name}, copy at event {number}", reference, copies / f"{number:05}" / PLACE)
        self.tally.expect(len(reference.events))
        self.tally.trial(len(reference.events))
        if copies.exists():
            shutil.rmtree(copies)
        return reference

    def _to_the_end(self, arguments: tuple[str, ...], case: str) -> bool:
        ended = self.launcher.run(self._job(arguments))
        judge_end(self.tally, case, ended)
        missing = [name for name in self.writing.outputs if not (self.place / name).exists()]
        if ended.code or missing:
            self.tally.fail(
                "wrong verdicts",
                case,
                f"ended with {ended.code}{', without ' if missing else ''}{', '.join(missing)}: {ended.last_line}",
            )
        self._judge_leftovers(case, training=False)
        self.tally.trial()
        return not (ended.code or missing)

    def _keep(self, folder: Path) -> None:
        for name in self.writing.outputs:
            copy(self.place / name, folder / name)

    # ---- disturbed

    def _kills(self, reference: Reference, number: int, count: int) -> None:
        by_event = reference.events[: count // 2]
        by_time = count - len(by_event)
        moments = [
            *(("event", event) for event in by_event),
            *(("time", (index + 0.5) / by_time) for index in range(by_time)),
        ]
        self._reset(reference.old)
        last = None
        for index, (kind, value) in enumerate(moments):
            shown = f"event {value}" if kind == "event" else f"{value * 100:.1f} % of its time"
            case = f"{self.name}, {signal.Signals(number).name} at {shown}"
            if self.attack.wants(case):
                # What SIGKILL leaves stays for the runs after it, as in life; but no training goes on where the last
                # one was stopped.
                self._reset(
                    reference.old,
                    keep_others=number == signal.SIGKILL and not (self.writing.trains and index < len(moments) - 1),
                )
                last = self._kill(case, reference, number, kind, value)
        if number == signal.SIGKILL and last:
            self._reset(reference.old, keep_others=True)
            case = f"{self.name}, SIGKILL"  # --case with it repeats the kills too
            if self._to_the_end(self.writing.new, case):
                self._judge_new(case, reference)

    def _kill(self, case: str, reference: Reference, number: int, kind: str, value: float) -> Ended:
        roots = [str(self.place), str(self.temporary)]
        if kind == "event":
            ended = self.launcher.run(
                self._job(self.writing.new, {"roots": roots, "at": int(value), "number": int(number)})
            )
        else:
            # A terminal that is closed, and Ctrl-C, reach the whole group; `kill` one process.
            group = number in (signal.SIGHUP, signal.SIGINT)
            ended = self.launcher.run(
                self._job(self.writing.new), kill_after=value * reference.seconds, number=number, group=group
            )
        judge_end(self.tally, case, ended)
        self._judge_outputs(case, reference, self.place)
        if number != signal.SIGKILL:
            self._judge_leftovers(case, training=self.writing.trains)
        if ended.code == 0:
            self._judge_new(case, reference)
        self.tally.trial()
        return ended

    def _job(self, arguments: tuple[str, ...], watch: dict | None = None) -> Job:
        return Job(arguments, self.folder, self.temporary, watch=watch)

    def _reset(self, old: Path | None, keep_others: bool = False) -> None:
        """The outputs as they were before: none, or the old ones. `keep_others`: what else lies about stays."""
        if not keep_others:
            empty(self.place)
            empty(self.temporary)
        for name in self.writing.outputs:
            if old is None:
                remove(self.place / name)
            elif not same(self.place / name, old / name):
                copy(old / name, self.place / name)

    # ---- verdicts

    def _judge_outputs(self, case: str, reference: Reference, place: Path) -> None:
        for name in self.writing.outputs:
            output = place / name
            if not output.exists():
                if self.replaces:
                    self.tally.fail("lost", case, f"{name} is gone: neither the old one nor the new one is there")
            elif not same(output, reference.new / name) and not (self.replaces and same(output, reference.old / name)):
                self.tally.fail(
                    "half-written",
                    case,
                    f"{name} is neither {'the old one nor ' if self.replaces else ''}the new one: "
                    f"{', '.join(sorted(contents(output)))}",
                )

    def _judge_new(self, case: str, reference: Reference) -> None:
        """It ended with 0, so it has to have written."""
        for name in self.writing.outputs:
            if not same(self.place / name, reference.new / name):
                self.tally.fail("wrong verdicts", case, f"ended with 0, but {name} is not what it writes undisturbed")

    def _judge_leftovers(self, case: str, training: bool) -> None:
        over = [
            entry
            for entry in sorted(self.place.iterdir())
            if entry.name not in self.writing.outputs and not (training and is_state(entry))
        ]
        over += sorted(self.temporary.iterdir())
        if over:
            self.tally.fail("left behind", case, ", ".join(str(entry.relative_to(self.folder)) for entry in over))


def is_state(entry: Path) -> bool:
    """Whether a training goes on from it: a file named so, or a folder that holds one."""
    return any("state" in path.name for path in ([entry] if entry.is_file() else entry.rglob("*")))


def _events(copies: Path) -> list[int]:
    """Numbers of the copies, those first that have other names in them than the one before."""
    numbers = sorted(int(path.name) for path in copies.iterdir()) if copies.exists() else []
    shapes = [sorted(contents(copies / f"{number:05}")) for number in numbers]
    first = [number for index, number in enumerate(numbers) if index == 0 or shapes[index] != shapes[index - 1]]
    return [*_spread(first), *_spread([number for number in numbers if number not in first])]


def _spread(numbers: list[int]) -> list[int]:
    """In an order of which every beginning is spread over the whole: by the reversed bits of the place."""
    return [number for _, number in sorted((f"{index:016b}"[::-1], number) for index, number in enumerate(numbers))]
