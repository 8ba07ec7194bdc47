"""What the operating system says when a disk is full, in a sentence that names the place."""

from __future__ import annotations

import errno
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

from safetensors import SafetensorError

from bundler.errors import BundleError

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)


@contextmanager
def out_of_room_explained(place: Path) -> Iterator[None]:
    """Raise BundleError in place of errors that say that nothing more can be written to `place`."""
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        raise BundleError(_sentence(place, error.strerror)) from error
    except SafetensorError as error:  # what it raises for a disk that is full has no number
        raise BundleError(_sentence(place, error)) from error


def _sentence(place: Path, why: object) -> str:
    return (
        f"{place} could not be written ({why}); expected a writable disk with room for it; make room, or give another "
        "output, or another TMPDIR for temporary files"
    )
