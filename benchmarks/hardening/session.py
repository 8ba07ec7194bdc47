"""2,000 texts with 500 swaps in one engine, by benchmarks/long_session.py: no text may be another, and nothing may
grow.
"""

from __future__ import annotations

import json
import subprocess
import sys

from attack import Attack
from launcher import REPOSITORY
from tally import Tally

SCRIPT = REPOSITORY / "benchmarks" / "long_session.py"
GENERATIONS, SWAPS = 2000, 500
GROWTH_MB, GROWTH_DESCRIPTORS = 50, 16


def session(attack: Attack) -> Tally:
    tally = Tally("session")
    if not SCRIPT.exists():
        tally.remarks.append(f"skipped: there is no {SCRIPT.relative_to(REPOSITORY)}")
        return tally
    case = f"{GENERATIONS} texts, {SWAPS} swaps"
    done = subprocess.run(
        [
            sys.executable,
            str(SCRIPT),
            attack.inputs().path("lora"),
            "--generations",
            str(GENERATIONS),
            "--swaps",
            str(SWAPS),
        ],
        capture_output=True,
        text=True,
        timeout=1800,
    )
    tally.trial(GENERATIONS)
    try:
        figures = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        line = next((line for line in reversed(done.stderr.splitlines()) if line.strip()), "")
        tally.fail("tracebacks", case, f"ended with {done.returncode}: {line}")
        return tally
    tally.remarks.append(json.dumps(figures))
    if figures["wrong_texts"]:
        tally.fail("wrong verdicts", case, f"{figures['wrong_texts']} texts are not what a fresh engine writes")
    for name, allowed in (("rss_mb", GROWTH_MB), ("descriptors", GROWTH_DESCRIPTORS)):
        if (growth := figures[name]["largest"] - figures[name]["start"]) > allowed:
            tally.fail("left behind", case, f"{name} grew by {growth:.0f}; at most {allowed} are allowed")
    return tally
