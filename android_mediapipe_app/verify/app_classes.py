"""Rung 3: the app compiles, without the Android SDK: against core, R, Android's own framework classes and fakes of the
engines.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Sequence

from check_core import compile_core
from framework import Framework, framework
from gradle_files import kotlin_flags
from resources import link
from toolchain import (
    APP,
    HERE,
    CheckFailed,
    compile_kotlin,
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
APP_TARGET = kotlin_flags("app")


@dataclass(frozen=True)
class AppClasses:
    """Classes: core's, the app's own, R, and the engines' fakes; `apk`: the resources and the manifest, linked."""

    core: Path
    app: Path
    resources: Path
    engines: tuple[Path, ...]
    apk: Path
    framework: Framework

    @property
    def own(self) -> list[Path]:
        """The app's, and what stands for the engines' libraries; that first, so that it can stand for more."""
        return [*self.engines, self.app, self.core, self.resources]

    @property
    def everything(self) -> list[Path]:
        return [*self.own, self.framework.android, *self.framework.libraries]


def compile_app(folder: Path, core: Path | None = None) -> AppClasses:
    """All classes, below `folder`, but for those of `core` where they are given. Raises CheckFailed, ToolMissing."""
    tools, android = toolchain(), framework()
    (folder / "aapt2").mkdir()
    linked = link(folder / "aapt2", android.android)
    fakes = folder / "engines", folder / "litertlm.jar"
    classes = AppClasses(core or folder / "core", folder / "app", folder / "R", fakes, linked.apk, android)
    if core is None:
        compile_core(tools, classes.core)
    _javac([*linked.sources.rglob("*.java")], classes.resources, [])
    _javac(sorted(ENGINES.rglob("*.java")), fakes[0], [android.android, *android.libraries])
    compile_kotlin(tools, kotlin_files(ENGINES), fakes[1], [fakes[0]], *APP_TARGET)
    others = [path for path in classes.everything if path != classes.app]
    compile_kotlin(tools, kotlin_files(APP / "app/src/main"), classes.app, others, *APP_TARGET)
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
        *APP_TARGET,
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
