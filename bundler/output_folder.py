"""A folder that appears whole or not at all, however the build ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import threading
from pathlib import Path
from typing import Iterator

from bundler.errors import BundleError, OptionError


def check_output(output: Path, force: bool) -> None:
    """Refuse early an output that exists (without `force`) or cannot be made. Raises OptionError or BundleError."""
    if output.exists() and not output.is_dir():
        raise OptionError(f"{output} is a file; expected a folder to write, or a name that is free")
    if output.is_dir() and any(output.iterdir()) and not force:
        raise OptionError(f"{output} exists and is not empty; add --force to replace it, or give another --output")
    # What replaces a folder deletes it, so it must be one of ours.
    if output.is_dir() and any(output.iterdir()) and not (output / "manifest.json").exists():
        raise OptionError(f"{output} holds files but no manifest.json: it was not written by a build, and --force "
                          "would delete it; give another --output")
    parent = output.absolute().parent
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise BundleError(f"{output}: {parent} is not a folder one may write to; give another --output")


@contextlib.contextmanager
def staged_folder(output: Path) -> Iterator[Path]:
    """Yield an empty folder beside `output` that is renamed to it when the block ends well, and removed when not.

    The folder's name is fixed and it is locked while in use, so what a killed build left behind is found
    and cleared by the next one. A folder already at `output` is replaced. SIGTERM counts as Ctrl-C.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_name(f".{output.name}.partial")
    lock_path = output.with_name(f".{output.name}.lock")
    with open(lock_path, "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BundleError(f"another build is writing {output}; wait for it, or give another --output") from None
        try:
            with _terminate_as_interrupt():
                shutil.rmtree(partial, ignore_errors=True)
                partial.mkdir()
                yield partial
                replaced = output.with_name(f".{output.name}.replaced")
                shutil.rmtree(replaced, ignore_errors=True)
                if output.exists():
                    os.replace(output, replaced)
                os.replace(partial, output)
                shutil.rmtree(replaced, ignore_errors=True)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
            lock_path.unlink(missing_ok=True)


@contextlib.contextmanager
def _terminate_as_interrupt() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(signum, frame):
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
