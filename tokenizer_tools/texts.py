"""Texts to compare tokenizers on: files cut into documents, paragraphs and lines, one at a time."""

from __future__ import annotations

import codecs
import re
import sys
from pathlib import Path
from typing import BinaryIO, Iterable, Iterator

DOCUMENTS, PARAGRAPHS, LINES = "documents", "paragraphs", "lines"

# A larger file is several documents, so that memory does not grow with it.
_LARGEST_DOCUMENT = 1 << 18

_BLANK_LINES = re.compile(r"\n(?:[ \t\r]*\n)+")


def text_files(paths: Iterable[str | Path]) -> Iterator[Path | None]:
    """Every file below the given files and folders, in order; "-" is the standard input (None).

    Raises FileNotFoundError for a path that does not exist.
    """
    for path in paths:
        if str(path) == "-":
            yield None
            continue
        path = Path(path)
        if path.is_dir():
            yield from (file for file in sorted(path.rglob("*")) if file.is_file())
        elif path.is_file():
            yield path
        else:
            raise FileNotFoundError(f"no file or folder {str(path)!r}")


def read_documents(path: Path | None) -> Iterator[str]:
    """The file's text in stretches of at most 256 KiB, cut after a line where possible.

    A file that is not UTF-8 or holds a NUL byte is taken for binary: it ends where that is found.
    """
    if path is None:
        yield from _decoded(sys.stdin.buffer)
        return
    with path.open("rb") as file:
        yield from _decoded(file)


def _decoded(file: BinaryIO) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8")()
    waiting = ""
    while True:
        data = file.read(_LARGEST_DOCUMENT)
        try:
            waiting += decoder.decode(data, final=not data)
        except UnicodeDecodeError:
            return
        if "\0" in waiting:
            return
        if not data:
            break
        while len(waiting) >= _LARGEST_DOCUMENT:
            cut = waiting.rfind("\n", 0, _LARGEST_DOCUMENT) + 1 or _LARGEST_DOCUMENT
            yield waiting[:cut]
            waiting = waiting[cut:]
    if waiting:
        yield waiting


def cut_document(document: str) -> Iterator[tuple[str, str]]:
    """(kind, string) for the document, its paragraphs and its lines."""
    yield DOCUMENTS, document
    for paragraph in _BLANK_LINES.split(document):
        if paragraph:
            yield PARAGRAPHS, paragraph
    for line in document.split("\n"):
        if line:
            yield LINES, line


# Every kind of trouble in a screenful: languages, indentation, contractions, quotation, emoji, rare spaces.
BUILT_IN = (
    "It's a test; they've said 'tis, don't, I'd, we'll, 'quoted' and \"double's\". ('some') (''s) rock 'n' roll's.\n\n"
    "  Indented  text\twith\ttabs,   runs   of spaces \n \n\n\nand blank lines.\r\n\r\nWindows line ends.\r\n",
    "def f(x):\n    if x == 'self':\n\n\n        return {'a': [1, 2.50], \"b\": x[1:-1]}  # it's\n\n"
    "\tclass A: pass\n    ",
    "Der Fuß – „größer“ als Ärger. Voilà : « déjà vu » ! ¿Qué pasó, señor? Não é ação. Žluťoučký kůň. Zażółć gęślą "
    "jaźń.",
    "Съешь же ещё этих мягких французских булок. Ξεσκεπάζω την ψυχοφθόρα. שלום עולם, זה מבחן. مرحبا بالعالم؛ نص ١٢٣.",
    "日本語の文章。「引用」と、カタカナ・ー漢字123。中文：测试（一下）；“引号”！全角　空格\u3000\u3000段落。 한국어 "
    "문장입니다.",
    "हिन्दी में परीक्षण। ภาษาไทยไม่มีช่องว่าง தமிழ் சோதனை বাংলা ქართული Հայերեն ትግርኛ",
    "😀😃👩‍👩‍👧 👍🏽 ❤️ → ⇒ ≠ ∞ ½ ² ① № ™ © €5 £3 “’s” …'s —'t x\xa0y \xa0\xa0z a\u2009b\u202f» "
    "\u2003\u2003wide\u3000'll\n\n",
    "a\n\n\n\nb \n c\n  \n\n",
    "   ",
    "\n",
    "\t\t",
    "",
    "<|endoftext|> and <|endoftext|>",
)
