"""Locks that the kernel lets go when their process ends, however it ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


def lock(path: Path, flags: int = os.O_RDONLY) -> int | None:
    """Open `path`, a file or a folder, under an exclusive lock; the descriptor, or None if a living process holds it.

    Closing the descriptor unlocks. Whoever holds the lock may delete the path, so after locking it is looked at again:
    a path that is gone, or is another file by now, is tried once more. Raises OSError if the path cannot be opened.
    """
    while True:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), os.stat(path, follow_symlinks=False)):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
