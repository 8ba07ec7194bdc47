"""A SHA256SUMS beside a file, or one folder up: what it lists for that file. The format is that of GNU's sha256sum."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

NAME = "SHA256SUMS"
LIMIT = 1 << 20  # bytes; ours have less than a kilobyte
# A hash, a space, a space or a star, a path; or the form of the BSDs, sha256sum --tag.
_LINE = re.compile(rb"\\?([0-9a-fA-F]{64}) [ *](.+)|\\?SHA256 \((.+)\) = ([0-9a-fA-F]{64})")


@dataclass(frozen=True)
class Listed:
    """`sums`: the SHA256SUMS. `hashes`: what it lists for the file, in small letters. `wrong`: why it cannot be read,
    or not all of it.
    """

    sums: Path
    hashes: frozenset[str]
    wrong: str = ""


def listed_hashes(path: Path) -> list[Listed]:
    """What each SHA256SUMS that may list the file has for it; empty if none does and all can be read."""
    path = Path(os.path.abspath(path))
    if path.name == NAME:
        return []
    lists = []
    for folder in dict.fromkeys((path.parent, path.parent.parent)):
        sums = folder / NAME
        if os.path.lexists(sums):
            listed = _read(sums, os.fsencode(path.relative_to(folder)))
            lists += [listed] if listed.hashes or listed.wrong else []
    return lists


def _read(sums: Path, name: bytes) -> Listed:
    try:
        if not sums.is_file():  # a pipe would wait for a writer
            return Listed(sums, frozenset(), "it is no regular file")
        with open(sums, "rb") as stream:
            data = stream.read(LIMIT + 1)
    except OSError as error:
        return Listed(sums, frozenset(), error.strerror or str(error))
    if len(data) > LIMIT:
        return Listed(sums, frozenset(), f"more than {LIMIT} bytes")
    hashes, wrong = set(), ""
    for number, line in enumerate(data.split(b"\n"), 1):
        line = line.removesuffix(b"\r")
        if not line.strip() or line.startswith(b"#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            wrong = wrong or f"line {number} is {line[:80]!r}"
        elif _unescaped(line, match[2] or match[3]).removeprefix(b"./") == name:
            hashes.add((match[1] or match[4]).lower().decode())
    return Listed(sums, frozenset(hashes), wrong)


def _unescaped(line: bytes, name: bytes) -> bytes:
    """A backslash at the beginning of a line says that the name has escapes."""
    if not line.startswith(b"\\"):
        return name
    return re.sub(rb"\\([nr\\])", lambda match: {b"n": b"\n", b"r": b"\r", b"\\": b"\\"}[match[1]], name)
