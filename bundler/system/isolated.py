"""Native code that may end the process, in a process of its own.

The converter's compiler calls exit(1) when a write fails, a full disk under a mapped file raises SIGBUS, and the kernel
kills who takes too much memory. None of these is a Python exception; here each becomes one.
"""

from __future__ import annotations

import ctypes
import importlib
import multiprocessing
import os
import pickle
import signal
import sys
import tempfile
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from types import ModuleType
from typing import Any, Callable, Iterator, NamedTuple, Protocol, Sequence

from bundler.errors import BundleError
from bundler.system.temporary_folder import temporary_folder

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_GOODBYE = 30  # seconds a process whose work is done may take to end


class Run(Protocol):
    """Calls `function(*arguments)` in a process of its own; all must be picklable. `what` begins the message of a
    failure.

    With `report`, the function is given one more argument: what it calls that with, `report` is called with here.
    What the function returns is returned here, and what it raises is raised. When its process ends in any other way,
    BundleError says how, with the last lines it printed. The process does not outlive this one.
    """

    def __call__(
        self, what: str, function: Callable[..., Any], *arguments: Any, report: Callable[[Any], None] | None = None
    ) -> Any: ...


def run_isolated(
    what: str, function: Callable[..., Any], *arguments: Any, report: Callable[[Any], None] | None = None
) -> Any:
    """A `Run` in a fresh process. What is called may be of the caller's script, which is imported there then."""
    of_script = b"__main__" in bytes(ForkingPickler.dumps((function, arguments)))
    with isolation(of_script=of_script) as run:
        return run(what, function, *arguments, report=report)


@contextmanager
def isolation(*modules: str, of_script: bool = False) -> Iterator[Run]:
    """Yields a `Run` that need not wait for imports.

    A process begins to import `modules` at once, which takes seconds for PyTorch and the converter; each call is then
    made in a copy of that process. On Linux the copy is a fork; elsewhere system libraries forbid it, and each call
    imports what it needs. `of_script`: what is called is in the caller's script.
    """
    with helper_process("isolated", _copy_for_each_call, modules, of_script=of_script) as helper:

        def received() -> Any:
            try:
                return helper.connection.recv()
            except (EOFError, ConnectionError):
                helper.process.join()
                return _Ended(helper.process.exitcode)

        def run(
            what: str, function: Callable[..., Any], *arguments: Any, report: Callable[[Any], None] | None = None
        ) -> Any:
            with suppress(ConnectionError):  # of a process that has ended, as is received then
                helper.connection.send_bytes(ForkingPickler.dumps((function, arguments, bool(report))))
            while isinstance(message := received(), _Report):
                report(message.value)
            if isinstance(message, _Ended):
                raise BundleError(how_it_ended(what, message.code, helper.log))
            error, value = message
            if error is not None:
                raise error
            return value

        yield run


class Helper(NamedTuple):
    """A process that serves this one: what it is asked through, and the file of all that it prints."""

    connection: Connection
    process: BaseProcess
    log: Path


@contextmanager
def helper_process(
    purpose: str, serve: Callable[..., None], *arguments: Any, of_script: bool = False
) -> Iterator[Helper]:
    """Yields a fresh process that runs `serve(connection, log, *arguments)` until the connection is closed, which the
    end of the block does. It does not outlive this process.

    `log` lies in a folder of its own, which is removed with all its content. `purpose` is a word for that folder's
    name. `of_script`: what it is asked is in the caller's script.
    """
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    # Closed, not left with what is raised in the caller's block: a full disk of the caller's is another than this one.
    resources = ExitStack()
    log = resources.enter_context(temporary_folder(purpose)) / "output"
    process = context.Process(target=_begin, args=(serve, there, log, os.getpid(), *arguments))
    try:
        with nullcontext() if of_script else without_script():
            process.start()
        resources.callback(process.join)
        resources.callback(process.kill)
        there.close()
        yield Helper(here, process, log)
        here.close()
        process.join(_GOODBYE)  # killed at once, it would leave its semaphores behind
    finally:
        resources.close()


def _begin(serve: Callable[..., None], connection: Connection, log: Path, parent: int, *arguments: Any) -> None:
    die_with_parent(parent)
    _print_to(log)
    serve(connection, log, *arguments)


@contextmanager
def without_script() -> Iterator[None]:
    """A process that is spawned in this block does not import the caller's script.

    multiprocessing has it imported to find functions in it, and so runs it again: up to the call that spawned, unless
    its author knew to put that behind `if __name__ == "__main__"`.
    """
    script = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script


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
    """What a function says on the way."""

    value: Any


class _Ended(NamedTuple):
    """A process ended, with this exit code, before its function did."""

    code: int


def _copy_for_each_call(connection: Connection, log: Path, modules: Sequence[str]) -> None:
    for name in modules:
        with suppress(ImportError):  # the function that needs it says so
            importlib.import_module(name)
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    while True:
        try:
            call = connection.recv_bytes()
        except EOFError:
            return
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_child, args=(log, sender, os.getpid(), call))
        process.start()
        sender.close()
        try:
            while isinstance(message := receiver.recv(), _Report):
                connection.send(message)
            connection.send(message)
            process.join(_GOODBYE)
        except EOFError:
            process.join()
            connection.send(_Ended(process.exitcode))
        process.kill()
        process.join()
        receiver.close()


def _child(log: Path, sender: Connection, parent: int, call: bytes) -> None:
    die_with_parent(parent)
    _print_to(log)
    try:
        function, arguments, reports = pickle.loads(call)
        value = function(*arguments, *([lambda value: sender.send(_Report(value))] if reports else []))
    except Exception as error:
        sender.send((sendable(error), None))
    else:
        sender.send((None, value))


def sendable(error: Exception) -> Exception:
    """What to raise in the process that waits for this one: others' exceptions need not come through a pipe."""
    return error if isinstance(error, (BundleError, OSError)) else BundleError(f"{type(error).__name__}: {error}")


def _print_to(log: Path) -> None:
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)


def how_it_ended(what: str, code: int | None, log: Path) -> str:
    """What to say of a process that ended with this exit code before its work was done."""
    how = f"signal {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit code {code}"
    return (
        f"{what}: the process ended with {how}{_last_lines(log)}\n  Usual causes are a full disk (here or in "
        f"{tempfile.gettempdir()}) and too little memory; make room and try again"
    )


def _last_lines(log: Path) -> str:
    try:
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    except OSError:
        return ""
    return "".join(f"\n  {line[:300]}" for line in lines[-3:])
