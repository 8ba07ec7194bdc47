"""Android's own framework classes and Robolectric, which runs them on a JVM: from Maven Central into a cache, once.

`robolectric/pom.xml` pins the versions, `robolectric/SHA256SUMS` the bytes. About 340 MB.
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


@dataclass(frozen=True)
class Framework:
    """`android`: the jar with Android's classes and resources; `libraries`: Robolectric and all it needs, and Guava,
    which the engines' classes name.
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
    android = next(path for name, path in jars.items() if name.startswith("android-all"))
    return Framework(folder, android, tuple(path for path in jars.values() if path != android))


def _sums() -> dict[str, str]:
    lines = (_PINNED / "SHA256SUMS").read_text().split("\n")
    return {name: digest for digest, _, name in (line.partition("  ") for line in lines if line)}


def _fetch(folder: Path, sums: dict[str, str]) -> None:
    """Fill `folder` with the jars; whole or not at all."""
    maven = require("mvn", "apt-get install maven")
    partial = folder.with_name(f"{folder.name}.{os.getpid()}.partial")
    partial.mkdir(parents=True)
    try:
        done = subprocess.run(
            [
                maven,
                "-q",
                "-B",
                "-f",
                _PINNED / "pom.xml",
                "dependency:copy-dependencies",
                f"-DoutputDirectory={partial}",
            ],
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise ToolMissing(
                "Android's framework classes cannot be fetched; `mvn dependency:copy-dependencies` needs Maven "
                "Central: "
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
