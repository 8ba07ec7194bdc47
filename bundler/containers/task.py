"""The MediaPipe `.task` container: a ZIP whose entries are stored, aligned to 4 bytes and found by name.

Written without zipfile so that a model of any size streams through, the bytes depend on the entries alone, and
the alignment is MediaPipe's; read with `zip_directory`. docs/CONTAINERS.md explains the bytes.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Iterator, Mapping

from bundler.containers.llm_parameters import LlmParameters
from bundler.containers.zip_directory import (
    ALIGNMENT,
    CENTRAL,
    CENTRAL_HEADER,
    END,
    END64,
    END64_RECORD,
    END_RECORD,
    LOCAL,
    LOCAL_HEADER,
    LOCATOR,
    LOCATOR64,
    WIDE,
    ZipDefect,
    ZipEntry,
    read_directory,
)
from bundler.errors import BundleError
from bundler.system.atomic_file import replacing
from bundler.system.file_section import FileSection

MODEL_ENTRY, TOKENIZER_ENTRY, METADATA_ENTRY = "TF_LITE_PREFILL_DECODE", "TOKENIZER_MODEL", "METADATA"
# MediaPipe's writer turns to ZIP64 earlier, at Python's own limit of 2 GiB; both engines read either form.
ZIP64_FROM = WIDE

_STORED, _FIRST_DATE = 0, 0x21  # 1980-01-01, the earliest ZIP can say: the same entries give the same bytes
_VERSION, _VERSION64 = 20, 45  # of the ZIP format a reader needs, in tenths
_UNIX, _OWNER_READ_WRITE = 3, 0o600 << 16  # what zipfile, and so MediaPipe, puts in the directory
_METADATA_LIMIT = 1 << 20  # bytes; real metadata is under a kilobyte
# Defects that an entry shows, and that matter to nobody who does not read it.
_SHOWN = ("entry-compressed", "zip-bomb")


@dataclass(frozen=True)
class TaskFile:
    """The directory of a `.task` file; the data stays on disk."""

    path: Path
    entries: tuple[ZipEntry, ...]

    def entry(self, name: str) -> ZipEntry:
        """Raises BundleError if there is none of that name."""
        for entry in self.entries:
            if entry.name == name:
                return entry
        raise BundleError(
            f"{self.path}: no entry {name}, only {', '.join(entry.name for entry in self.entries) or 'none at all'}; "
            "expected a .task bundle of an LLM; check that this is the right file"
        )

    def section(self, name: str) -> FileSection:
        """The entry's bytes in the file. Raises BundleError if they are compressed: engines refuse that, and so do
        we.
        """
        entry = self.entry(name)
        if entry.compressed:
            raise BundleError(
                f"{self.path}: {name} is compressed; engines map it in place and expect it stored; "
                "build the bundle again, or repack it with `zip -0`"
            )
        return FileSection(self.path, entry.offset, entry.size, name)

    def read_entry(self, name: str) -> bytes:
        """The whole entry in memory. Raises BundleError if its CRC is wrong."""
        return b"".join(self._checked(name))

    def copy_entry(self, name: str, destination: Path) -> None:
        """Stream the entry into a file, which appears only if the CRC is right; BundleError otherwise."""
        with replacing(Path(destination)) as stream:
            for chunk in self._checked(name):
                stream.write(chunk)

    def check_entry(self, name: str) -> None:
        """Read the entry through, in bounded memory. Raises BundleError if its CRC is wrong."""
        for _ in self._checked(name):
            pass

    def parameters(self) -> LlmParameters:
        """The METADATA entry, decoded. Raises BundleError if it is none, damaged or absurdly large."""
        if (size := self.entry(METADATA_ENTRY).size) > _METADATA_LIMIT:
            raise BundleError(
                f"{self.path}: METADATA of {size} bytes; expected under a kilobyte; build the bundle again"
            )
        return LlmParameters.decode(self.read_entry(METADATA_ENTRY))

    def _checked(self, name: str) -> Iterator[bytes]:
        expected, crc = self.entry(name).crc, 0
        for chunk in self.section(name).chunks():
            crc = zlib.crc32(chunk, crc)
            yield chunk
        if crc != expected:
            raise BundleError(
                f"{self.path}: {name} is damaged: its bytes have CRC-32 {crc:08x}, the bundle says {expected:08x}; "
                "copy or download the file again"
            )


def write_task(path: Path, entries: Mapping[str, Path | bytes | FileSection], *, zip64_from: int = ZIP64_FROM) -> None:
    """Write a `.task` file whose bytes are a function of the entries alone.

    `entries`: name -> a file, or a part of one, to stream, or the bytes themselves, in order: TF_LITE_PREFILL_DECODE,
    TOKENIZER_MODEL, METADATA, then any others. Memory does not grow with them. Sizes and offsets of `zip64_from` bytes
    and more use ZIP64 fields. Raises BundleError for a missing, misplaced or ill-named entry and an unreadable source;
    `path` is then as it was.
    """
    if list(entries)[:3] != [MODEL_ENTRY, TOKENIZER_ENTRY, METADATA_ENTRY]:
        raise BundleError(
            f"{path}: entries {list(entries)}; a .task begins with {MODEL_ENTRY}, {TOKENIZER_ENTRY}, {METADATA_ENTRY}, "
            "in this order"
        )
    for name in entries:
        if (
            not (name.isascii() and name.replace("_", "a").replace(".", "a").isalnum())
            or name.startswith(".")
            or len(name) > 255
        ):
            raise BundleError(
                f"entry name {name!r}; expected letters, digits, _ and . such as {METADATA_ENTRY}; rename it"
            )
    with replacing(Path(path)) as stream:
        directory = [_write_entry(stream, name, source, zip64_from) for name, source in entries.items()]
        _write_directory(stream, directory, zip64_from)


def read_task(path: Path) -> TaskFile:
    """The directory of a `.task` file, checked against the local headers; entry data is not read.

    Raises BundleError for what is no ZIP or a damaged or deceptive one: truncated, split, encrypted, entries that
    overlap, lie outside, differ from their local header, share a name or have one that could be a path. Compressed and
    misaligned entries are reported in the entry, not refused.
    """
    path = Path(path)
    try:
        with open(path, "rb") as stream:
            directory = read_directory(stream)
    except OSError as error:
        raise BundleError(
            f"{path}: cannot be read ({error.strerror or error}); expected a .task file; check the path"
        ) from error
    for defect in directory.defects:
        if defect.kind not in _SHOWN:
            raise BundleError(f"{path}: {_refusal(defect)}")
    return TaskFile(path, directory.entries)


def write_crc(stream: BinaryIO, name: str, crc: int) -> None:
    """In a `.task` of our own writing, open for writing, say that the entry `name` has this CRC-32.

    To be called after its bytes were changed in place; every reader that checks would refuse it otherwise.
    """
    entry = next(entry for entry in read_directory(stream).entries if entry.name == name)
    for field in entry.crc_fields:
        stream.seek(field)
        stream.write(crc.to_bytes(4, "little"))


def _refusal(defect: ZipDefect) -> str:
    if defect.kind.startswith("entry-"):
        return (
            f"entry {defect.entry!r}: {defect.text}; expected the separate, stored entries of a .task bundle; "
            "the file is damaged or was not made by a bundler: copy it again or build it again"
        )
    return (
        f"not a readable ZIP ({defect.text}); expected a .task file, which is an uncompressed ZIP; "
        "the file may be cut short, so copy or download it again"
    )


def _write_entry(stream: BinaryIO, name: str, source: Path | bytes | FileSection, zip64_from: int) -> bytes:
    """Write padding, local header and data; return the entry's record for the directory."""
    if isinstance(source, Path):
        source = FileSection.whole(source)
    size = len(source) if isinstance(source, bytes) else source.size
    zip64 = size >= zip64_from
    header_size = len(_local_header(name, 0, 0, zip64))
    # Zeros go before the header, 1 to 4 of them: MediaPipe's writer does not skip a whole word of padding, and its
    # web engine knows a converted model by the `PK` this leaves at bytes 4 and 5.
    padding = ALIGNMENT - (stream.tell() + header_size) % ALIGNMENT
    offset = stream.tell() + padding
    stream.write(bytes(padding + header_size))
    crc = 0
    for chunk in [source] if isinstance(source, bytes) else source.chunks():
        crc = zlib.crc32(chunk, crc)
        stream.write(chunk)
    end = stream.tell()
    stream.seek(offset)
    stream.write(_local_header(name, crc, size, zip64))
    stream.seek(end)
    return _central_header(name, crc, size, offset, zip64_from)


