"""Signals that end the program, held back for as long as something must not be cut short."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import Iterator


@contextmanager
def signals_later() -> Iterator[None]:
    """Let signals that end the program wait until the block is done: a removal that is cut short leaves its rest.

    Handlers are exchanged instead of a mask set: a mask is a thread's own, and the system gives a signal to any thread that
    lets it in. Python runs handlers in the main thread, so in another one there is nothing to hold back.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    waiting: list[int] = []
    before = {}
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) not in (signal.SIG_IGN, None):  # None: a handler that is not Python's
                before[number] = signal.signal(number, lambda number, frame: waiting.append(number))
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in dict.fromkeys(waiting):
            signal.raise_signal(number)
