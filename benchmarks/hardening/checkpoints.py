"""Hostile checkpoints (tests/hostile_checkpoints.py) before `build --dry-run`: no traceback, hang, great memory, or
code of theirs.
"""

from __future__ import annotations

import json
import shutil

from attack import Attack, judge_end
from launcher import REPOSITORY, Job, Launcher
from tally import Tally
from trees import empty

REGISTRY = REPOSITORY / "tests" / "hostile_checkpoints.py"
SECONDS, KILOBYTES = 60.0, 1 << 20  # for each; memory above that of a sound one
_FORK = """
import json, os, sys
from pathlib import Path
sys.path[:0] = {path!r}
from hostile_checkpoints import HOSTILE, write_hostile
if len(sys.argv) == 1:
    print(json.dumps({{name: case.expected is None and case.in_a_build is None for name, case in HOSTILE.items()
                      if os.geteuid() or "not to be read" not in name}}))  # root may read everything
else:
    print(json.dumps(str(write_hostile(sys.argv[1], Path(sys.argv[2])))))
"""


def checkpoints(attack: Attack) -> Tally:
    tally = Tally("checkpoints")
    if not REGISTRY.exists():
        tally.remarks.append(f"skipped: there is no {REGISTRY.relative_to(REPOSITORY)}")
        return tally
    work = empty(attack.work / "checkpoints")
    script = work / "hostile.py"
    script.write_text(_FORK.format(path=[str(REGISTRY.parent), str(REPOSITORY)]))

    def registry(launcher: Launcher, *arguments: str):
        ended = launcher.run(Job(arguments, work, work, script=script))
        if ended.code:
            raise RuntimeError(f"{REGISTRY.name} {' '.join(arguments)}: {ended.stderr[-1000:]}")
        return json.loads(ended.stdout.splitlines()[-1])

    names = {name: sound for name, sound in registry(attack.launchers[0]).items() if attack.wants(name)}
    tally.expect(len(names))
    usual: list[int] = []

    def attempt(item: tuple[int, str], launcher: Launcher) -> None:
        number, name = item
        folder = work / str(number)
        temporary = empty(folder / "temporary")
        target = registry(launcher, name, str(folder / "hostile"))
        job = Job(("build", target, "-o", str(folder / "out"), "--dry-run"), folder, temporary, timeout=SECONDS)
        ended = launcher.run(job)
        judge_end(tally, name, ended)
        if names[name]:
            if ended.code:
                tally.fail("wrong verdicts", name, f"it is sound, and is refused: {ended.last_line}")
            usual.append(ended.peak_kilobytes)
        elif ended.code == 0:  # what only reading the weights shows, a build has to refuse
            ended = launcher.run(
                Job(("build", target, "-o", str(folder / "out")), folder, temporary, timeout=2 * SECONDS)
            )
            judge_end(tally, name, ended)
            if ended.code == 0:
                tally.fail("wrong verdicts", name, "it is hostile, and a build takes it")
        if ended.code not in (0, 1, 2, 3) or (
            ended.code and "rror: " not in ended.stderr and "failed: " not in ended.stderr
        ):
            tally.fail("wrong verdicts", name, f"ended with {ended.code} and no sentence: {ended.last_line}")
        if ended.peak_kilobytes > min(usual, default=KILOBYTES) + KILOBYTES:
            tally.fail("wrong verdicts", name, f"takes {ended.peak_kilobytes >> 10} MB")
        if any(path.name == "code_was_run" for path in folder.rglob("*")):
            tally.fail("lost", name, "code from the checkpoint was run")
        if (folder / "out").exists() or any(temporary.iterdir()):
            tally.fail("left behind", name, ", ".join(path.name for path in [*folder.iterdir(), *temporary.iterdir()]))
        tally.trial()
        shutil.rmtree(folder)

    ordered = sorted(names, key=lambda name: not names[name])  # the sound ones first: they say what memory is usual
    attack.each(list(enumerate(ordered)), attempt)
    return tally
