"""Which file a path names now: told anew each time, so that a change shows."""

from __future__ import annotations

from pathlib import Path
from typing import Hashable


def file_identity(path: Path) -> Hashable:
    """The same as long as the file is the same one and was not written to. Raises OSError where there is none."""
    status = path.stat()
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size
