"""The ladder: what can be said of the app on a machine without Android Studio, without Google's Maven repository and
without a phone.

    python android_mediapipe_app/verify/app_check.py [--rung N]... [--json]
    python android_mediapipe_app/verify/app_check.py --pictures

Runs the rungs in order, each of which prints ok, skipped (with what to install) or failed (with what is wrong).
Exit code 1 if one failed, 0 if not. What no rung can say is in android_mediapipe_app/README.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Callable

import api_check
import app_classes
import check_core
import check_merge
import check_screens
import gradle_files
import planted
import resources
from toolchain import CheckFailed, ToolMissing


@dataclass(frozen=True)
class Outcome:
    """`status`: ok, skipped or failed; `detail`: what was counted, what is missing, or what is wrong."""

    number: int
    title: str
    status: str
    detail: str
    seconds: float


class Ladder:
    """The rungs, and the classes that several of them need: compiled once, below `folder`, unless they are given."""

    def __init__(self, folder: Path, classes: app_classes.AppClasses | None = None) -> None:
        self._folder = folder
        self._classes = classes
        self.rungs: dict[int, tuple[str, Callable[[], str]]] = {
            1: ("core compiles and its tests pass", self._core),
            2: ("style", self._style),
            3: ("the app compiles and its tests pass", self._app),
            4: ("every call of Android exists on the oldest phone", self._api),
            5: ("manifest, resources and texts", resources.check_resources),
            6: ("the engine files keep the engines' rules", self._engines),
            7: ("what Kotlin writes is what Python writes", check_merge.check_merge),
            8: ("the screens are in order, and write what the engine writes", self._screens),
            9: ("what Gradle will read", gradle_files.check_gradle),
        }

    def climb(self, number: int) -> Outcome:
        title, check = self.rungs[number]
        began = time.monotonic()
        try:
            status, detail = "ok", check()
        except ToolMissing as missing:
            status, detail = "skipped", str(missing)
        except CheckFailed as failure:
            status, detail = "failed", str(failure)
        return Outcome(number, title, status, detail, round(time.monotonic() - began, 1))

    def _core(self) -> str:
        result = check_core.check_core()
        return f"{result.tests} tests, {result.coverage:.1%} of lines"

    def _style(self) -> str:
        check_core.check_style()
        return "ktlint has nothing to say"

    def _app(self) -> str:
        return f"compiled; {app_classes.run_app_tests(self._compiled(), self._folder)}"

    def _api(self) -> str:
        classes = self._compiled()
        return api_check.check_api([classes.app, classes.core])

    def _engines(self) -> str:
        return app_classes.run_engine_tests(self._compiled(), self._folder)

    def _screens(self) -> str:
        """The two parts with a JVM of their own each, and a third with defects."""
        classes = self._compiled()
        tests = check_screens.compile_screens(classes, self._folder)
        parts = check_screens.check_drawn, check_screens.check_end_to_end, planted.check_planted
        return "; ".join(part(classes, tests, self._folder) for part in parts)

    def pictures(self) -> str:
        """Draw the README's pictures anew."""
        return check_screens.draw_pictures(self._compiled(), self._folder)

    def _compiled(self) -> app_classes.AppClasses:
        if self._classes is None:
            # A second try after a failure begins anew.
            self._classes = app_classes.compile_app(Path(tempfile.mkdtemp(dir=self._folder)))
        return self._classes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--rung", type=int, action="append", choices=range(1, 10), help="only this rung; may be given several times"
    )
    parser.add_argument(
        "--pictures", action="store_true", help="draw the pictures of the README anew, and check nothing"
    )
    parser.add_argument("--json", action="store_true", help="one object on standard output, for scripts")
    arguments = parser.parse_args()
    outcomes = []
    with tempfile.TemporaryDirectory() as temporary:
        ladder = Ladder(Path(temporary))
        if arguments.pictures:
            sys.exit(print(ladder.pictures()))
        for number in arguments.rung or ladder.rungs:
            outcome = ladder.climb(number)
            outcomes.append(outcome)
            print(
                f"{number}  {outcome.status:8}{outcome.seconds:6.1f} s  {outcome.title}: {outcome.detail}",
                file=sys.stderr,
                flush=True,
            )
    if arguments.json:
        print(json.dumps({"rungs": [asdict(outcome) for outcome in outcomes]}))
    sys.exit(1 if any(outcome.status == "failed" for outcome in outcomes) else 0)


if __name__ == "__main__":
    main()
