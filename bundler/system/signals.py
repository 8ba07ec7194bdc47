"""Signals that end the program: they end it as Ctrl-C does, and wait as long as something must not be cut short."""

from __future__ import annotations

import signal
import sys
import threading
from contextlib import contextmanager
from types import FrameType
from typing import Iterator

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_AGAIN_AFTER = 0.05  # seconds, for the code that swallowed it to return

_came: set[int] = set()  # the signals that came


def interrupt_on_signals() -> None:
    """Let SIGTERM and SIGHUP end the work as Ctrl-C does, so that it clears up; after one of them neither disturbs
    that.

    A KeyboardInterrupt that is raised where Python cannot pass it on, as in a callback of native code, is raised again.
    """
    for number in _ENDING:
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):  # nohup has SIGHUP ignored
            signal.signal(number, _interrupt)
    sys.unraisablehook = _raise_again


def interrupted() -> bool:
    """Whether a signal came that ends the program. An error after it may be what native code made of the
    KeyboardInterrupt.
    """
    return bool(_came)


def only_answer_interrupted() -> bool:
    """Whether nothing but Ctrl-C came, which may end a part of the work alone. It is forgotten then."""
    if _came - {signal.SIGINT}:
        return False
    _came.clear()
    return True


@contextmanager
def signals_later() -> Iterator[None]:
    """Let signals that end the program wait until the block is done: a removal that is cut short leaves its rest.

    Handlers are exchanged instead of a mask set: a mask is a thread's own, and the system gives a signal to any thread
    that lets it in. Python runs handlers in the main thread, so in another one there is nothing to hold back.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    waiting: list[int] = []
    before = {}
    try:
        for number in _ENDING:
            if signal.getsignal(number) not in (signal.SIG_IGN, None):  # None: a handler that is not Python's
                before[number] = signal.signal(number, lambda number, frame: waiting.append(number))
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in dict.fromkeys(waiting):
            signal.raise_signal(number)


def _interrupt(number: int, frame: FrameType | None) -> None:
    _came.add(number)
    if number != signal.SIGINT:
        for ending in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(ending, signal.SIG_IGN)
    raise KeyboardInterrupt


def _raise_again(unraisable: sys.UnraisableHookArgs) -> None:
    if unraisable.exc_type is None or not issubclass(unraisable.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(unraisable)
        return
    # A signal, which also wakes the main thread where it waits.
    timer = threading.Timer(_AGAIN_AFTER, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT))
    timer.daemon = True
    timer.start()
