"""Rung 3: the app compiles, without the Android SDK: against core, R, declarations of the platform and fakes of the
engines.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Sequence

from check_core import compile_core
from resources import link
from stubs import read_declarations, write_sources
from toolchain import (
    APP,
    HERE,
    CheckFailed,
    compile_kotlin,
    debian_jars,
    joined,
    junit_jars,
    kotlin_files,
    require,
    run_junit,
    test_classes,
    toolchain,
)

ENGINES = HERE / "stubs" / "engines"
# The Android Gradle plugin rewrites what is newer than the phone in these classes' form, but not in what they call.
_APP_TARGET = ("-jvm-target", "17")


@dataclass(frozen=True)
class AppClasses:
    """Folders of classes: core's, the app's own, the platform's declarations with R, and the engines' fakes."""

    core: Path
    app: Path
    platform: Path
    engines: Path
    guava: tuple[Path, ...]

    @property
    def everything(self) -> list[Path]:
        return [self.app, self.core, self.platform, self.engines, *self.guava]


def compile_app(folder: Path) -> AppClasses:
    """All classes, below `folder`. Raises CheckFailed, ToolMissing."""
    tools = toolchain()
    guava = tuple(debian_jars("libguava-java", "guava"))
    classes = AppClasses(folder / "core", folder / "app", folder / "platform", folder / "engines", guava)
    (folder / "aapt2").mkdir()
    resources = link(folder / "aapt2")
    compile_core(tools, classes.core)
    platform = write_sources(read_declarations(), folder / "declared")
    _javac([*platform, *resources.rglob("*.java")], classes.platform, [])
    # The platform has Java 8's form; the fakes may use what this machine has.
    java = sorted(ENGINES.rglob("*.java"))
    _javac(java, classes.engines, [classes.platform, *guava])
    compile_kotlin(tools, kotlin_files(ENGINES), folder / "litertlm.jar", [classes.engines], *_APP_TARGET)
    classes = AppClasses(
        classes.core, classes.app, classes.platform, classes.engines, (*guava, folder / "litertlm.jar")
    )
    compile_kotlin(
        tools,
        kotlin_files(APP / "app/src/main"),
        classes.app,
        [classes.core, classes.platform, classes.engines, *classes.guava],
        *_APP_TARGET,
    )
    return classes


def run_app_tests(classes: AppClasses, folder: Path) -> str:
    """The app's own JUnit tests, which need neither Android nor an engine. Returns what was run; raises CheckFailed,
    ToolMissing.
    """
    return _run_tests([APP / "app/src/test"], classes, folder / "app-tests")


def run_engine_tests(classes: AppClasses, folder: Path) -> str:
    """Rung 6: the engine files against the fakes. Returns what was run; raises CheckFailed, ToolMissing."""
    return _run_tests([HERE / "engine_tests"], classes, folder / "engine-tests")


def _run_tests(sources: Sequence[Path], classes: AppClasses, output: Path) -> str:
    tools = toolchain()
    compile_kotlin(
        tools,
        kotlin_files(*sources),
        output,
        [*classes.everything, *junit_jars()],
        *_APP_TARGET,
        f"-Xfriend-paths={classes.app}",
    )
    printed = run_junit(test_classes(output), [output, *classes.everything, tools.stdlib])
    return next(line for line in printed.splitlines() if line.startswith("OK"))


def _javac(sources: Sequence[Path], output: Path, classpath: Sequence[Path]) -> None:
    javac = require("javac", "apt-get install openjdk-17-jdk-headless")
    output.mkdir(parents=True, exist_ok=True)
    command = [
        javac,
        "-nowarn",
        "-Xlint:none",
        "-d",
        output,
        *(["-cp", joined(*classpath)] if classpath else []),
        *sources,
    ]
    done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise CheckFailed(f"javac ended with {done.returncode}:\n{done.stdout}")
