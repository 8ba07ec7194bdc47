"""The one reader of the ZIP format: the entries of a `.task`, and everything that is wrong with its ZIP.

Nothing is unpacked; memory and time are bounded, whatever the file claims. Readers differ in what they make of a
damaged ZIP, so what two of them could read differently is a defect here; where one has to be followed it is minizip,
with which both engines read. The format is PKWARE's APPNOTE.TXT 6.3; what engines do with it is in docs/CONTAINERS.md.
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass, field, replace
from typing import BinaryIO

ALIGNMENT = 4  # bytes; MediaPipe maps the file and hands the model to TFLite where it lies
LOCAL, CENTRAL, END, END64, LOCATOR64 = b"PK\3\4", b"PK\1\2", b"PK\5\6", b"PK\6\6", b"PK\6\7"
LOCAL_HEADER, CENTRAL_HEADER = struct.Struct("<4s5H3L2H"), struct.Struct("<4s4B4H3L5H2L")
END_RECORD, END64_RECORD, LOCATOR = struct.Struct("<4s4H2LH"), struct.Struct("<4sQ2H2L4Q"), struct.Struct("<4sLQL")
WIDE = 0xFFFFFFFF  # in a 32-bit field: "see the ZIP64 field"

_DIRECTORY_LIMIT, _MOST_ENTRIES = 1 << 20, 1 << 12  # bytes and entries; four entries take 250 bytes
# A directory may claim this many times its stored bytes, if it is not small anyway.
_BOMB_RATIO, _BOMB_SIZE = 100, 1 << 24
_ENCRYPTED, _STREAMED, _UTF8 = 0x1, 0x8, 0x800  # flags
_VERSION = 63  # the newest of the ZIP format, in tenths


@dataclass(frozen=True)
class ZipDefect:
    """`kind`: its code in the doctor's catalog. `entry`: a name, or empty for the whole file. `text`: a clause."""

    kind: str
    entry: str
    text: str


@dataclass(frozen=True)
class ZipEntry:
    """One entry as the directory has it. `record`, `header` and `offset`: the bytes of the file at which its record in
    the directory, its local header and its data begin. `stored` bytes there are `size` bytes of content. `written`:
    the date and time of packing, which tell no entries apart. `sound`: whether its bytes can be used where they lie.
    """

    name: str
    raw_name: bytes
    needed: int
    flags: int
    method: int
    written: tuple[int, int] = field(compare=False)
    crc: int
    stored: int
    size: int
    record: int
    header: int
    offset: int
    sound: bool = False

    @property
    def compressed(self) -> bool:
        return self.method != 0

    @property
    def aligned(self) -> bool:
        return self.offset % ALIGNMENT == 0

    @property
    def crc_fields(self) -> tuple[int, int]:
        """Where its CRC-32 stands in the file: in the local header and in the directory."""
        return self.header + 14, self.record + 16


@dataclass(frozen=True)
class ZipDirectory:
    """`entries`: in the order of the file; None if the directory is not to be found. `defects`: all there are."""

    entries: tuple[ZipEntry, ...] | None
    defects: tuple[ZipDefect, ...]


@dataclass(frozen=True)
class _Place:
    """Where the directory lies, how many entries it should have, and how many bytes stand before the ZIP."""

    start: int
    length: int
    count: int
    base: int


def read_directory(stream: BinaryIO) -> ZipDirectory:
    """Every entry that the directory lists, and every defect; the entries' data is not read."""
    size = stream.seek(0, io.SEEK_END)
    place = _find_directory(stream, size)
    if isinstance(place, ZipDefect):
        return ZipDirectory(None, (place,))
    listed, defects = _records(stream, place)
    entries = []
    for entry in listed:
        entry, wrong = _compare(stream, entry, place.start, size)
        entries.append(entry)
        defects += wrong
    defects += _compare_with_each_other(entries, place.start)
    return ZipDirectory(tuple(sorted(entries, key=lambda entry: entry.offset)), tuple(defects))


