"""Native code that may end the process, in a process of its own.

The converter's compiler calls exit(1) when a write fails, a full disk under a mapped file raises SIGBUS, and the kernel
kills who takes too much memory. None of these is a Python exception; here each becomes one.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import tempfile
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Callable, NamedTuple

from bundler.errors import BundleError
from bundler.system.temporary_folder import temporary_folder

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_GOODBYE = 30  # seconds a process whose work is done may take to end


def run_isolated(
    what: str, function: Callable[..., Any], *arguments: Any, report: Callable[[Any], None] | None = None
) -> Any:
    """Call `function(*arguments)` in a fresh process; all must be picklable. `what` begins the message of a failure.

    With `report`, the function is given one more argument: what it calls that with, `report` is called with here.
    What the function returns is returned here, and what it raises is raised. When its process ends in any other way,
    BundleError says how, with the last lines it printed. The process does not outlive this one.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    with temporary_folder("isolated") as folder:
        log = Path(folder) / "output"
        process = context.Process(target=_child, args=(log, sender, os.getpid(), function, arguments, bool(report)))
        process.start()
        sender.close()
        try:
            while isinstance(message := receiver.recv(), _Report):
                report(message.value)
            error, value = message
            process.join(_GOODBYE)  # killed at once, it would leave its semaphores behind
        except EOFError:
            process.join()
            raise BundleError(
                f"{what}: the process ended with {_how(process.exitcode)}{_last_lines(log)}\n  Usual causes are a full "
                "disk "
                f"(here or in {tempfile.gettempdir()}) and too little memory; make room and try again"
            ) from None
        finally:
            process.kill()
            process.join()
            receiver.close()
    if error is not None:
        raise error
    return value


def die_with_parent(parent: int) -> None:
    """For the start of a worker process: the kernel ends it when its parent, of that process id, is gone, and Ctrl-C is
    the parent's to handle.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class _Report(NamedTuple):
    """What a process says on the way; its last message is no _Report."""

    value: Any


def _child(
    log: Path, sender: Connection, parent: int, function: Callable[..., Any], arguments: tuple, reports: bool
) -> None:
    die_with_parent(parent)
    output = os.open(log, os.O_WRONLY | os.O_CREAT)
    os.dup2(output, 1)
    os.dup2(output, 2)
    try:
        value = function(*arguments, *([lambda value: sender.send(_Report(value))] if reports else []))
    except Exception as error:
        known = isinstance(error, (BundleError, OSError))
        sender.send((error if known else BundleError(f"{type(error).__name__}: {error}"), None))
    else:
        sender.send((None, value))


def _how(code: int | None) -> str:
    return f"signal {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit code {code}"


def _last_lines(log: Path) -> str:
    try:
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    except OSError:
        return ""
    return "".join(f"\n  {line[:300]}" for line in lines[-3:])
