"""Defects that compile, or nearly so: they are put into a copy of the app, and each has to be noticed by name.

    python android_mediapipe_app/verify/planted.py

All of them passed what was checked before the app's screens were run. Those that compile stand in one copy, each in
another activity or another part of one, so that a single run notices them all. Exit code 1 if one is not noticed.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Sequence

from app_classes import APP_TARGET, AppClasses, compile_app
from check_screens import compile_screens, run_screens
from resources import MAIN, link
from toolchain import CheckFailed, ToolMissing, compile_kotlin, toolchain

_SCREENS = "kotlin/dev/taskbundler/app"


@dataclass(frozen=True)
class Planted:
    """`file`, below app/src/main, has `after` in the place of `before`. `test` notices it, or the compiler if that is
    None; what is printed then has `said` in it.
    """

    name: str
    file: str
    before: str
    after: str
    test: str | None
    said: str


PLANTED = (
    Planted(
        "a TextView is cast to a Button",
        f"{_SCREENS}/library/LibraryActivity.kt",
        "findViewById<TextView>(R.id.free).text",
        "findViewById<Button>(R.id.free).text",
        "LifeTest#aPickerThatIsLeftChangesNothing",
        "ClassCastException",
    ),
    Planted(
        "super.onStart() is not called",
        f"{_SCREENS}/compare/CompareActivity.kt",
        "        super.onStart()\n",
        "",
        "LifeTest#nothingHoldsTheComparingScreen",
        "did not call through to super.onStart()",
    ),
    Planted(
        "%1$d stands for a Double",
        "res/values/strings.xml",
        "%1$.1f tokens/s",
        "%1$d tokens/s",
        "LifeTest#whatIsWrittenIsInTheViewAndCanBeContinued",
        "IllegalFormatConversionException",
    ),
    Planted(
        "addView is given a text",
        f"{_SCREENS}/library/ItemList.kt",
        "list.addView(view)",
        "list.addView(text)",
        None,
        "argument type mismatch",
    ),
    Planted(
        "detach is dropped",
        f"{_SCREENS}/write/WriteActivity.kt",
        "        presenter.detach(this)\n",
        "",
        "LifeTest#nothingHoldsTheWritingScreen",
        "WriteActivity is held after it was left",
    ),
    Planted(
        "the intent filter's scheme is misspelled",
        "AndroidManifest.xml",
        'android:scheme="content" />\n                <data android:scheme="file" />',
        'android:scheme="contents" />\n                <data android:scheme="file" />',
        "OpenWithTest#filesThatAreNamedLikeABundle",
        "sample.task",
    ),
)


def check_planted(classes: AppClasses, tests: Path, folder: Path) -> str:
    """Plant them all, below `folder`. Returns what was noticed; raises CheckFailed with those that were not,
    ToolMissing.
    """
    compiling = [planted for planted in PLANTED if planted.test]
    printed = {planted: _compile_alone(planted, classes, folder) for planted in PLANTED if not planted.test}
    together = _run_together(compiling, classes, tests, folder)
    printed |= {planted: _failure(planted.test, together) for planted in compiling}
    if missed := [
        f"not noticed: {planted.name}; printed was: {text}"
        for planted, text in printed.items()
        if planted.said not in text
    ]:
        raise CheckFailed("\n".join([*missed, together]))
    return f"{len(printed)} planted defects noticed"


def plant(defects: Sequence[Planted], main: Path) -> list[Path]:
    """Copy app/src/main to `main`, with `defects` in it; returns the files that they changed. Raises CheckFailed where
    one has no place.
    """
    shutil.copytree(MAIN, main)
    for defect in defects:
        path = main / defect.file
        text = path.read_text()
        if text.count(defect.before) != 1:
            raise CheckFailed(f"{defect.file} has “{defect.before}” {text.count(defect.before)} times, expected once")
        path.write_text(text.replace(defect.before, defect.after))
    return sorted({main / defect.file for defect in defects})


def _compile_alone(defect: Planted, classes: AppClasses, folder: Path) -> str:
    """What the compiler says of a defect; nothing if it takes it."""
    place = folder / "refused"
    try:
        _compile(plant([defect], place / "main"), classes, place / "classes")
    except CheckFailed as failure:
        return str(failure)
    finally:
        shutil.rmtree(place)
    return ""


def _run_together(defects: Sequence[Planted], classes: AppClasses, tests: Path, folder: Path) -> str:
    """What the tests of the defects print."""
    place = folder / "planted"
    changed = plant(defects, place / "main")
    _compile([path for path in changed if path.suffix == ".kt"], classes, place / "classes")
    (place / "aapt2").mkdir()
    linked = link(place / "aapt2", classes.framework.android, place / "main")
    with_defects = replace(classes, engines=(place / "classes", *classes.engines), apk=linked.apk)
    names = [f"dev.taskbundler.screens.{defect.test}" for defect in defects]
    try:
        return run_screens(with_defects, tests, names, place)
    except CheckFailed as failure:
        return str(failure)


def _compile(sources: Sequence[Path], classes: AppClasses, output: Path) -> None:
    friends = f"-Xfriend-paths={classes.app}"
    compile_kotlin(toolchain(), sources, output, classes.everything, *APP_TARGET, friends)


def _failure(test: str, printed: str) -> str:
    """The line in which a test, `CLASS#TEST`, says why it failed."""
    type_, _, name = test.partition("#")
    line = re.search(rf"^{name}\([\w.]*\.{type_}\): (.*)$", printed, re.MULTILINE)
    return line[1] if line else ""


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        try:
            classes = compile_app(folder)
            print(check_planted(classes, compile_screens(classes, folder), folder))
        except (ToolMissing, CheckFailed) as error:
            sys.exit(str(error))


if __name__ == "__main__":
    main()
