"""Files before and after: what is there, whether it is the same, and what is over."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from pathlib import Path

# A record of a training tells how long it took; nothing else that is written depends on the clock.
_TIMED = {".json", ".md", ".html"}
_NUMBER = re.compile(rb"\d+(\.\d+)?(e[-+]?\d+)?")


def contents(path: Path) -> dict[str, str]:
    """Relative name -> SHA-256 of a file, target of a link, or "folder"; "" names `path` itself. Empty if there is
    nothing.
    """
    if path.is_symlink():
        return {"": f"link to {os.readlink(path)}"}
    if path.is_file():
        return {"": hashlib.sha256(path.read_bytes()).hexdigest()}
    if not path.is_dir():
        return {}
    entries = {"": "folder"}
    for entry in sorted(path.iterdir()):
        entries |= {os.path.join(entry.name, name).rstrip("/"): value for name, value in contents(entry).items()}
    return entries


def same(path: Path, reference: Path) -> bool:
    """The same files with the same bytes; in a text that holds times, with any numbers."""
    entries, expected = contents(path), contents(reference)
    if entries.keys() != expected.keys():
        return False
    return all(
        entries[name] == expected[name] or _same_but_for_numbers(path / name, reference / name) for name in entries
    )


def _same_but_for_numbers(file: Path, reference: Path) -> bool:
    if reference.name == "SHA256SUMS" and file.is_file() and reference.is_file():
        # The hashes of what holds times differ: the same names, and the hashes of the files that lie beside it.
        entries = [line.partition("  ") for line in file.read_text().splitlines()[1:]]
        names = [line.partition("  ")[2] for line in reference.read_text().splitlines()[1:]]
        return [name for _, _, name in entries] == names and all(
            contents(file.parent / name).get("") == digest for digest, _, name in entries
        )
    if reference.suffix not in _TIMED or not file.is_file() or not reference.is_file():
        return False
    return _NUMBER.sub(b"0", file.read_bytes()) == _NUMBER.sub(b"0", reference.read_bytes())


def changes(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """What happened to what was there, a clause for each file."""
    return [
        f"{name or 'it'} is {'gone' if name not in after else 'another'}"
        for name, value in before.items()
        if after.get(name) != value
    ]


def copy(source: Path, target: Path) -> None:
    """Put a copy of a file or folder at `target`, in place of whatever is there."""
    remove(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True)
    else:
        shutil.copy2(source, target)


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def empty(folder: Path) -> Path:
    """Make `folder` an empty one; it stays the same folder if it is one, because it may be a mount point."""
    folder.mkdir(parents=True, exist_ok=True)
    for entry in folder.iterdir():
        remove(entry)
    return folder
