"""Starts command lines, watched and limited, and says how they ended."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Iterator

REPOSITORY = Path(__file__).resolve().parents[2]
_TRACEBACK = re.compile(r"Traceback \(most recent call last\)|\bdefect\b")


@dataclass(frozen=True)
class Job:
    """One command line. `temporary` is its TMPDIR. `script`: a Python file to run in place of task-bundler; `real`: in
    an interpreter of its
    own. `watch`: arguments of watch.watch. `limits`: of the resource module. `timeout`: seconds on an idle machine."""

    arguments: tuple[str, ...]
    folder: Path
    temporary: Path
    environment: dict[str, str] = field(default_factory=dict)
    script: Path | None = None
    watch: dict | None = None
    limits: dict[str, int] = field(default_factory=dict)
    input: str = os.devnull
    timeout: float = 300.0
    real: bool = False


@dataclass(frozen=True)
class Ended:
    """`code` is negative for a signal. `busy`: seconds of processor time. `survived`: a process of it was alive seconds
    after it. `killed`: a signal of ours was sent in time.
    """

    code: int
    stdout: str
    stderr: str
    seconds: float
    busy: float
    peak_kilobytes: int
    survived: bool
    timed_out: bool
    killed: bool

    @property
    def traceback(self) -> bool:
        return bool(_TRACEBACK.search(self.stderr))

    @property
    def crashed(self) -> bool:
        """It ended by a signal that nobody sent."""
        return self.code < 0 and not self.killed and not self.timed_out

    @property
    def last_line(self) -> str:
        return next((line.strip() for line in reversed(self.stderr.splitlines()) if line.strip()), "")


class Launcher:
    """A zygote and the files through which its children speak. One job at a time; use one launcher per thread.

    `bare`: it imports nothing beforehand, for scripts that need nothing.
    """

    def __init__(self, work: Path, bare: bool = False) -> None:
        self._work, self.busy = work, 0.0  # seconds of processor time of all jobs
        (work / "home").mkdir(parents=True, exist_ok=True)
        paths = [str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(paths),
            "OMP_NUM_THREADS": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "COLUMNS": "1000",
            "HOME": str(work / "home"),
            "HF_HOME": str(work / "hf"),
            "HF_HUB_OFFLINE": "1",
            "MPLCONFIGDIR": str(work / "matplotlib"),
            "TMPDIR": str(work),
            "HARDENING_CONVERSIONS": str(work.parent / "conversions"),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        self._log = open(work / "zygote.log", "wb")
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("zygote.py")), *(["--bare"] if bare else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=environment,
            text=True,
        )
        if self._process.stdout.readline() != "ready\n":
            raise RuntimeError(f"the process that starts commands did not come up; see {work / 'zygote.log'}")

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()
        self._log.close()

    def run(
        self, job: Job, kill_after: float | None = None, number: int = signal.SIGKILL, group: bool = False
    ) -> Ended:
        """Run the job to its end, or until `kill_after` seconds, when it is sent signal `number` (to its whole group
        with `group`).
        """
        out, err = self._work / "stdout", self._work / "stderr"
        request = {
            "arguments": list(job.arguments),
            "folder": str(job.folder),
            "environment": {"TMPDIR": str(job.temporary), **job.environment},
            "script": str(job.script) if job.script else None,
            "watch": job.watch,
            "limits": job.limits,
            "input": job.input,
            "stdout": str(out),
            "stderr": str(err),
            "real": job.real,
        }
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        pid = int(self._process.stdout.readline())
        started = time.monotonic()
        sent, timed_out = threading.Event(), threading.Event()
        timeout = job.timeout * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
        timers = [threading.Timer(timeout, _send, (pid, signal.SIGKILL, True, timed_out))]
        if kill_after is not None:
            timers.append(threading.Timer(kill_after, _send, (pid, number, group, sent)))
        for timer in timers:
            timer.start()
        answer = json.loads(self._process.stdout.readline())
        for timer in timers:
            timer.cancel()
        self.busy += answer["busy"]
        watched = job.watch is not None and job.watch.get("at") is not None
        return Ended(
            answer["code"],
            out.read_text(errors="replace"),
            err.read_text(errors="replace"),
            time.monotonic() - started,
            answer["busy"],
            answer["peak_kilobytes"],
            answer["survived"],
            timed_out.is_set(),
            sent.is_set() or watched,
        )


def _send(pid: int, number: int, group: bool, sent: threading.Event) -> None:
    try:
        (os.killpg if group else os.kill)(pid, number)
    except ProcessLookupError:  # it has ended
        return
    sent.set()


@contextmanager
def launchers(count: int, work: Path) -> Iterator[list[Launcher]]:
    """So many launchers, started side by side."""
    started: list[Launcher] = []
    threads = [
        threading.Thread(target=lambda number=number: started.append(Launcher(work / f"launcher{number}")))
        for number in range(count)
    ]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if len(started) < count:
            raise RuntimeError("a process that starts commands did not come up")
        yield started
    finally:
        for launcher in started:
            launcher.close()
