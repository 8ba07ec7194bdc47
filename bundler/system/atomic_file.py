"""Files that appear whole or not at all: written beside their place, then renamed into it."""

from __future__ import annotations

import os
import re
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Iterator

from bundler.errors import BundleError
from bundler.system.file_lock import lock
from bundler.system.signals import signals_later


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Yield a seekable file open for writing and reading that becomes `path` when the block ends well.

    Until then `path` is untouched. The bytes are on the disk (fsync) before the rename, so a power cut
    leaves the old file or the new one. If the block raises anything at all, Ctrl-C included, the partial
    file is removed; what a killed process left of an earlier one is removed too. Raises BundleError where the
    operating system refuses (no folder, no space, no right).
    """
    path = Path(path)
    partial = None
    try:
        _clear_abandoned(path)
        try:
            with signals_later():  # within the try: one that waited is raised where the file is removed
                partial, descriptor = _locked_partial(path)
            with open(descriptor, "w+b") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
                os.replace(partial, path)
            sync_folder(path.parent)
        except BaseException:
            if partial is not None:
                partial.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise BundleError(
            f"{path}: could not be written ({error.strerror or error}); "
            "expected a writable folder with room for the file; give another output path"
        ) from error


def _locked_partial(path: Path) -> tuple[Path, int]:
    """A new file and its descriptor, locked as a sign that its writer lives."""
    while True:
        # In the same folder: a rename is atomic only within one file system.
        partial = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.partial")
        descriptor = lock(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        if descriptor is not None:  # else another process took it for abandoned before it was locked, and removes it
            return partial, descriptor


def _clear_abandoned(path: Path) -> None:
    """Remove the partial files of `path` that no living process has locked."""
    name = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{8}}\.partial")
    for entry in os.scandir(path.parent):
        if not (name.fullmatch(entry.name) and entry.is_file(follow_symlinks=False)):
            continue
        try:
            descriptor = lock(Path(entry.path))
        except OSError:
            continue  # gone meanwhile, or not ours to open
        if descriptor is not None:
            os.unlink(entry.path)
            os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Bring the folder's names to the disk: a rename is durable only then; not every file system lets a folder be
    synced.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)