def _find_directory(stream: BinaryIO, size: int) -> _Place | ZipDefect:
    # The end record is the last thing in a ZIP but for a comment of at most 65535 bytes.
    stream.seek(max(0, size - 0xFFFF - END_RECORD.size))
    tail = stream.read(0xFFFF + END_RECORD.size)
    at = tail.rfind(END)
    if at < 0 or len(tail) - at < END_RECORD.size:
        return ZipDefect("file-truncated", "", f"a ZIP of {size} bytes without the record that ends one")
    _, disk, first_disk, here, count, length, start, _ = END_RECORD.unpack_from(tail, at)
    end, split = size - len(tail) + at, bool(disk or first_disk or here != count)
    # Python's zipfile, and so MediaPipe's bundler, writes the ZIP64 record from 2 GiB on, where the true numbers still
    # fit the end record too. minizip goes by the ZIP64 record wherever there is one.
    locator = _fields(stream, LOCATOR, LOCATOR64, end - LOCATOR.size, size)
    if locator and (record := _fields(stream, END64_RECORD, END64, locator[2], size)):
        wide = record[7:]
        if any(
            number not in (full, true)
            for number, full, true in zip((count, length, start), (0xFFFF, WIDE, WIDE), wide, strict=True)
        ):
            return _no_directory(
                f"the end record says {count} entries in {length} bytes at byte {start}, its ZIP64 record {wide[0]} "
                f"in {wide[1]} at {wide[2]}"
            )
        split = split or bool(locator[1] or locator[3] > 1 or record[4] or record[5] or record[6] != record[7])
        (count, length, start), end = wide, locator[2]
    elif WIDE in (length, start) or count == 0xFFFF:
        return _no_directory("the end record asks for a ZIP64 record that is not there")
    base = end - length - start
    if split or base < 0 or length > _DIRECTORY_LIMIT or count > _MOST_ENTRIES:
        return _no_directory(
            f"the end record says {count} entries in {length} bytes at byte {start}, and stands at byte {end} of {size}"
        )
    return _Place(base + start, length, count, base)


def _no_directory(text: str) -> ZipDefect:
    return ZipDefect("zip-directory-damaged", "", text)


def _fields(stream: BinaryIO, form: struct.Struct, mark: bytes, at: int, size: int) -> tuple | None:
    """The record that begins with `mark` at byte `at` of a file of `size` bytes; None if there is none."""
    if not 0 <= at <= size - form.size:
        return None
    stream.seek(at)
    data = stream.read(form.size)
    return form.unpack(data) if data[:4] == mark and len(data) == form.size else None


def _records(stream: BinaryIO, place: _Place) -> tuple[list[ZipEntry], list[ZipDefect]]:
    stream.seek(place.start)
    # minizip goes by the count, and so takes a last record that reaches beyond the directory.
    data = stream.read(_DIRECTORY_LIMIT + 0x20000)
    begin, at, entries = -1, 0, []
    while data[at : at + 4] == CENTRAL and len(data) - at >= CENTRAL_HEADER.size:
        _, _, _, needed, _, flags, method, time, date, crc, stored, size, *lengths, _, _, _, header = (
            CENTRAL_HEADER.unpack_from(data, at)
        )
        begin, name_begin = at, at + CENTRAL_HEADER.size
        at += CENTRAL_HEADER.size + sum(lengths)  # of the name, the extra field and the comment
        name_end = name_begin + lengths[0]
        extra = data[name_end : name_end + lengths[1]]
        if len(extra) < lengths[1]:
            break
        raw_name = data[name_begin:name_end]
        name = raw_name.decode("utf-8" if flags & _UTF8 else "cp437", "replace")
        size, stored, header = _widened(extra, size, stored, header)
        sizes, places = (crc, stored, size), (place.start + begin, place.base + header, place.base + header)
        entries.append(ZipEntry(name, raw_name, needed, flags, method, (date, time), *sizes, *places))
    # Some readers go by the count and some by the length: they have to come to the same last record.
    if len(entries) == place.count and begin < place.length <= at:
        return entries, []
    text = (
        f"{len(entries)} readable records in {at} bytes where the end record announces {place.count} in {place.length}"
    )
    return entries, [_no_directory(text)]


def _widened(extra: bytes, size: int, stored: int, header: int) -> tuple[int, int, int]:
    """The three numbers with those that are too large for 32 bits taken from the ZIP64 field, in which only they
    stand.
    """
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        if kind == 1:
            wide = iter(struct.unpack_from(f"<{min(length, len(extra) - at - 4) // 8}Q", extra, at + 4))
            return tuple(next(wide, number) if number == WIDE else number for number in (size, stored, header))
        at += 4 + length
    return size, stored, header


