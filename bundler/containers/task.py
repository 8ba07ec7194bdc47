"""The MediaPipe `.task` container: a ZIP whose entries are stored, aligned to 4 bytes and found by name.

Written without zipfile so that a model of any size streams through, the bytes depend on the entries alone, and
the alignment is MediaPipe's. docs/CONTAINERS.md explains the bytes; the ZIP format is PKWARE's APPNOTE.TXT 6.3.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Iterator, Mapping

from bundler.containers.llm_parameters import LlmParameters
from bundler.errors import BundleError
from bundler.system.atomic_file import replacing
from bundler.system.file_section import FileSection

MODEL, TOKENIZER, METADATA = "TF_LITE_PREFILL_DECODE", "TOKENIZER_MODEL", "METADATA"
ALIGNMENT = 4  # bytes; MediaPipe maps the file and hands the model to TFLite where it lies
# A 32-bit ZIP field holds less than this, which itself means "see the ZIP64 field". MediaPipe's writer turns to
# ZIP64 earlier, at Python's own limit of 2 GiB; both engines read either form.
ZIP64_FROM = 0xFFFFFFFF

_LOCAL, _CENTRAL, _END = b"PK\3\4", b"PK\1\2", b"PK\5\6"
_END64, _LOCATOR64 = b"PK\6\6", b"PK\6\7"
_LOCAL_HEADER, _CENTRAL_HEADER = struct.Struct("<4s5H3L2H"), struct.Struct("<4s4B4H3L5H2L")
_STORED, _FIRST_DATE = 0, 0x21  # 1980-01-01, the earliest ZIP can say: the same entries give the same bytes
_VERSION, _VERSION64 = 20, 45  # of the ZIP format a reader needs, in tenths
_UNIX, _OWNER_READ_WRITE = 3, 0o600 << 16  # what zipfile, and so MediaPipe, puts in the directory
_METADATA_LIMIT = 1 << 20  # bytes; real metadata is under a kilobyte


@dataclass(frozen=True)
class TaskEntry:
    """One entry: where its data lies in the file (bytes), its CRC-32, and whether an engine can use it in place."""

    name: str
    offset: int
    size: int
    crc: int
    aligned: bool
    compressed: bool


@dataclass(frozen=True)
class TaskFile:
    """The directory of a `.task` file; the data stays on disk."""

    path: Path
    entries: tuple[TaskEntry, ...]

    def entry(self, name: str) -> TaskEntry:
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
        if (size := self.entry(METADATA).size) > _METADATA_LIMIT:
            raise BundleError(
                f"{self.path}: METADATA of {size} bytes; expected under a kilobyte; build the bundle again"
            )
        return LlmParameters.decode(self.read_entry(METADATA))

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
    if list(entries)[:3] != [MODEL, TOKENIZER, METADATA]:
        raise BundleError(
            f"{path}: entries {list(entries)}; a .task begins with {MODEL}, {TOKENIZER}, {METADATA}, in this order"
        )
    for name in entries:
        if (
            not (name.isascii() and name.replace("_", "a").replace(".", "a").isalnum())
            or name.startswith(".")
            or len(name) > 255
        ):
            raise BundleError(f"entry name {name!r}; expected letters, digits, _ and . such as {METADATA}; rename it")
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
        with zipfile.ZipFile(path) as archive:
            found, directory_start = archive.infolist(), archive.start_dir
    except OSError as error:
        raise BundleError(
            f"{path}: cannot be read ({error.strerror or error}); expected a .task file; check the path"
        ) from error
    # zipfile lets several kinds of error through on hostile bytes.
    except (zipfile.BadZipFile, struct.error, ValueError, NotImplementedError, OverflowError, MemoryError) as error:
        raise BundleError(
            f"{path}: not a readable ZIP ({error}); expected a .task file, which is an uncompressed ZIP; "
            "the file may be cut short, so copy or download it again"
        ) from error
    entries, end = [], 0
    with open(path, "rb") as stream:
        # zipfile stops quietly where a record of the directory swallows those after it.
        if (count := _announced_entries(stream)) != len(found):
            raise _damaged(path, f"{len(found)} entries where its end record announces {count}")
        for info in sorted(found, key=lambda info: info.header_offset):
            if not end <= info.header_offset < directory_start:
                raise _damaged(
                    path,
                    f"{info.orig_filename!r} begins at byte {info.header_offset}, outside the bytes {end} to "
                    f"{directory_start} that the entries before it and the directory leave",
                )
            entry = _read_entry(path, stream, info)
            end = entry.offset + info.compress_size
            if end > directory_start:
                raise _damaged(path, f"{entry.name} ends at byte {end}, past the directory at {directory_start}")
            entries.append(entry)
    names = [entry.name for entry in entries]
    if len(set(names)) < len(names):
        raise _damaged(path, f"two entries of one name among {names}")
    return TaskFile(path, tuple(entries))


def write_crc(stream: BinaryIO, name: str, crc: int) -> None:
    """In a `.task` of our own writing, open for writing, say that the entry `name` has this CRC-32.

    To be called after its bytes were changed in place; every reader that checks would refuse it otherwise.
    """
    with zipfile.ZipFile(stream) as archive:
        header, record = archive.getinfo(name).header_offset, archive.start_dir
        before = archive.namelist()[: archive.namelist().index(name)]
    for _ in before:
        stream.seek(record)
        *_, name_size, extra_size, comment_size, _, _, _, _ = _CENTRAL_HEADER.unpack(stream.read(_CENTRAL_HEADER.size))
        record += _CENTRAL_HEADER.size + name_size + extra_size + comment_size
    for field in (header + 14, record + 16):  # where CRC-32 stands in the local header and in the directory's record
        stream.seek(field)
        stream.write(crc.to_bytes(4, "little"))


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
    shown = 0xFFFFFFFF if zip64 else size
    return (
        _LOCAL_HEADER.pack(
            _LOCAL,
            _VERSION64 if zip64 else _VERSION,
            0,
            _STORED,
            0,
            _FIRST_DATE,
            crc,
            shown,
            shown,
            len(name),
            len(extra),
        )
        + name.encode()
        + extra
    )


def _central_header(name: str, crc: int, size: int, offset: int, zip64_from: int) -> bytes:
    wide = [*([size, size] if size >= zip64_from else []), *([offset] if offset >= zip64_from else [])]
    extra = struct.pack(f"<2H{len(wide)}Q", 1, 8 * len(wide), *wide) if wide else b""
    version = _VERSION64 if wide else _VERSION
    shown = 0xFFFFFFFF if size >= zip64_from else size
    return (
        _CENTRAL_HEADER.pack(
            _CENTRAL,
            version,
            _UNIX,
            version,
            0,
            0,
            _STORED,
            0,
            _FIRST_DATE,
            crc,
            shown,
            shown,
            len(name),
            len(extra),
            0,
            0,
            0,
            _OWNER_READ_WRITE,
            0xFFFFFFFF if offset >= zip64_from else offset,
        )
        + name.encode()
        + extra
    )


def _write_directory(stream: BinaryIO, records: list[bytes], zip64_from: int) -> None:
    start, size, count = stream.tell(), sum(map(len, records)), len(records)
    stream.write(b"".join(records))
    if start >= zip64_from or size >= zip64_from:
        # 44: the length of this record after its own length field.
        stream.write(struct.pack("<4sQ2H2L4Q", _END64, 44, _VERSION64, _VERSION64, 0, 0, count, count, size, start))
        stream.write(struct.pack("<4sLQL", _LOCATOR64, 0, start + size, 1))
        start, size = min(start, 0xFFFFFFFF), min(size, 0xFFFFFFFF)
    stream.write(struct.pack("<4s4H2LH", _END, 0, 0, count, count, size, start, 0))


def _announced_entries(stream: BinaryIO) -> int:
    # The end record is the last thing in a ZIP but for a comment of at most 65535 bytes.
    stream.seek(max(0, stream.seek(0, 2) - 0xFFFF - 22))
    tail = stream.read()
    return int.from_bytes(tail[(at := tail.rfind(_END)) + 10 : at + 12], "little")


def _read_entry(path: Path, stream: BinaryIO, info: zipfile.ZipInfo) -> TaskEntry:
    name = info.orig_filename
    if not name or name in (".", "..") or any(character in "/\\:" or not character.isprintable() for character in name):
        raise _damaged(path, f"an entry named {name!r}, which could be a path")
    if info.flag_bits & 0x1:
        raise _damaged(path, f"{name} is encrypted")
    stream.seek(info.header_offset)
    header = stream.read(_LOCAL_HEADER.size)
    if len(header) < _LOCAL_HEADER.size or header[:4] != _LOCAL:
        raise _damaged(path, f"no local header for {name} at byte {info.header_offset}")
    _, _, flags, method, _, _, crc, stored, size, name_size, extra_size = _LOCAL_HEADER.unpack(header)
    name_here = stream.read(name_size)
    extra = stream.read(extra_size)
    encoding = "utf-8" if flags & 0x800 else "cp437"
    if len(extra) < extra_size or name_here != name.encode(encoding, "replace") or method != info.compress_type:
        raise _damaged(path, f"the local header of {name} names {name_here!r} with compression {method}")
    if 0xFFFFFFFF in (stored, size) and len(extra) >= 20 and extra[:4] == b"\1\0\x10\0":
        size, stored = struct.unpack("<2Q", extra[4:20])
    # Bit 3: a streaming writer put sizes and CRC after the data, so the local header holds none.
    if not flags & 0x8 and (crc, stored, size) != (info.CRC, info.compress_size, info.file_size):
        raise _damaged(
            path,
            f"{name} has {size} bytes and CRC {crc:08x} in its local header, "
            f"{info.file_size} and {info.CRC:08x} in the directory",
        )
    compressed = info.compress_type != _STORED
    if not compressed and info.compress_size != info.file_size:
        raise _damaged(path, f"{name} is stored, yet of {info.file_size} bytes takes {info.compress_size}")
    offset = info.header_offset + _LOCAL_HEADER.size + name_size + extra_size
    return TaskEntry(name, offset, info.file_size, info.CRC, not compressed and offset % ALIGNMENT == 0, compressed)


def _damaged(path: Path, found: str) -> BundleError:
    return BundleError(
        f"{path}: {found}; expected the separate, stored entries of a .task bundle; "
        "the file is damaged or was not made by a bundler: copy it again or build it again"
    )
