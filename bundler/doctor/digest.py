"""Checksums of a bundle's parts, streamed."""

from __future__ import annotations

import hashlib
import zlib

from bundler.errors import BundleError
from bundler.system.file_section import FileSection


class Digests:
    """Sections of one file, read once each: together never more than the file has, whatever its directory claims."""

    def __init__(self, file_size: int) -> None:
        self._left = file_size

    def of(self, section: FileSection) -> tuple[str, int] | None:
        """(SHA-256, CRC-32) of a section; None where sections overlap, so that reading all would take longer than the
        file is.
        """
        if section.size > self._left:
            return None
        self._left -= section.size
        sha256, crc = hashlib.sha256(), 0
        try:
            for chunk in section.chunks():
                sha256.update(chunk)
                crc = zlib.crc32(chunk, crc)
        except BundleError:  # the file became shorter under us
            return None
        return sha256.hexdigest(), crc
