"""The entries of a `.task` and everything that is wrong with its ZIP; `task_file.read_task` refuses at the first
defect, this goes on.

Nothing is unpacked. The format is PKWARE's APPNOTE.TXT 6.3; what engines do with it is in docs/CONTAINERS.md.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from bundler.containers.task import ALIGNMENT, METADATA, MODEL, TOKENIZER
from bundler.doctor.report import Finding
from bundler.system.file_section import FileSection

_LOCAL, _CENTRAL, _END, _END64, _LOCATOR64 = b"PK\3\4", b"PK\1\2", b"PK\5\6", b"PK\6\6", b"PK\6\7"
_LOCAL_HEADER, _CENTRAL_HEADER = struct.Struct("<4s5H3L2H"), struct.Struct("<4s6H3L5H2L")
_END_RECORD, _END64_RECORD, _LOCATOR = struct.Struct("<4s4H2LH"), struct.Struct("<4sQ2H2L4Q"), struct.Struct("<4sLQL")
_WIDE = 0xFFFFFFFF  # in a 32-bit field: "see the ZIP64 field"
_DIRECTORY_LIMIT, _MOST_ENTRIES = 1 << 20, 1 << 12  # bytes and entries; four entries take 250 bytes
_BOMB_RATIO, _BOMB_SIZE = (
    100,
    1 << 24,
)  # a directory may claim this many times its stored bytes, if it is not small anyway
_ENCRYPTED, _STREAMED = 0x1, 0x8  # flags
_VERSION = 63  # of the ZIP format, in tenths


@dataclass(frozen=True)
class SurveyedEntry:
    """One entry as the directory has it. `section`: its bytes in the file, None if they cannot be used where they
    lie.
    """

    name: str
    offset: int
    size: int
    stored: int
    crc: int
    method: int
    written: tuple[int, int]
    section: FileSection | None

    @property
    def aligned(self) -> bool:
        return self.offset % ALIGNMENT == 0


@dataclass(frozen=True)
class _Record:
    name: str
    raw_name: bytes
    needed: int
    flags: int
    method: int
    written: tuple[int, int]
    crc: int
    stored: int
    size: int
    header: int


def survey_zip(path: Path, size: int) -> tuple[list[SurveyedEntry], list[Finding]]:
    """Every entry the directory lists, in the order of the file, and the findings."""
    with open(path, "rb") as stream:
        start, count, base, findings = _directory(stream, size)
        if findings:
            return [], findings
        stream.seek(start)
        records, findings = _records(stream.read(_end_of(stream, start, size)), count, base)
        entries = []
        for record in records:
            entry, found = _entry(stream, path, record, start, size)
            entries.append((record, entry))
            findings += found
    findings += _against_each_other(entries, start)
    names = [entry.name for _, entry in entries]
    for name in (MODEL, TOKENIZER, METADATA):
        if name not in names:
            listed = ", ".join(sorted(names)[:8]) or "none at all"
            findings.append(Finding("entry-missing", name, f"no entry of this name, only {listed}"))
    with open(path, "rb") as stream:
        beginning = stream.read(6)
    if beginning[4:6] != b"PK":
        findings.append(Finding("web-start-bytes", "", f"the file begins with {beginning!r}"))
    return sorted((entry for _, entry in entries), key=lambda entry: entry.offset), findings


def _directory(stream: BinaryIO, size: int) -> tuple[int, int, int, list[Finding]]:
    """(start of the directory, entries it should have, bytes before the ZIP, findings that end the survey)."""
    # The end record is the last thing in a ZIP but for a comment of at most 65535 bytes.
    stream.seek(max(0, size - 0xFFFF - _END_RECORD.size))
    tail = stream.read()
    at = tail.rfind(_END)
    if at < 0 or len(tail) - at < _END_RECORD.size:
        return 0, 0, 0, [Finding("file-truncated", "", f"a ZIP of {size} bytes without the record that ends one")]
    _, disk, first_disk, here, count, length, start, _ = _END_RECORD.unpack_from(tail, at)
    end = size - len(tail) + at
    # Python's zipfile, and so MediaPipe's bundler, writes the ZIP64 record from 2 GiB on, where the true numbers still
    # fit the end record too. minizip, with which both engines read, goes by the ZIP64 record wherever there is one.
    if (wide := _end64(stream, end, size)) is not None:
        if any(
            number not in (full, true)
            for number, full, true in zip((count, length, start), (0xFFFF, _WIDE, _WIDE), wide)
        ):
            return (
                0,
                0,
                0,
                [
                    Finding(
                        "zip-directory-damaged",
                        "",
                        f"the end record says {count} entries in {length} bytes at byte {start}, its "
                        f"ZIP64 record {wide[0]} in {wide[1]} at {wide[2]}",
                    )
                ],
            )
        count, length, start, end = wide
        here = count
    elif _WIDE in (length, start) or count == 0xFFFF:
        return (
            0,
            0,
            0,
            [Finding("zip-directory-damaged", "", "the end record asks for a ZIP64 record that is not there")],
        )
    base = end - length - start
    if disk or first_disk or here != count or base < 0 or length > _DIRECTORY_LIMIT or count > _MOST_ENTRIES:
        return (
            0,
            0,
            0,
            [
                Finding(
                    "zip-directory-damaged",
                    "",
                    f"the end record says {count} entries in {length} bytes at byte {start}, "
                    f"and stands at byte {end} of {size}",
                )
            ],
        )
    return base + start, count, base, []


def _end64(stream: BinaryIO, end: int, size: int) -> tuple[int, int, int, int] | None:
    if end < _LOCATOR.size:
        return None
    stream.seek(end - _LOCATOR.size)
    mark, _, at, _ = _LOCATOR.unpack(stream.read(_LOCATOR.size))
    if mark != _LOCATOR64 or at > size - _END64_RECORD.size:
        return None
    stream.seek(at)
    mark, _, _, _, _, _, _, count, length, start = _END64_RECORD.unpack(stream.read(_END64_RECORD.size))
    return (count, length, start, at) if mark == _END64 else None


def _end_of(stream: BinaryIO, start: int, size: int) -> int:
    return min(_DIRECTORY_LIMIT + 0x20000, size - start)


def _records(data: bytes, count: int, base: int) -> tuple[list[_Record], list[Finding]]:
    records, at = [], 0
    while data[at : at + 4] == _CENTRAL and len(data) - at >= _CENTRAL_HEADER.size:
        (
            _,
            _,
            needed,
            flags,
            method,
            time,
            date,
            crc,
            stored,
            size,
            name_size,
            extra_size,
            comment_size,
            _,
            _,
            _,
            header,
        ) = _CENTRAL_HEADER.unpack_from(data, at)
        name = data[at + 46 : at + 46 + name_size]
        extra = data[at + 46 + name_size : at + 46 + name_size + extra_size]
        if len(extra) < extra_size:
            break
        size, stored, header = _widened(extra, size, stored, header)
        records.append(
            _Record(
                name.decode("utf-8" if flags & 0x800 else "cp437", "replace"),
                name,
                needed,
                flags,
                method,
                (date, time),
                crc,
                stored,
                size,
                base + header,
            )
        )
        at += 46 + name_size + extra_size + comment_size
    if len(records) != count:
        return records, [
            Finding(
                "zip-directory-damaged", "", f"{len(records)} readable records where the end record announces {count}"
            )
        ]
    return records, []


def _widened(extra: bytes, size: int, stored: int, header: int) -> tuple[int, int, int]:
    """The three numbers with those that are too large for 32 bits taken from the ZIP64 field, in which only they
    stand.
    """
    at, values = 0, [size, stored, header]
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        if kind == 1:
            wide = iter(struct.unpack_from(f"<{min(length, len(extra) - at - 4) // 8}Q", extra, at + 4))
            return tuple(next(wide, value) if value == _WIDE else value for value in values)
        at += 4 + length
    return size, stored, header


def _entry(
    stream: BinaryIO, path: Path, record: _Record, directory: int, size: int
) -> tuple[SurveyedEntry, list[Finding]]:
    name, found = record.name, []

    def tell(code: str, text: str) -> None:
        found.append(Finding(code, name, text))

    if not name or name in (".", "..") or any(character in "/\\:" or not character.isprintable() for character in name):
        tell("entry-name-path", f"an entry named {name!r}")
    if record.needed & 0xFF > _VERSION:
        tell(
            "entry-header-mismatch",
            f"it asks for a reader of ZIP {(record.needed & 0xFF) / 10}; the newest is {_VERSION / 10}",
        )
    if record.flags & _ENCRYPTED:
        tell("entry-encrypted", "the entry is encrypted")
    if record.method:
        tell("entry-compressed", f"compression method {record.method}, {record.size} bytes stored as {record.stored}")
        if record.size > max(_BOMB_SIZE, _BOMB_RATIO * max(1, record.stored)):
            tell("zip-bomb", f"{record.stored} bytes that claim to unfold to {record.size}")
    elif record.size != record.stored:
        tell("entry-header-mismatch", f"stored, yet of {record.size} bytes it takes {record.stored}")
    offset, sound = record.header, False
    if record.header > size - _LOCAL_HEADER.size or record.header + record.stored > size:
        tell("entry-outside-file", f"{record.stored} bytes after a header at byte {record.header} of {size}")
    else:
        stream.seek(record.header)
        offset, wrong = _local_header(stream, record)
        if wrong:
            tell("entry-header-mismatch", wrong)
        elif offset + record.stored > size:
            tell("entry-outside-file", f"{record.stored} bytes at byte {offset} of {size}")
        elif offset + record.stored > directory:
            tell(
                "entry-overlap",
                f"ends at byte {offset + record.stored}, inside the directory that begins at {directory}",
            )
        else:
            sound = record.size == record.stored and not record.method and not record.flags & _ENCRYPTED
    if name == MODEL and sound and offset % ALIGNMENT:
        tell("entry-misaligned", f"begins at byte {offset}, no multiple of {ALIGNMENT}")
    section = FileSection(path, offset, record.size, name) if sound else None
    return SurveyedEntry(
        name, offset, record.size, record.stored, record.crc, record.method, record.written, section
    ), found


def _local_header(stream: BinaryIO, record: _Record) -> tuple[int, str]:
    """(where the data begins, what contradicts the directory)."""
    header = stream.read(_LOCAL_HEADER.size)
    if header[:4] != _LOCAL:
        return record.header, f"no local header at byte {record.header}"
    _, _, flags, method, _, _, crc, stored, size, name_size, extra_size = _LOCAL_HEADER.unpack(header)
    name, extra = stream.read(name_size), stream.read(extra_size)
    offset = record.header + _LOCAL_HEADER.size + name_size + extra_size
    size, stored, _ = _widened(extra, size, stored, 0)
    if name != record.raw_name or len(extra) < extra_size:
        return offset, f"the local header names {name!r}"
    if method != record.method or (flags ^ record.flags) & _ENCRYPTED:
        return (
            offset,
            f"the local header says compression {method} and flags {flags:#x}, the directory {record.method} and "
            f"{record.flags:#x}",
        )
    # A streaming writer put sizes and CRC after the data, so the local header holds none.
    if not flags & _STREAMED and (crc, stored, size) != (record.crc, record.stored, record.size):
        return offset, (
            f"the local header says {size} bytes and CRC {crc:08x}, the directory {record.size} and {record.crc:08x}"
        )
    return offset, ""


def _against_each_other(entries: list[tuple[_Record, SurveyedEntry]], directory: int) -> list[Finding]:
    findings, seen, end, last = [], set(), 0, ""
    for record, entry in sorted(entries, key=lambda pair: pair[0].header):
        if entry.name in seen:
            findings.append(Finding("entry-duplicated", entry.name, "there are two entries of this name"))
        seen.add(entry.name)
        if record.header < end:
            findings.append(
                Finding(
                    "entry-overlap", entry.name, f"begins at byte {record.header}, inside {last}, which ends at {end}"
                )
            )
        # What is said to end beyond the file has a finding of its own, and covers nothing.
        if directory >= entry.offset + record.stored > end:
            end, last = entry.offset + record.stored, entry.name
    unfolded, stored = sum(record.size for record, _ in entries), sum(record.stored for record, _ in entries)
    if unfolded > max(_BOMB_SIZE, _BOMB_RATIO * max(stored, directory)):
        findings.append(Finding("zip-bomb", "", f"entries that claim {unfolded} bytes in a file of {directory}"))
    return findings
