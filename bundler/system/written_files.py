"""Which files of a folder were written by us: the ones that its SHA256SUMS lists, as long as they are unchanged.

`sha256sum --check` reads the list; the first line is a comment to it, and the mark of ours to us. What the list does
not name, or names with another hash, belongs to somebody else and is never deleted.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from pathlib import Path
from typing import Iterator

from bundler.system.atomic_file import replacing

LEDGER = "SHA256SUMS"
MARK = "# Written by task-bundler; --force replaces these files as long as they are unchanged, and no others.\n"


def write_ledger(folder: Path) -> None:
    """Write `folder`/SHA256SUMS over every file below the folder."""
    names = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    listed = ledger_of({name: _sha256(folder / name) for name in names if name != LEDGER})
    with replacing(folder / LEDGER) as file:  # whole or not at all: by it the folder is cleared after a kill
        file.write(listed)


def foreign_files(folder: Path) -> list[str]:
    """The files and empty folders below `folder` that we did not write, or that were changed since; relative, sorted.

    Links count as foreign, and nothing is read through them. A folder without a list of ours is foreign as a whole.
    """
    listed = read_ledger(folder)
    return [name for name in _names_below(folder) if not _is_written(folder, name, listed)]


def ledger_of(digests: dict[str, str]) -> bytes:
    """A list as `write_ledger` writes it, of these names and hashes."""
    lines = [MARK]
    for name, digest in sorted(digests.items()):
        escaped = name.replace("\\", "\\\\").replace("\n", "\\n")  # as sha256sum does, with a mark before the line
        lines.append(f"{'' if escaped == name else chr(92)}{digest}  {escaped}\n")
    return "".join(lines).encode(errors="surrogateescape")


def remove_written(folder: Path) -> list[str]:
    """Delete what we wrote below `folder`, and the folders that are empty then; the foreign files that stay.

    The list goes last, so that a removal that was cut short can be taken up again.
    """
    listed = read_ledger(folder)
    if listed is None:
        return foreign_files(folder)
    names = _names_below(folder)
    for name in names:
        if name != LEDGER and _is_written(folder, name, listed):
            (folder / name).unlink()
    for name, _, _ in sorted(os.walk(folder), reverse=True):
        if Path(name) != folder and not os.listdir(name):
            os.rmdir(name)
    foreign = [name for name in _names_below(folder) if name != LEDGER]
    if not foreign:
        (folder / LEDGER).unlink()
        folder.rmdir()
    return foreign


def _names_below(folder: Path) -> list[str]:
    """Everything below `folder` but the folders with content: files, links, and empty folders with a slash behind;
    sorted.
    """
    names = []
    for place, folders, files in os.walk(folder):
        relative = Path(place).relative_to(folder)
        linked = [name for name in folders if (Path(place) / name).is_symlink()]
        names += [(relative / name).as_posix() for name in [*files, *linked]]
        if not folders and not files and Path(place) != folder:
            names.append(f"{relative.as_posix()}/")
    return sorted(names)


def _is_written(folder: Path, name: str, listed: dict[str, str] | None) -> bool:
    if listed is None or not (name == LEDGER or name in listed):
        return False
    path = folder / name
    return stat.S_ISREG(path.lstat().st_mode) and (name == LEDGER or _sha256(path) == listed[name])


def read_ledger(folder: Path) -> dict[str, str] | None:
    """Name -> SHA-256 of our list in `folder`; None if there is none of ours."""
    path = folder / LEDGER
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            return None
        lines = path.read_text(encoding="utf-8", errors="surrogateescape").split("\n")
    except OSError:
        return None
    if lines[0] != MARK.rstrip("\n"):  # not splitlines: a name may hold what Unicode calls the end of a line
        return None
    return {name: digest for digest, name in _entries(lines[1:])}


def _entries(lines: list[str]) -> Iterator[tuple[str, str]]:
    for line in lines:
        digest, separator, name = line.partition("  ")
        if digest.startswith("\\"):
            digest, name = digest[1:], re.sub(r"\\(.)", lambda match: "\n" if match[1] == "n" else match[1], name)
        if separator:
            yield digest, name


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
