"""Objects in a process of their own: their memory is not added to this one's, and a crash of theirs is an exception
here.
"""

from __future__ import annotations

import pickle
import tempfile
import weakref
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any, Callable, Iterator

from bundler.errors import BundleError
from bundler.system.isolated import helper_process, how_it_ended, sendable


class ObjectProcess:
    """A process that holds objects for this one. Use `object_process`, which ends it.

    What is made there stays there; here is a stand-in for it. Its attributes and what its methods take and return are
    copied between the processes, so all must be picklable. What they raise is raised here.
    """

    def __init__(self, ask: Callable[..., Any]) -> None:
        self._send = ask
        self._dropped: list[int] = []

    def make(self, factory: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """A stand-in for what `factory` returns, which must be found by its name in a module. The object goes when the
        stand-in has gone, with the next thing that is asked of the process.
        """
        stand_in = _StandIn(self._ask, self._ask(_Objects.make, factory, arguments, options))
        weakref.finalize(stand_in, self._dropped.append, stand_in._number)
        return stand_in

    @contextmanager
    def open(self, factory: Callable[..., Any], *arguments: Any, **options: Any) -> Iterator[Any]:
        """A stand-in for what the context manager that `factory` returns gives; it is left when the block ends."""
        number = self._ask(_Objects.enter, factory, arguments, options)
        try:
            yield _StandIn(self._ask, number)
        finally:
            with suppress(BundleError):  # a process that has ended has closed it
                self._ask(_Objects.drop, [number])

    def _ask(self, operation: Callable[..., Any], *arguments: Any) -> Any:
        # Not sent when a stand-in goes: that may be in the middle of another question.
        dropped = [self._dropped.pop() for _ in range(len(self._dropped))]
        return self._send(dropped, operation, arguments)


class _StandIn:
    def __init__(self, ask: Callable[..., Any], number: int) -> None:
        self._ask, self._number = ask, number
        self._methods: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # pickle and copy ask for such
            raise AttributeError(name)
        if name not in self._methods:
            is_method, value = self._ask(_Objects.attribute, self._number, name)
            if not is_method:
                return value
            self._methods.add(name)
        return partial(self._call, name)  # which keeps the stand-in, as a method keeps its object

    def _call(self, name: str, *arguments: Any, **options: Any) -> Any:
        return self._ask(_Objects.call, self._number, name, arguments, options)


@contextmanager
def object_process(what: str) -> Iterator[ObjectProcess]:
    """Yields a process for objects. It does not outlive this one, and what it leaves in temporary folders goes with it.

    When it ends before its time, BundleError begins with `what` and says how, with the last lines it printed.
    """
    with helper_process("objects", _serve) as helper:

        def ask(*question: Any) -> Any:
            try:
                helper.connection.send_bytes(ForkingPickler.dumps(question))
                error, value = helper.connection.recv()
            except (EOFError, ConnectionError) as gone:
                helper.process.join()
                raise BundleError(how_it_ended(what, helper.process.exitcode, helper.log)) from gone
            except BaseException:  # Ctrl-C: the next answer would be that to this question
                helper.process.kill()
                raise
            if error is not None:
                raise error
            return value

        yield ObjectProcess(ask)


class _Objects:
    """What the process holds, by number; what closes each is beside it."""

    def __init__(self) -> None:
        self._held: dict[int, tuple[Any, ExitStack]] = {}
        self._made = 0

    def make(self, factory: Callable[..., Any], arguments: tuple, options: dict) -> int:
        return self._hold(factory(*arguments, **options), ExitStack())

    def enter(self, factory: Callable[..., Any], arguments: tuple, options: dict) -> int:
        closing = ExitStack()
        return self._hold(closing.enter_context(factory(*arguments, **options)), closing)

    def _hold(self, value: Any, closing: ExitStack) -> int:
        self._made += 1
        self._held[self._made] = value, closing
        return self._made

    def attribute(self, number: int, name: str) -> tuple[bool, Any]:
        value = getattr(self._held[number][0], name)
        return (True, None) if callable(value) else (False, value)

    def call(self, number: int, name: str, arguments: tuple, options: dict) -> Any:
        return getattr(self._held[number][0], name)(*arguments, **options)

    def drop(self, numbers: list[int]) -> None:
        for number in numbers:
            value, closing = self._held.pop(number)
            del value
            closing.close()


def _serve(connection: Connection, log: Path) -> None:
    tempfile.tempdir = str(log.parent)
    objects = _Objects()
    while True:
        try:
            question = connection.recv_bytes()
        except EOFError:
            return
        try:
            dropped, operation, arguments = pickle.loads(question)
            objects.drop(dropped)
            answer = ForkingPickler.dumps((None, operation(objects, *arguments)))
        except Exception as error:
            answer = ForkingPickler.dumps((sendable(error), None))
        connection.send_bytes(answer)
