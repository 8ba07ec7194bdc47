"""Every writing command with too little room, where it writes and in the temporary folder. Needs the right to mount."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator

from attack import Attack, judge_end
from kill import TEMPORARY, is_state
from launcher import Ended, Job, Launcher
from tally import Tally
from trees import changes, contents, copy, empty, same
from writing import PLACE, Writing, writing_commands

PAGE = 4096
# Room as a share of what the command takes at most: in the folder it writes to, there over an earlier output, and in
# the temporary one.
SHARES = (
    (PLACE, 0.0, False),
    (PLACE, 0.4, False),
    (PLACE, 0.8, False),
    (PLACE, 0.5, True),
    (TEMPORARY, 0.0, False),
    (TEMPORARY, 0.6, False),
)
_LAZY = 2  # MNT_DETACH, sys/mount.h


def disk(attack: Attack) -> Tally:
    tally = Tally("disk")
    try:
        with small_disk(empty(attack.work / "probe"), 16 * PAGE):
            pass
    except OSError as error:
        tally.remarks.append(f"skipped: no file system can be mounted here ({error.strerror}); run it as root")
        return tally
    inputs = attack.inputs()
    before = contents(inputs.folder)
    commands = [writing for writing in writing_commands(inputs) if attack.wants(writing.name)]
    tally.expect(len(commands) * len(SHARES))
    attack.each(commands, lambda writing, launcher: Full(attack, tally, writing, launcher).fill())
    for change in changes(before, contents(inputs.folder)):
        tally.fail("lost", "", f"an input: {change}")
    return tally


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Path]:
    """A file system of `size` bytes at `folder`, in memory. Raises OSError where that is not allowed."""
    library = ctypes.CDLL(None, use_errno=True)
    if library.mount(b"none", os.fsencode(folder), b"tmpfs", 0, f"size={max(size, PAGE)}".encode()):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    try:
        yield folder
    finally:
        library.umount2(os.fsencode(folder), _LAZY)


@dataclass
class Full:
    """One command, in a folder of its own."""

    attack: Attack
    tally: Tally
    writing: Writing
    launcher: Launcher

    def __post_init__(self) -> None:
        self.folder = self.attack.work / "disk" / self.writing.name.replace(" ", "-")
        self.parts = {name: empty(self.folder / name) for name in (PLACE, TEMPORARY)}
        self.new, self.old = self.folder / "new", self.folder / "old"

    def fill(self) -> None:
        self._run(self.writing.old or self.writing.new)
        self._keep(self.old)
        room, with_old = self._measure()
        for part, share, replaces in SHARES:
            case = (
                f"{self.writing.name}, {share * 100:.0f} % of the room in its {part} "
                f"folder{', over an earlier output' if replaces else ''}"
            )
            # Without outputs there is nothing to replace; what takes no room cannot lack it.
            if not self.attack.wants(case) or not room[part] or (part == PLACE and not self.writing.outputs):
                self.tally.trial()
                continue
            size = with_old + int(share * room[part]) if replaces else int(share * room[part])
            self._reset(replaces)
            outside = {name: folder for name, folder in self.parts.items() if name != part}
            with small_disk(self.parts[part], size):
                self._reset(replaces)
                try:
                    ended = self._run(self.writing.new)
                    self._judge(case, ended, replaces)
                finally:
                    empty(self.parts[part])
            for folder in outside.values():
                empty(folder)
            self.tally.trial()
        shutil.rmtree(self.folder)

    def _run(self, arguments: tuple[str, ...]) -> Ended:
        return self.launcher.run(Job(arguments, self.folder, self.parts[TEMPORARY]))

    def _measure(self) -> tuple[dict[str, int], int]:
        """Bytes that the command takes at most in each folder, sampled; and those of its earlier output. Keeps what it
        writes.
        """
        with small_disk(self.parts[PLACE], 1 << 30), small_disk(self.parts[TEMPORARY], 1 << 30):
            self._reset(replaces=True)
            with_old = _used(self.parts[PLACE])
            self._reset(replaces=False)
            most, done = dict.fromkeys(self.parts, 0), threading.Event()

            def sample() -> None:
                while not done.wait(0.002):
                    for name, folder in self.parts.items():
                        most[name] = max(most[name], _used(folder))

            sampling = threading.Thread(target=sample)
            sampling.start()
            ended = self._run(self.writing.new)
            done.set()
            sampling.join()
            if ended.code:
                raise RuntimeError(f"{self.writing.name} with room enough: {ended.last_line}")
            self._keep(self.new)
        return most, with_old

    def _keep(self, folder: Path) -> None:
        for name in self.writing.outputs:
            copy(self.parts[PLACE] / name, folder / name)

    def _reset(self, replaces: bool) -> None:
        for folder in self.parts.values():
            empty(folder)
        if replaces:
            for name in self.writing.outputs:
                copy(self.old / name, self.parts[PLACE] / name)

    def _judge(self, case: str, ended: Ended, replaces: bool) -> None:
        judge_end(self.tally, case, ended)
        for name in self.writing.outputs:
            output = self.parts[PLACE] / name
            whole = output.exists() and any(
                same(output, folder / name) for folder in ([self.new, self.old] if replaces else [self.new])
            )
            if replaces and not output.exists():
                self.tally.fail("lost", case, f"{name} is gone")
            elif output.exists() and not whole:
                self.tally.fail("half-written", case, f"{name}: {', '.join(sorted(contents(output)))}")
            elif ended.code == 0 and not (output.exists() and same(output, self.new / name)):
                self.tally.fail("wrong verdicts", case, f"ended with 0, but {name} is not what it writes with room")
        over = [
            entry
            for entry in self.parts[PLACE].iterdir()
            if entry.name not in self.writing.outputs and not (self.writing.trains and is_state(entry))
        ]
        over += self.parts[TEMPORARY].iterdir()
        if over:
            self.tally.fail("left behind", case, ", ".join(str(entry.relative_to(self.folder)) for entry in over))
        if ended.code and not ended.traceback and not ended.crashed:
            self._judge_words(case, ended)

    def _judge_words(self, case: str, ended: Ended) -> None:
        message = ended.stderr[ended.stderr.rfind("task-bundler: ") :] if "task-bundler: " in ended.stderr else ""
        named = [PLACE, TEMPORARY, "disk", *self.writing.outputs]
        if ended.code != 1 or not any(re.search(rf"\b{re.escape(name)}\b", message) for name in named):
            self.tally.fail(
                "wrong verdicts",
                case,
                f"ended with {ended.code}; expected 1 and a sentence that names the disk or file: "
                f"{message or ended.last_line}",
            )


def _used(folder: Path) -> int:
    state = os.statvfs(folder)
    return (state.f_blocks - state.f_bfree) * state.f_frsize
