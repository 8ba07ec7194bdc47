"""Keeps the chatter of native libraries off the terminal, and hands it over when something fails."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
import warnings
from typing import Iterator


@contextlib.contextmanager
def quiet(messages: list[str] | None = None) -> Iterator[None]:
    """While the block runs, catch what is written to file descriptors 1 and 2, and Python's warnings and log lines.

    When the block raises, the lines that were caught are appended to `messages`. Not for blocks that
    print something of their own: that would be caught too.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    disabled = logging.root.manager.disable
    with warnings.catch_warnings(), tempfile.TemporaryFile() as caught:
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        saved = os.dup(1), os.dup(2)
        os.dup2(caught.fileno(), 1)
        os.dup2(caught.fileno(), 2)
        try:
            yield
        except BaseException:
            if messages is not None:
                caught.seek(0)
                messages.extend(caught.read().decode(errors="replace").splitlines())
            raise
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for saved_descriptor, descriptor in zip(saved, (1, 2)):
                os.dup2(saved_descriptor, descriptor)
                os.close(saved_descriptor)
            logging.disable(disabled)
