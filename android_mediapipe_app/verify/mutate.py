"""Break core in many places, one at a time, and see whether its tests notice: what coverage cannot tell.

    python android_mediapipe_app/verify/mutate.py [--count 200] [--packages merge,task] [--seed 0]

Operators, bounds, conditions and constants are changed in the compiled classes, so a mutation costs seconds at most.
Those that survive are listed with their place. Some change nothing that matters (a limit one higher, how much of a hash
is shown): not all can be noticed.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Sequence

from check_core import CORE, CoreClasses, compile_core_and_tests
from toolchain import (
    HERE,
    CheckFailed,
    ToolMissing,
    compile_kotlin,
    debian_jars,
    junit_jars,
    kotlin_files,
    run_java,
    test_classes,
    toolchain,
)

PACKAGES = ("adapter", "catalogue", "formats", "litertlm", "merge", "task", "tflite", "writing")


@dataclass(frozen=True)
class MutationResult:
    """`tried` of `possible` places; `survived`: those that no test noticed."""

    tried: int
    possible: int
    survived: list[str]

    @property
    def noticed(self) -> float:
        """From 0 to 1."""
        return 1 - len(self.survived) / self.tried


def mutate(
    count: int, packages: Sequence[str] = PACKAGES, seed: int = 0, classes: CoreClasses | None = None
) -> MutationResult:
    """Try `count` mutations, drawn by `seed`; core's `classes` may be compiled already, and are not changed. Raises
    CheckFailed if something does not compile, ToolMissing.
    """
    tools = toolchain()
    asm = debian_jars("libasm-java", "asm", "asm-tree")
    with tempfile.TemporaryDirectory() as temporary:
        classes = classes or compile_core_and_tests(tools, Path(temporary))
        runner = Path(temporary) / "runner"
        compile_kotlin(tools, kotlin_files(HERE / "mutation"), runner, [*junit_jars(), *asm], "-jvm-target", "17")
        # Threads of the engine's tests are left out: what they wait for may never come.
        tests = [name for name in test_classes(classes.tests) if ".engine." not in name]
        printed = run_java(
            [runner, tools.stdlib, *junit_jars(), *asm],
            "dev.taskbundler.verify.MutationMainKt",
            str(CORE / "src/main/kotlin"),
            str(classes.main),
            str(classes.tests),
            ",".join(packages),
            str(count),
            str(seed),
            *tests,
            jvm=("-Xmx1g", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", f"-Djava.io.tmpdir={temporary}"),
            folder=CORE,
        )
    tried, possible = map(int, re.search(r"^mutations (\d+) of (\d+)$", printed, re.MULTILINE).groups())
    return MutationResult(tried, possible, re.findall(r"^survived (.*)$", printed, re.MULTILINE))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--packages", default=",".join(PACKAGES))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    try:
        result = mutate(arguments.count, arguments.packages.split(","), arguments.seed)
    except (CheckFailed, ToolMissing) as error:
        sys.exit(str(error))
    if arguments.json:
        print(json.dumps(asdict(result)))
        return
    for place in result.survived:
        print(f"survived: {place}", file=sys.stderr)
    print(
        f"{result.noticed:.1%} of {result.tried} mutations noticed, of {result.possible} possible ones", file=sys.stderr
    )


if __name__ == "__main__":
    main()
