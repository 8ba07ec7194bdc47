"""The commands that README and the pages show: what stands in a block of ```sh, and what follows a `$ `."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.M | re.S)
PROGRAMS = ("task-bundler ", ".venv/bin/", "make ", "python ", "pip ", "npm ", "apt-get ", "litert-lm ")


def pages() -> tuple[Path, ...]:
    return (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a language; "" for those that name none."""
    return [text for name, text in BLOCK.findall(page.read_text(encoding="utf-8")) if name == language]


def commands(page: Path) -> list[str]:
    """The lines of a page's ```sh blocks, without comments; a line that ends in a backslash goes on in the next."""
    lines = "\n".join(blocks(page, "sh")).replace("\\\n", " ").splitlines()
    bare = (re.sub(r"(^|\s+)# .*$", "", line) for line in lines)
    return [" ".join(line.split()) for line in bare if line.strip()]


def transcripts(page: Path) -> dict[str, str]:
    """What a page shows of sessions: the command after `$ `, and the lines below it."""
    shown = [text.removeprefix("$ ") for text in blocks(page, "") if text.startswith("$ ")]
    return {command: output for command, _, output in (text.partition("\n") for text in shown)}


def unmarked(page: Path) -> list[str]:
    """Lines that look like commands, in blocks that are not marked as ```sh."""
    lines = "\n".join(blocks(page, "")).splitlines()
    return [line for line in lines if line.startswith(PROGRAMS)]
