"""A training text as documents, split into a part to learn from and a part held out.

A document is one file. Whether it is held out depends only on its name, so the split is the same
on every machine and stays disjoint when a file changes between two Python releases. A text in a single file is learned
in pieces, so that the model learns what the start token means: a bundle puts it before every prompt.
"""

from __future__ import annotations

import hashlib
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator

from gpt2_training.errors import TrainingError

STANDARD_LIBRARY = "python-stdlib"

# Parts of the standard library that are data, not code one would want to complete (character
# tables, generated documentation), or that many systems package apart (the test suites).
_NOT_CODE = {
    "encodings",
    "pydoc_data",
    "site-packages",
    "dist-packages",
    "__pycache__",
    "test",
    "tests",
    "idle_test",
    "lib-dynload",
    "lib2to3",
}
_NOT_CODE_FILES = {"entities.py", "__phello__.foo.py"}
# Characters. A start token every few thousand of them is learned in any training, and costs it nothing.
_PIECE = 2000
_LONG_LINE, _PROMPT_WORDS = 40, 4  # characters; words
_MOSTLY = 0.8
_NOT_CODE_PREFIXES = ("config-", "_sysconfigdata")


@dataclass(frozen=True)
class Corpus:
    """`train` and `held_out` are lists of documents; `fingerprint` is a SHA-256 over all of them. `source`: as it was
    named. `passed_over`: how many files were no UTF-8 text.
    """

    train: list[str]
    held_out: list[str]
    fingerprint: str
    source: str = ""
    passed_over: int = 0

    @property
    def bytes(self) -> int:
        return sum(len(text.encode()) for text in self.train + self.held_out)

    @property
    def prompt(self) -> str:
        """The first words of the first long line of words that was held out: something to go on from."""
        lines = [line.strip() for text in self.held_out for line in text.splitlines()[1:] or [text]]
        line = next((line for line in lines if _is_prose(line)), max(lines, key=len, default=""))
        return " ".join(line.split()[:_PROMPT_WORDS])[:_LONG_LINE]


def read_corpus(source: str, held_out_share: float = 0.03) -> Corpus:
    """Read `source`: a file, a folder of text files, or `python-stdlib`.

    Of a folder, `held_out_share` of the files (chosen by a hash of the name) are held out; of a
    single file, its end. Files that are not UTF-8, or hold a NUL, are passed over. Raises TrainingError when nothing
    is left to train on or to hold out.
    """
    if source == STANDARD_LIBRARY:
        root = Path(sysconfig.get_paths()["stdlib"])
        files = [path for path in sorted(root.rglob("*.py")) if _is_library_code(path.relative_to(root))]
    else:
        root = Path(source)
        if not root.exists():
            raise TrainingError(f"no file or folder {source!r}; give a text file, a folder, or {STANDARD_LIBRARY!r}")
        files = [root] if root.is_file() else [path for path in sorted(root.rglob("*")) if path.is_file()]

    documents, passed_over = {}, 0
    for path in files:
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            text = "\0"
        if "\0" in text:
            passed_over += 1
        elif text.strip():
            documents[path.relative_to(root).as_posix() if root.is_dir() else path.name] = text

    if len(documents) == 1:
        (text,) = documents.values()
        cut = int(len(text) * (1 - held_out_share))
        train, held_out = list(_pieces(text[:cut])), [text[cut:]]
    else:
        chosen = {name for name in documents if _is_held_out(name, held_out_share)}
        train = [text for name, text in documents.items() if name not in chosen]
        held_out = [documents[name] for name in sorted(chosen)]
    if not any(train) or not any(held_out):
        raise TrainingError(
            f"{source}: {len(documents)} readable text file(s), too little to train on and hold a part out"
            + (f"; {passed_over} passed over that are not UTF-8 text" if passed_over else "")
            + "; give more text, as UTF-8"
        )

    digest = hashlib.sha256()
    for name, text in documents.items():
        digest.update(f"{name}\0{text}\0".encode(errors="surrogateescape"))  # names are bytes
    return Corpus(train, held_out, digest.hexdigest(), source, passed_over)


def _is_prose(line: str) -> bool:
    """Whether a line is long, and neither a table's nor a rule."""
    letters = sum(character.isalpha() or character == " " for character in line)
    return len(line) >= _LONG_LINE and letters >= _MOSTLY * len(line)


def _pieces(text: str) -> Iterator[str]:
    """The text in pieces that end where a line does, each of `_PIECE` characters or a line more."""
    start = 0
    while start < len(text):
        end = text.find("\n", start + _PIECE) + 1 or len(text)
        yield text[start:end]
        start = end


def _is_library_code(relative: Path) -> bool:
    return not (
        _NOT_CODE & set(relative.parts[:-1])
        or relative.name in _NOT_CODE_FILES
        or any(part.startswith(_NOT_CODE_PREFIXES) for part in relative.parts)
    )


def _is_held_out(name: str, share: float) -> bool:
    return int.from_bytes(hashlib.sha256(name.encode(errors="surrogateescape")).digest()[:4], "big") < share * 2**32
