"""The pages: every relative link and picture is there, and every anchor is a heading's; no line is too long to read."""

import re
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = (
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "android_mediapipe_app").glob("*.md")),
)
TARGET = re.compile(r"""\]\(([^)\s]+)\)|(?:src|srcset|href)="([^"]+)\"""")
FENCED = re.compile(r"^```.*?^```", re.M | re.S)
COLUMNS = 120


def prose(page: Path) -> str:
    """A page's text without its blocks of code."""
    return FENCED.sub("", page.read_text(encoding="utf-8"))


def targets(text: str) -> list[str]:
    """The links and pictures of a page that lead into this repository."""
    every = (markdown or html for markdown, html in TARGET.findall(re.sub(r"`[^`\n]*`", "", text)))
    return [target for target in every if "://" not in target]


def anchors(text: str) -> set[str]:
    """The anchors that GitHub makes of the headings."""
    headings = re.findall(r"^#+ +(.+?) *$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    dead = []
    for target in targets(prose(page)):
        path, _, anchor = unquote(target).partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and anchor not in anchors(prose(file))):
            dead.append(target)
    assert not dead


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_prose_is_wrapped(page):
    """Tables, pictures and code may be wider."""
    wide = [line for line in prose(page).split("\n") if len(line) > COLUMNS and not line.startswith(("|", "  <", "<"))]
    assert not [line for line in wide if " " in line.strip()]


def test_a_dead_link_is_seen():
    text = '# A\n## What\'s new, then?\n[a](docs/x.md#y) `[b](c)` <img src="d.svg"> [e](https://f.org)'
    assert targets(text) == ["docs/x.md#y", "d.svg"]
    assert anchors(text) == {"a", "whats-new-then"}
