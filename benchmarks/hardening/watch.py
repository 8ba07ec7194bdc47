"""Inside of a command: at each of its file-system events, keep a copy of its files, or send it a signal.

An event is seen just before it happens (sys.addaudithook), so the files are what SIGKILL at that moment would leave.
"""

from __future__ import annotations

import mmap
import os
import shutil
import struct
import sys
import threading
import time
from pathlib import Path

_CHANGES = {
    "os.rename": 2,
    "os.remove": 1,
    "os.rmdir": 1,
    "os.mkdir": 1,
    "os.link": 2,
    "os.symlink": 2,
    "os.truncate": 1,
    "os.chmod": 1,
}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_COUNTS = struct.Struct("<qq")  # events, nanoseconds spent on copies


def watch(
    roots: list[str], copies: str | None = None, at: int | None = None, number: int = 0, counts: str | None = None
) -> None:
    """Watch the folders `roots`. `copies`: folder for a copy of them at each event that finds them changed.
    `at`: send signal `number` to this process at that event. `counts`: file for the number of events and the time that
    copies took."""
    main, busy, seen = os.getpid(), threading.local(), [None]
    shared = mmap.mmap(-1, _COUNTS.size)  # processes forked from here go on counting

    def hook(event: str, arguments: tuple) -> None:
        if getattr(busy, "now", False) or not _changes(event, arguments, roots):
            return
        busy.now = True
        try:
            count, spent = _COUNTS.unpack(shared[:])
            started = time.monotonic_ns()
            if copies:
                _copy(roots, Path(copies) / f"{count:05}", seen)
            spent += time.monotonic_ns() - started
            shared[:] = _COUNTS.pack(count + 1, spent)
            if counts:
                Path(counts).write_text(f"{count + 1} {spent}")
        finally:
            busy.now = False
        if count == at:
            os.kill(main, number)

    sys.addaudithook(hook)


def _changes(event: str, arguments: tuple, roots: list[str]) -> bool:
    if event == "open":
        path, _, flags = arguments
        return bool(flags & _WRITING) and _inside(path, None, roots)
    if event not in _CHANGES:
        return False
    folder = arguments[-1] if isinstance(arguments[-1], int) and arguments[-1] >= 0 else None
    return any(_inside(path, folder, roots) for path in arguments[: _CHANGES[event]])


def _inside(path, folder: int | None, roots: list[str]) -> bool:
    if isinstance(path, int):
        return False
    try:
        base = os.readlink(f"/proc/self/fd/{folder}") if folder is not None else os.getcwd()
    except OSError:
        return False
    return os.path.join(base, os.fsdecode(path)).startswith(tuple(roots))


def _copy(roots: list[str], copy: Path, seen: list) -> None:
    state = [
        (
            entry.path,
            entry.stat(follow_symlinks=False).st_size,
            entry.stat(follow_symlinks=False).st_mtime_ns,
            entry.inode(),
        )
        for root in roots
        for entry in _walk(root)
    ]
    if state == seen[0]:
        return
    seen[0] = state
    for root in roots:
        if os.path.isdir(root):
            shutil.copytree(root, copy / Path(root).name, symlinks=True, ignore_dangling_symlinks=True)


def _walk(folder: str):
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        yield entry
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(entry.path)
