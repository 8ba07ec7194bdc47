"""Files that appear whole or not at all: written beside their place, then renamed into it."""

from __future__ import annotations

import os
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Iterator

from bundler.errors import BundleError


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Yield a seekable file open for writing and reading that becomes `path` when the block ends well.

    Until then `path` is untouched. The bytes are on the disk (fsync) before the rename, so a power cut
    leaves the old file or the new one. If the block raises anything at all, Ctrl-C included, the partial
    file is removed. Raises BundleError where the operating system refuses (no folder, no space, no right).
    """
    path = Path(path)
    # A name of our own in the same folder: a rename is atomic only within one file system.
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        try:
            with open(partial, "x+b") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(partial, path)
            _sync_folder(path.parent)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise BundleError(f"{path}: could not be written ({error.strerror or error}); "
                          "expected a writable folder with room for the file; give another output path") from error


def _sync_folder(folder: Path) -> None:
    # The rename itself is durable only once the folder is; not every file system lets a folder be synced.
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
