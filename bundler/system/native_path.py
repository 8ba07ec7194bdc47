"""Names of files for native code, which takes them as UTF-8."""

from __future__ import annotations

import os
from pathlib import Path

from bundler.errors import BundleError


def native_path(path: Path, reader: str) -> str:
    """`path` as `reader` takes it. Raises BundleError if it has bytes that are no UTF-8, which Linux allows."""
    try:
        os.fsencode(path).decode()
    except UnicodeDecodeError:
        raise BundleError(
            f"{path}: this name is not UTF-8, and {reader} opens no others; rename the file or its folder"
        ) from None
    return str(path)
