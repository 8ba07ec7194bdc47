"""Temporary folders that do not outlive a killed process for long: the next one clears what it left."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Iterator

from bundler.system.file_lock import lock
from bundler.system.full_disk import out_of_room_explained
from bundler.system.signals import signals_later

_NAME = re.compile(r"\.?task-bundler\.[a-z]+\.[a-z0-9_]{8}")
_MARK = ".written-by-task-bundler"


@contextmanager
def temporary_folder(purpose: str, parent: Path | None = None) -> Iterator[Path]:
    """Yield a new, empty folder that is removed with all its content when the block ends.

    It lies in the system's temporary folder, or hidden in `parent`. `purpose` is a word in small letters for its name.
    The folder is locked while in use; folders of ours that nobody has locked any more are removed first. Raises
    BundleError where its disk is full.
    """
    place = Path(parent or tempfile.gettempdir())
    with out_of_room_explained(place):
        with _made_folder(place, f"{'.' if parent else ''}task-bundler.{purpose}.") as folder:
            yield folder


@contextmanager
def _made_folder(place: Path, prefix: str) -> Iterator[Path]:
    _clear_abandoned(place)
    descriptor = None
    try:
        with signals_later():  # within the try: one that waited is raised where the folder is removed
            while descriptor is None:  # None: somebody cleared it before it was locked
                folder = Path(tempfile.mkdtemp(prefix=prefix, dir=place))
                with suppress(FileNotFoundError):
                    descriptor = lock(folder)
            (folder / _MARK).touch()
        yield folder
    finally:
        if descriptor is not None:
            with (
                signals_later(),
                suppress(OSError),
            ):  # a program that is still ending may write into it; the next process clears that
                _remove(folder)
            os.close(descriptor)


def choose_temporary_place() -> None:
    """Set where temporary files go, in the order of Python's tempfile module, but without the file it tries a place
    with: a kill leaves it.
    """
    places = (*filter(None, map(os.environ.get, ("TMPDIR", "TEMP", "TMP"))), "/tmp", "/var/tmp", "/usr/tmp")
    for place in places:
        if os.path.isdir(place) and os.access(place, os.W_OK | os.X_OK):
            tempfile.tempdir = os.path.abspath(place)
            return


def _clear_abandoned(place: Path) -> None:
    """Remove the folders of ours in `place` that no living process has locked: marked ones, and ones still empty."""
    for entry in os.scandir(place):
        if not (_NAME.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False)):
            continue
        folder = Path(entry.path)
        try:
            descriptor = lock(folder)
        except OSError:
            continue  # gone meanwhile, or another user's
        if descriptor is None:
            continue
        try:
            if (folder / _MARK).is_file() or not os.listdir(folder):
                _remove(folder)
        except OSError:
            pass  # another user's
        finally:
            os.close(descriptor)


def _remove(folder: Path) -> None:
    # The mark goes last: a removal that is cut short is taken up by the next process.
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name != _MARK:
            path.unlink(missing_ok=True)
    (folder / _MARK).unlink(missing_ok=True)
    folder.rmdir()
