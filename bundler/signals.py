"""Signals that end the program, held back for as long as something must not be cut short."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import Iterator


@contextmanager
def signals_later() -> Iterator[None]:
    """Let signals that end the program wait until the block is done: a removal that is cut short leaves its rest."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
