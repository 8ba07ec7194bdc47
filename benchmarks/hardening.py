"""Attacks the command line from outside: kills, full disks, damaged bundles, hostile checkpoints, a long session, other
people's files.

    python benchmarks/hardening.py [--only kill,disk,bundles,checkpoints,session,ownership] [--moments 20] [--json]

Progress goes to stderr, the table to stdout. Exit code 0 only when nothing was lost, half-written or left behind, no
traceback was shown and every verdict was right. Each failure comes with the command that shows it again. Linux; the
full disk needs root.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent / "hardening"), str(Path(__file__).resolve().parent.parent)]

PARTS = ("kill", "disk", "bundles", "checkpoints", "session", "ownership")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(PARTS), metavar="PART,…", help="the parts to run")
    parser.add_argument("--case", default="", help="only the cases whose names have this in them")
    parser.add_argument("--moments", type=int, default=20, help="kills of each command, signal and state of its output")
    parser.add_argument("--launchers", type=int, default=2, help="commands that run at the same time")
    parser.add_argument(
        "--work", type=Path, help="a folder to keep; the inputs it has are used again [default: a temporary one]"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    options = parser.parse_args()
    parts = options.only.split(",")
    if unknown := set(parts) - set(PARTS):
        parser.error(f"--only {', '.join(sorted(unknown))}: expected some of {', '.join(PARTS)}")
    from attack import Attack
    from launcher import launchers
    from tally import table

    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="hardening-", ignore_cleanup_errors=True) as folder:
        work = options.work or Path(folder) / "work"
        work.mkdir(parents=True, exist_ok=True)
        print("starting", file=sys.stderr)
        with launchers(options.launchers, work) as zygotes:
            attack = Attack(work.resolve(), zygotes, options.moments, options.case)
            tallies = []
            for part in parts:
                begun = time.monotonic()
                tallies.append(getattr(importlib.import_module(part), part)(attack))
                print(
                    f"{part}: done in {time.monotonic() - begun:.0f} s, {len(tallies[-1].failures)} failures",
                    file=sys.stderr,
                )
            busy = sum(zygote.busy for zygote in zygotes)
    seconds = time.monotonic() - started
    if options.json:
        print(
            json.dumps(
                {
                    "seconds": round(seconds),
                    "processor_seconds": round(busy),
                    "parts": [tally.as_dict() for tally in tallies],
                },
                indent=1,
            )
        )
    else:
        print(f"{table(tallies)}\n{seconds:.0f} s, of processor time {busy:.0f} s")
    return int(any(tally.failures for tally in tallies))


if __name__ == "__main__":
    sys.exit(main())