def _compare(stream: BinaryIO, entry: ZipEntry, directory: int, size: int) -> tuple[ZipEntry, list[ZipDefect]]:
    """The entry with the place of its data, and what is wrong with it by itself. `directory`: where that begins."""
    name, defects = entry.name, []

    def tell(kind: str, text: str) -> None:
        defects.append(ZipDefect(kind, name, text))

    if not name or name in (".", "..") or any(character in "/\\:" or not character.isprintable() for character in name):
        tell("entry-name-path", f"an entry named {name!r}, which could be a path")
    if entry.needed > _VERSION:
        tell(
            "entry-header-mismatch",
            f"it asks for a reader of ZIP {entry.needed / 10}; the newest is {_VERSION / 10}",
        )
    if entry.flags & _ENCRYPTED:
        tell("entry-encrypted", "the entry is encrypted")
    if entry.compressed:
        tell("entry-compressed", f"compression method {entry.method}, {entry.size} bytes stored as {entry.stored}")
        if entry.size > max(_BOMB_SIZE, _BOMB_RATIO * max(1, entry.stored)):
            tell("zip-bomb", f"{entry.stored} bytes that claim to unfold to {entry.size}")
    elif entry.size != entry.stored:
        tell("entry-header-mismatch", f"stored, yet of {entry.size} bytes it takes {entry.stored}")
    if entry.header > size - LOCAL_HEADER.size or entry.header + entry.stored > size:
        tell("entry-outside-file", f"{entry.stored} bytes after a header at byte {entry.header} of {size}")
        return entry, defects
    offset, contradiction = _read_local_header(stream, entry, size)
    end = offset + entry.stored
    if contradiction:
        tell("entry-header-mismatch", contradiction)
    elif end > size:
        tell("entry-outside-file", f"{entry.stored} bytes at byte {offset} of {size}")
    elif end > directory:
        tell("entry-overlap", f"ends at byte {end}, inside the directory that begins at {directory}")
    else:
        sound = entry.size == entry.stored and not entry.compressed and not entry.flags & _ENCRYPTED
        return replace(entry, offset=offset, sound=sound), defects
    return replace(entry, offset=offset), defects


def _read_local_header(stream: BinaryIO, entry: ZipEntry, size_of_file: int) -> tuple[int, str]:
    """(where the data begins, what contradicts the directory)."""
    fields = _fields(stream, LOCAL_HEADER, LOCAL, entry.header, size_of_file)
    if fields is None:
        return entry.header, f"no local header at byte {entry.header}"
    _, _, flags, method, _, _, crc, stored, size, name_size, extra_size = fields
    name, extra = stream.read(name_size), stream.read(extra_size)
    offset = entry.header + LOCAL_HEADER.size + name_size + extra_size
    size, stored, _ = _widened(extra, size, stored, 0)
    if name != entry.raw_name or len(extra) < extra_size:
        return offset, f"the local header names {name!r}"
    if method != entry.method or (flags ^ entry.flags) & _ENCRYPTED:
        return offset, (
            f"the local header says compression {method} and flags {flags:#x}, the directory {entry.method} and "
            f"{entry.flags:#x}"
        )
    # A streaming writer put sizes and CRC after the data, so the local header holds none.
    if not flags & _STREAMED and (crc, stored, size) != (entry.crc, entry.stored, entry.size):
        return offset, (
            f"the local header says {size} bytes and CRC {crc:08x}, the directory {entry.size} and {entry.crc:08x}"
        )
    return offset, ""


def _compare_with_each_other(entries: list[ZipEntry], directory: int) -> list[ZipDefect]:
    defects, seen, end, last = [], set(), 0, ""
    for entry in sorted(entries, key=lambda entry: entry.header):
        if entry.header < end:
            defects.append(
                ZipDefect(
                    "entry-overlap", entry.name, f"begins at byte {entry.header}, inside {last}, which ends at {end}"
                )
            )
        if entry.name in seen:
            defects.append(ZipDefect("entry-duplicated", entry.name, "there are two entries of this name"))
        seen.add(entry.name)
        # What is said to end beyond the file has a defect of its own, and covers nothing.
        if directory >= entry.offset + entry.stored > end:
            end, last = entry.offset + entry.stored, entry.name
    unfolded, stored = sum(entry.size for entry in entries), sum(entry.stored for entry in entries)
    if unfolded > max(_BOMB_SIZE, _BOMB_RATIO * max(stored, directory)):
        defects.append(ZipDefect("zip-bomb", "", f"entries that claim {unfolded} bytes in a file of {directory}"))
    return defects
