"""Rungs 1 and 2: core compiles without a warning against Java 8's library, its JUnit tests pass, ktlint has nothing to
say.

    python android_mediapipe_app/verify/check_core.py [--json]

Prints the number of tests and the line coverage of each package, with --json as one object.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from gradle_files import kotlin_flags
from toolchain import (
    APP,
    HERE,
    CheckFailed,
    Toolchain,
    ToolMissing,
    compile_kotlin,
    debian_jars,
    junit_jars,
    kotlin_files,
    lint,
    run_java,
    test_classes,
    toolchain,
)

CORE = APP / "core"
# Android 7 has Java 8's library: what came later must not be called.
CORE_FLAGS = kotlin_flags("core")


@dataclass(frozen=True)
class CoreResult:
    """`packages`: package -> (lines that tests reach, lines); `missed`: source file -> numbers of lines that they do
    not.
    """

    tests: int
    packages: dict[str, tuple[int, int]]
    missed: dict[str, list[int]]

    @property
    def coverage(self) -> float:
        """Of all lines of core, from 0 to 1."""
        reached, lines = map(sum, zip(*self.packages.values()))
        return reached / lines


def compile_core(tools: Toolchain, output: Path) -> None:
    """core's own classes, into a folder. Raises CheckFailed."""
    compile_kotlin(tools, kotlin_files(CORE / "src/main"), output, (), *CORE_FLAGS)


def compile_core_tests(tools: Toolchain, core: Path, output: Path) -> None:
    """core's tests, which see its internals as they do under Gradle. Raises CheckFailed, ToolMissing."""
    compile_kotlin(
        tools, kotlin_files(CORE / "src/test"), output, [core, *junit_jars()], *CORE_FLAGS, f"-Xfriend-paths={core}"
    )


@dataclass(frozen=True)
class CoreClasses:
    """Folders with core's own classes and those of its tests."""

    main: Path
    tests: Path


def compile_core_and_tests(tools: Toolchain, folder: Path) -> CoreClasses:
    """Both, into folders below `folder`. Raises CheckFailed, ToolMissing."""
    classes = CoreClasses(folder / "main", folder / "tests")
    compile_core(tools, classes.main)
    compile_core_tests(tools, classes.main, classes.tests)
    return classes


def check_core(classes: CoreClasses | None = None) -> CoreResult:
    """Compile, test and measure; the `classes` may be there already. Raises CheckFailed, ToolMissing."""
    tools = toolchain()
    jacoco = [
        *debian_jars("libjacoco-java", "org.jacoco.core"),
        *debian_jars("libasm-java", "asm", "asm-commons", "asm-tree", "asm-analysis"),
    ]
    with tempfile.TemporaryDirectory() as temporary:
        classes = classes or compile_core_and_tests(tools, Path(temporary))
        runner = Path(temporary) / "runner"
        compile_kotlin(tools, kotlin_files(HERE / "coverage"), runner, [*junit_jars(), *jacoco], "-jvm-target", "17")
        printed = run_java(
            [runner, tools.stdlib, *junit_jars(), *jacoco],
            "dev.taskbundler.verify.CoverageMainKt",
            str(CORE / "src/main/kotlin"),
            str(classes.main),
            str(classes.tests),
            *test_classes(classes.tests),
            jvm=("-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"),
            folder=CORE,
        )
    return _result(printed)


def check_style(*folders: Path) -> None:
    """ktlint over every Kotlin file below the folders, or of all. Raises CheckFailed, ToolMissing."""
    lint(toolchain(), *(folders or (APP,)))


def _result(printed: str) -> CoreResult:
    packages: dict[str, tuple[int, int]] = {}
    for path, reached, lines in re.findall(r"^coverage (\S+)/\S+ (\d+) (\d+)$", printed, re.MULTILINE):
        before = packages.get(path, (0, 0))
        packages[path] = before[0] + int(reached), before[1] + int(lines)
    tests = int(re.search(r"^OK \((\d+) tests?\)", printed, re.MULTILINE)[1])
    missed = {
        path: [int(line) for line in lines.split(",")]
        for path, lines in re.findall(r"^missed (\S+) (\S+)$", printed, re.MULTILINE)
    }
    return CoreResult(tests, packages, missed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    try:
        result = check_core()
        check_style(CORE, HERE)
    except (CheckFailed, ToolMissing) as error:
        sys.exit(str(error))
    if arguments.json:
        print(json.dumps({**asdict(result), "coverage": round(result.coverage, 4)}))
        return
    for package, (reached, lines) in sorted(result.packages.items()):
        print(f"{reached / lines:6.1%}  {reached:4} of {lines:4} lines  {package}", file=sys.stderr)
    print(f"{result.coverage:6.1%}  {result.tests} tests", file=sys.stderr)


if __name__ == "__main__":
    main()
