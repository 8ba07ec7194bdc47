"""The machine that something is measured on: its name, its cores and memory, and how fast its memory is read.

Linux's /proc says it.
"""

from __future__ import annotations

import os
import platform
import re
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

_READ_AT_ONCE = 256 << 20  # bytes; several times the last-level cache of any desktop or phone
_TRIES = 5
_GROUP = Path("/sys/fs/cgroup")  # control groups, version 2


@dataclass(frozen=True)
class Machine:
    """`cores`: those that this process may use. `memory`: bytes. `busy`: the load of the last minute, in cores."""

    cpu: str
    cores: int
    memory: int
    system: str
    busy: float


def this_machine() -> Machine:
    """What the system says of the machine that this runs on."""
    names = re.findall(r"^(?:model name|Hardware)\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.M)
    return Machine(
        names[0] if names else platform.machine(),
        available_cores(),
        1024 * _kilobytes("/proc/meminfo", "MemTotal"),
        f"{platform.system()} {platform.release()}",
        round(os.getloadavg()[0], 2),
    )


def available_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0))


def available_memory() -> int:
    """Bytes of memory that can still be taken: the machine's, or what a limit on this group of processes leaves."""
    free = 1024 * _kilobytes("/proc/meminfo", "MemAvailable")
    try:
        limit, held = (int((_GROUP / name).read_text()) for name in ("memory.max", "memory.current"))
        cached = int(re.search(r"^inactive_file (\d+)", (_GROUP / "memory.stat").read_text(), re.M)[1])
    except (OSError, ValueError):  # no limit: the file is not there, or says "max"
        return free
    return min(free, limit - held + cached)


def held_memory() -> int:
    """Bytes of memory that this process holds now, mapped files included as far as they were read."""
    return 1024 * _kilobytes("/proc/self/status", "VmRSS")


def mapped_memory() -> int:
    """Bytes of `held_memory` that are pages of mapped files: where memory is short, the system drops them and reads
    them again.
    """
    return 1024 * _kilobytes("/proc/self/status", "RssFile")


def peak_memory() -> int:
    """The most bytes of memory that this process ever held."""
    return 1024 * _kilobytes("/proc/self/status", "VmHWM")


def memory_above_now() -> Callable[[], int | None]:
    """Begin to watch this process's memory. The function returned says by how many bytes the most held since then was
    above what is held now; None where the system cannot forget a peak (Linux can, by clear_refs of proc(5)).
    """
    before = held_memory()
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return lambda: None
    return lambda: max(0, peak_memory() - before)


def read_bandwidth(threads: int) -> float:
    """Bytes a second that `threads` threads read from memory together: the best of a few tries over 256 MB.

    Each thread takes the largest byte of its part, for which numpy loads whole vectors and does nothing slower than
    that. Decoding a token reads every weight once in the same way, so that this bounds its speed.
    """
    import numpy as np

    parts = np.array_split(np.ones(_READ_AT_ONCE, np.uint8), threads)  # ones: pages of zeros need not be there
    with ThreadPoolExecutor(threads) as pool:
        seconds = []
        for _ in range(_TRIES):
            started = time.perf_counter()
            list(pool.map(np.max, parts))
            seconds.append(time.perf_counter() - started)
    return _READ_AT_ONCE / min(seconds)


def kilobytes(shown: str, name: str) -> int:
    """The figure `name` of what a file of /proc shows."""
    return int(re.search(rf"^{name}:\s*(\d+) kB", shown, re.M)[1])


def _kilobytes(path: str, name: str) -> int:
    return kilobytes(Path(path).read_text(), name)
