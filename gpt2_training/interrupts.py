"""Signals that end a training wait until its step is done, because half a step cannot be saved."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import Callable, Iterator

_ENDING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


@contextmanager
def signals_between_steps() -> Iterator[Callable[[], bool]]:
    """Yield a function that says whether a signal came. A second signal acts at once, as it would have without this."""
    came = False
    before = {}

    def note(number: int, frame: object) -> None:
        nonlocal came
        came = True
        restore()

    def restore() -> None:
        while before:
            signal.signal(*before.popitem())

    if threading.current_thread() is threading.main_thread():  # in another one no handler runs
        for number in _ENDING:
            if signal.getsignal(number) not in (signal.SIG_IGN, None):  # None: a handler that is not Python's
                before[number] = signal.signal(number, note)
    try:
        yield lambda: came
    finally:
        restore()
