"""Rung 4: everything of Android and Java that the app and core refer to exists on the oldest phone, or is behind a
check of the version.

Compared by name and number of arguments with the platform's declarations. A line of guarded.txt allows one class a
newer reference; such a class has to look at Build.VERSION.SDK_INT.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Iterable, Iterator

from platform_api import PlatformClass, declarations, level, read_platform
from resources import gradle_value
from toolchain import HERE, CheckFailed, require, toolchain

GUARDED = HERE / "guarded.txt"
# Form, not function: the Android Gradle plugin rewrites lambdas and joined strings.
_REWRITTEN = ("java.lang.invoke.",)
_REFERENCE = re.compile(
    r"= (Methodref|InterfaceMethodref|Fieldref)\s+\S+\s+// \"?([\w/$\[;]+)\"?\.\"?(<?[\w$]+>?)\"?:(\S+)"
)
_CLASS = re.compile(r"= Class\s+\S+\s+// \"?([\w/$\[;]+)\"?")


@dataclass(frozen=True, order=True)
class Reference:
    """`member`: None for the class alone, a name for a field, (name, number of arguments) for a method."""

    owner: str
    member: tuple[str, int] | str | None
    user: str

    @property
    def name(self) -> str:
        if self.member is None:
            return self.owner
        return (
            f"{self.owner}.{self.member}"
            if isinstance(self.member, str)
            else f"{self.owner}.{self.member[0]}/{self.member[1]}"
        )


def check_api(folders: Iterable[Path]) -> str:
    """Look at every class file below the folders. Returns what was counted; raises CheckFailed, ToolMissing."""
    platform = read_platform(declarations(toolchain().npm))
    minimum = int(gradle_value("minSdk"))
    uses = sorted(
        {reference for folder in folders for reference in references(folder)},
        key=lambda reference: (reference.name, reference.user),
    )
    problems = api_problems(uses, platform, minimum, read_guarded(GUARDED))
    if problems:
        raise CheckFailed("\n".join(problems))
    names = {reference.name for reference in uses}
    android = sum(name.startswith("android.") for name in names)
    return (
        f"{android} references to Android and {len(names) - android} to Java exist at level {minimum}, "
        f"{len(read_guarded(GUARDED))} behind a check"
    )


def api_problems(
    uses: Iterable[Reference], platform: dict[str, PlatformClass], minimum: int, guarded: dict[str, tuple[int, str]]
) -> list[str]:
    """What is not there at `minimum`, and what guarded.txt says wrongly. `guarded`: name -> level, the class that may
    use it.
    """
    problems = []
    used = set()
    uses = list(uses)
    looks_at_version = {reference.user for reference in uses if reference.name == "android.os.Build.VERSION.SDK_INT"}
    for reference in uses:
        since = level(platform, reference.owner, reference.member)
        if since is None:
            problems.append(f"{reference.user} refers to {reference.name}, which no level has")
        elif reference.name in guarded:
            used.add(reference.name)
            stated, user = guarded[reference.name]
            if reference.user != user:
                problems.append(
                    f"{reference.user} refers to {reference.name}, which guarded.txt allows to {user} alone"
                )
            elif stated != since or since <= minimum:
                problems.append(f"guarded.txt says that {reference.name} came with {stated}; it came with {since}")
            elif user not in looks_at_version:
                problems.append(
                    f"{user} refers to {reference.name} of level {since} and does not look at Build.VERSION.SDK_INT"
                )
        elif since > minimum:
            problems.append(
                f"{reference.user} refers to {reference.name}, which came with level {since}; the app runs from "
                f"{minimum} on"
            )
    return problems + [f"guarded.txt has {name}, which is not used" for name in sorted(guarded.keys() - used)]


def references(folder: Path) -> Iterator[Reference]:
    """What the class files below a folder refer to in android.* and java.*."""
    files = [str(path) for path in sorted(folder.rglob("*.class"))]
    listing = subprocess.run(
        [require("javap", "apt-get install openjdk-17-jdk-headless"), "-v", "-p", *files],
        capture_output=True,
        text=True,
    )
    if listing.returncode:
        raise CheckFailed(f"javap ended with {listing.returncode}: {listing.stderr}")
    user = ""
    for line in listing.stdout.splitlines():
        if match := re.match(r"Classfile (.+)\.class$", line):
            user = ".".join(Path(match[1]).relative_to(folder).parts)
        elif match := _REFERENCE.search(line):
            kind, owner, member, descriptor = match.groups()
            yield from _wanted(
                owner,
                member if kind == "Fieldref" else (member.replace("<init>", "constructor"), _arguments(descriptor)),
                user,
            )
        elif match := _CLASS.search(line):
            yield from _wanted(match[1], None, user)


def read_guarded(path: Path) -> dict[str, tuple[int, str]]:
    lines = (line.split("#")[0].split() for line in path.read_text().splitlines())
    return {name: (int(since), user) for name, since, user in filter(None, lines)}


def _wanted(owner: str, member: tuple[str, int] | str | None, user: str) -> Iterator[Reference]:
    # An array's own functions are Object's.
    name = owner.replace("/", ".").replace("$", ".")
    if name.startswith(("android.", "java.", "javax.")) and not name.startswith(_REWRITTEN):
        yield Reference(name, member, user)


def _arguments(descriptor: str) -> int:
    return len(re.findall(r"\[*(?:[BCDFIJSZ]|L[^;]+;)", descriptor[1 : descriptor.index(")")]))
