"""Hundreds of hostile checkpoints through the command line: no traceback, no hang, no code run, one sentence each.

    python benchmarks/hostile_checkpoints.py [--every 10] [--json]

The checkpoints are those of tests/bundler/hostile_checkpoints.py; each is given to `python -m bundler build X -o Y --dry-run`,
which takes some seconds to start: --every 10 takes every tenth.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HANG_SECONDS = 120


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    options = parser.parse_args()
    sys.path[:0] = [str(ROOT), str(ROOT / "tests/bundler")]
    from hostile_checkpoints import HOSTILE

    outcomes, bad, slowest = Counter(), [], (0.0, "")
    names = list(HOSTILE)[::options.every]
    with tempfile.TemporaryDirectory(prefix="hostile-") as folder:
        for number, name in enumerate(names):
            started = time.perf_counter()
            outcome, text = dry_run(name, Path(folder) / str(number))
            slowest = max(slowest, (time.perf_counter() - started, name))
            outcomes[outcome] += 1
            if outcome != ("sound" if HOSTILE[name].expected is None else "refused"):
                bad.append({"name": name, "outcome": outcome, "text": text[-500:]})
    print(f"{len(names)} checkpoints: {dict(outcomes)}; slowest {slowest[0]:.1f} s ({slowest[1]})", file=sys.stderr)
    for each in bad:
        print(f"{each['name']}: {each['outcome']}: {each['text']}", file=sys.stderr)
    if options.json:
        print(json.dumps({"outcomes": outcomes, "unexpected": bad, "slowest_seconds": slowest[0]}, indent=1))
    return int(bool(bad))


def dry_run(name: str, folder: Path) -> tuple[str, str]:
    """What became of one: refused, sound, traceback, hang or code run; and what the command printed."""
    from hostile_checkpoints import CODE_RUN, write_hostile

    source = write_hostile(name, folder)
    try:
        done = subprocess.run([sys.executable, "-m", "bundler", "build", source, "-o", folder / "out", "--dry-run"], capture_output=True, text=True,
                              timeout=HANG_SECONDS, env={**os.environ, "PYTHONPATH": str(ROOT)})
    except subprocess.TimeoutExpired:
        return "hang", ""
    if (folder / CODE_RUN).exists():
        return "code run", done.stderr
    if "Traceback" in done.stderr or done.returncode not in (0, 1, 2):
        return "traceback", done.stderr
    return "sound" if done.returncode == 0 else "refused", done.stderr


if __name__ == "__main__":
    sys.exit(main())
