"""Android's classes with their members and the level each came with, from the declarations of
@nativescript/types-android.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

_SINCE = re.compile(r"@since (\d+)")
_MODULE = re.compile(r"(?:declare|export) (?:module|namespace) ([\w.]+) \{")
_CLASS = re.compile(
    r"export (?:abstract )?(?:class|interface) (\w+)(?:<.*?>(?=\s*(?:extends|implements|\{)))?"
    r"(?:\s+extends (.*?))?(?:\s+implements (.*?))?\s*\{(\})?$"
)
_METHOD = re.compile(r"(?:public |protected )?(?:static )?(?:abstract )?(\w+)(?:<.*?>)?\((.*)\)(?::|;)")
_FIELD = re.compile(r"(?:public |protected )?(?:static )?(\w+)\s*:")


@dataclass
class PlatformClass:
    """`since` is the API level; `methods`: (name or "constructor", number of arguments) -> level; `fields`: name ->
    level.
    """

    since: int
    parents: list[str] = field(default_factory=list)
    methods: dict[tuple[str, int], int] = field(default_factory=dict)
    fields: dict[str, int] = field(default_factory=dict)


def declarations(packages: Path) -> Path:
    """The file in the folder of npm packages: every level up to the newest in one."""
    return packages / "@nativescript/types-android/lib/android/android-platform-21-37-merged.d.ts"


def read_platform(path: Path) -> dict[str, PlatformClass]:
    """Every class by its name, packages and outer classes joined by dots."""
    classes: dict[str, PlatformClass] = {}
    scopes: list[str] = []
    since = None
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            text = line.strip()
            if text.startswith(("/**", "*")):
                if match := _SINCE.search(text):
                    since = int(match[1])
                continue
            if match := _MODULE.match(text):
                scopes.append(match[1])
            elif match := _CLASS.match(text):
                known = classes.setdefault(".".join([*scopes, match[1]]), PlatformClass(since or 1))
                known.parents += _parents(match[2], match[3])
                if not match[4]:
                    scopes.append(match[1])
            elif text.startswith("}"):
                if scopes:
                    scopes.pop()
            elif text.endswith("{"):
                scopes.append("{")
            elif text.endswith(";") and (owner := classes.get(".".join(scopes))):
                _add_member(owner, text, since or 1)
            since = None
    return classes


def level(classes: dict[str, PlatformClass], owner: str, member: tuple[str, int] | str | None = None) -> int | None:
    """The level since which `owner` has `member`, inherited ones too; None if it has not. Without a member: the class's
    own.
    """
    since = _search(classes, owner, member, set())
    return None if since is None else max(since, classes[owner].since)


def _search(
    classes: dict[str, PlatformClass], owner: str, member: tuple[str, int] | str | None, seen: set[str]
) -> int | None:
    known = classes.get(owner)
    if known is None or owner in seen:
        return None
    seen.add(owner)
    if member is None:
        return known.since
    own = known.fields.get(member) if isinstance(member, str) else known.methods.get(member)
    inherited = (
        _search(classes, parent, member, seen)
        for parent in [*known.parents, *([] if owner == "java.lang.Object" else ["java.lang.Object"])]
    )
    # What a class overrides anew at some level, callers had from its parent before.
    return min((since for since in (own, *inherited) if since is not None), default=None)


def _parents(extends: str | None, implements: str | None) -> list[str]:
    text = f"{extends or ''},{implements or ''}"
    while "<" in text:
        text, before = re.sub(r"<[^<>]*>", "", text), text
        if text == before:
            break
    return [part.strip() for part in text.split(",") if part.strip()]


def _add_member(owner: PlatformClass, text: str, since: int) -> None:
    is_field = _FIELD.match(text)
    if not is_field and (match := _METHOD.match(text)):
        key = match[1], _count(match[2])
        owner.methods[key] = min(owner.methods.get(key, since), since)
    elif is_field:
        owner.fields[is_field[1]] = since


def _count(arguments: str) -> int:
    """How many arguments, commas within brackets not counted."""
    if not arguments.strip():
        return 0
    depth, count = 0, 1
    for character in arguments:
        depth += (character in "<([{") - (character in ">)]}")
        count += character == "," and depth == 0
    return count
