"""A run of bytes inside a larger file: what a container's entry is, without reading it."""

from __future__ import annotations

import io
import mmap
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Iterator

from bundler.errors import BundleError

CHUNK = 1 << 20  # bytes moved at a time: large enough for full disk speed, small beside any model


@dataclass(frozen=True)
class FileSection:
    """`size` bytes of `path` from `offset`. `name` is what messages call them."""

    path: Path
    offset: int
    size: int
    name: str = "section"

    @classmethod
    def whole(cls, path: Path) -> FileSection:
        """All of a file. Raises BundleError if it cannot be read."""
        with _opened(Path(path)) as stream:
            return cls(Path(path), 0, stream.seek(0, io.SEEK_END), str(path))

    def chunks(self) -> Iterator[bytes]:
        """The bytes in order, at most CHUNK at a time. Raises BundleError if the file ends before they do."""
        left = self.size
        with _opened(self.path) as stream:
            stream.seek(self.offset)
            while left:
                chunk = stream.read(min(CHUNK, left))
                if not chunk:
                    raise BundleError(
                        f"{self.path}: {self.name} ends {left} bytes early; expected {self.size} bytes from offset "
                        f"{self.offset}; the file changed or was cut short, so copy or build it again"
                    )
                left -= len(chunk)
                yield chunk

    def read(self) -> bytes:
        """All the bytes at once: for small sections, not for models."""
        return b"".join(self.chunks())

    def copy_to(self, destination: Path) -> None:
        """Stream the bytes into a file. Not atomic: for temporary folders."""
        with open(destination, "wb") as file:
            file.writelines(self.chunks())

    @contextmanager
    def map(self) -> Iterator[memoryview]:
        """The bytes as a read-only view that the operating system pages in; release slices of it before leaving."""
        if not self.size:  # an empty range cannot be mapped
            yield memoryview(b"")
            return
        start = self.offset - self.offset % mmap.ALLOCATIONGRANULARITY
        with _opened(self.path) as stream:
            try:
                mapped = mmap.mmap(
                    stream.fileno(), self.offset - start + self.size, offset=start, access=mmap.ACCESS_READ
                )
            except (ValueError, OSError) as error:
                raise BundleError(
                    f"{self.path}: {self.name} cannot be mapped ({error}); expected {self.size} bytes from offset "
                    f"{self.offset}; copy or build the file again"
                ) from error
        with mapped, memoryview(mapped) as whole, whole[self.offset - start :] as view:
            yield view


def _opened(path: Path) -> BinaryIO:
    try:
        return open(path, "rb", buffering=0)
    except OSError as error:
        raise BundleError(
            f"{path}: cannot be read ({error.strerror or error}); expected a file; check the path"
        ) from error
