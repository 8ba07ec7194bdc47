"""Defects that compile, or nearly so: each is put into a copy of the app, one by one, and has to be noticed.

    python android_mediapipe_app/verify/planted.py

All of them passed what was checked before the app's screens were run. Exit code 1 if one is not noticed.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

from app_classes import APP_TARGET, AppClasses, compile_app
from check_screens import compile_screens, run_screens
from resources import MAIN, link
from toolchain import CheckFailed, ToolMissing, compile_kotlin, toolchain

_WRITE = "kotlin/dev/taskbundler/app/write/WriteActivity.kt"
_LIBRARY = "kotlin/dev/taskbundler/app/library/LibraryActivity.kt"


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
        _WRITE,
        "val view = findViewById<TextView>(id)",
        "val view: android.widget.Button = findViewById(id)",
        "LifeTest#whatIsWrittenIsInTheViewAndCanBeContinued",
        "ClassCastException",
    ),
    Planted(
        "super.onStart() is not called",
        _WRITE,
        "        super.onStart()\n",
        "",
        "LifeTest#whatIsWrittenIsInTheViewAndCanBeContinued",
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
        "kotlin/dev/taskbundler/app/library/ItemList.kt",
        "list.addView(view)",
        "list.addView(text)",
        None,
        "argument type mismatch",
    ),
    Planted(
        "detach is dropped",
        _LIBRARY,
        "        presenter.detach(this)\n",
        "",
        "LifeTest#nothingHoldsAScreenThatWasLeft",
        "LibraryPresenter holds a screen that was left",
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


def notice(planted: Planted, classes: AppClasses, tests: Path, folder: Path) -> None:
    """Raise AssertionError unless `planted`, in a copy of the app below `folder`, is noticed."""
    copy = folder / "main"
    shutil.copytree(MAIN, copy)
    path = copy / planted.file
    text = path.read_text()
    if text.count(planted.before) != 1:
        raise AssertionError(f"{planted.file} has “{planted.before}” {text.count(planted.before)} times, expected once")
    path.write_text(text.replace(planted.before, planted.after))
    try:
        changed = _changed(path, copy, classes, folder)
        if planted.test is None:
            raise AssertionError(f"not noticed: {planted.name}")
        run_screens(changed, tests, [f"dev.taskbundler.screens.{planted.test}"], folder)
    except CheckFailed as failure:
        if planted.said not in str(failure):
            raise AssertionError(f"{planted.name}: noticed, but “{planted.said}” is not said: {failure}") from failure
        return
    raise AssertionError(f"not noticed: {planted.name}")


def _changed(path: Path, main: Path, classes: AppClasses, folder: Path) -> AppClasses:
    """The classes with what was made of a changed file before all others."""
    if path.suffix == ".kt":
        compile_kotlin(
            toolchain(), [path], folder / "changed", classes.everything, *APP_TARGET, f"-Xfriend-paths={classes.app}"
        )
        return replace(classes, engines=(folder / "changed", *classes.engines))
    (folder / "aapt2").mkdir()
    return replace(classes, apk=link(folder / "aapt2", classes.framework.android, main).apk)


def main() -> None:
    missed = 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        try:
            classes = compile_app(folder)
            tests = compile_screens(classes, folder)
            for number, planted in enumerate(PLANTED):
                began = time.monotonic()
                place = folder / str(number)
                place.mkdir()
                try:
                    notice(planted, classes, tests, place)
                    print(f"noticed in {time.monotonic() - began:.0f} s: {planted.name}", file=sys.stderr, flush=True)
                except AssertionError as error:
                    missed += 1
                    print(error, file=sys.stderr, flush=True)
        except (ToolMissing, CheckFailed) as error:
            sys.exit(str(error))
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