def _local_header(name: str, crc: int, size: int, zip64: bool) -> bytes:
    extra = struct.pack("<2H2Q", 1, 16, size, size) if zip64 else b""
    version, shown = (_VERSION64, WIDE) if zip64 else (_VERSION, size)
    lengths = len(name), len(extra)
    header = LOCAL_HEADER.pack(LOCAL, version, 0, _STORED, 0, _FIRST_DATE, crc, shown, shown, *lengths)
    return header + name.encode() + extra


def _central_header(name: str, crc: int, size: int, offset: int, zip64_from: int) -> bytes:
    wide = [*([size, size] if size >= zip64_from else []), *([offset] if offset >= zip64_from else [])]
    extra = struct.pack(f"<2H{len(wide)}Q", 1, 8 * len(wide), *wide) if wide else b""
    version = _VERSION64 if wide else _VERSION
    shown, shown_offset = (WIDE if number >= zip64_from else number for number in (size, offset))
    header = CENTRAL_HEADER.pack(
        *(CENTRAL, version, _UNIX, version, 0, 0, _STORED, 0, _FIRST_DATE, crc, shown, shown),
        *(len(name), len(extra), 0, 0, 0, _OWNER_READ_WRITE, shown_offset),
    )
    return header + name.encode() + extra


def _write_directory(stream: BinaryIO, records: list[bytes], zip64_from: int) -> None:
    start, size, count = stream.tell(), sum(map(len, records)), len(records)
    stream.write(b"".join(records))
    if start >= zip64_from or size >= zip64_from:
        # 44: the length of this record after its own length field.
        stream.write(END64_RECORD.pack(END64, 44, _VERSION64, _VERSION64, 0, 0, count, count, size, start))
        stream.write(LOCATOR.pack(LOCATOR64, 0, start + size, 1))
        start, size = min(start, WIDE), min(size, WIDE)
    stream.write(END_RECORD.pack(END, 0, 0, count, count, size, start, 0))
