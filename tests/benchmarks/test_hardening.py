"""The hardening command counts what goes wrong, in each column, of a toy that does it on purpose."""

import importlib
import sys
from dataclasses import replace
from pathlib import Path

import pytest

PARTS = Path(__file__).resolve().parents[2] / "benchmarks" / "hardening"
TOY = """
import os, signal, sys
from pathlib import Path

mistake, text = sys.argv[1:]
out, partial = Path("place/out"), Path("place/.out.partial")
for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
    signal.signal(number, lambda number, frame: sys.exit(1))
try:
    if mistake == "lost":
        out.unlink(missing_ok=True)
    if mistake == "half-written":
        out.write_text(text[:5])
    if mistake == "left behind":
        Path("temporary/cache").write_text(text)
    if mistake == "tracebacks":
        raise ValueError(mistake)
    if mistake == "wrong verdicts":
        sys.exit(0)
    partial.write_text(text)
    os.replace(partial, out)
finally:
    partial.unlink(missing_ok=True)
"""


@pytest.fixture(scope="module")
def hardening():
    """Its modules, as the command finds them."""
    sys.path.insert(0, str(PARTS))
    yield importlib.import_module
    sys.path.remove(str(PARTS))
    for path in PARTS.glob("*.py"):
        sys.modules.pop(path.stem, None)


@pytest.fixture(scope="module")
def toys(hardening, tmp_path_factory):
    """A launcher that runs the toy, whatever it is given."""
    folder = tmp_path_factory.mktemp("toys")
    (folder / "toy.py").write_text(TOY)
    launcher = hardening("launcher").Launcher(folder / "launcher", bare=True)

    class Toys:
        def run(self, job, **kill):
            return launcher.run(replace(job, script=folder / "toy.py"), **kill)

    yield Toys()
    launcher.close()


def killed(hardening, toys, work, mistake):
    attack, tally = hardening("attack").Attack(work, [toys], moments=6), hardening("tally").Tally("kill")
    writing = hardening("writing").Writing("toy", (mistake, "new" * 10), (mistake, "old" * 10), ("out",))
    hardening("kill").Set(attack, tally, writing, replaces=True).attack_with(toys)
    return tally


@pytest.mark.parametrize("mistake", ["lost", "half-written", "left behind", "tracebacks", "wrong verdicts"])
def test_every_column_counts(hardening, toys, tmp_path, mistake):
    tally = killed(hardening, toys, tmp_path, mistake)
    assert tally.counts()[mistake] > 0
    assert "--case 'toy" in hardening("tally").table([tally])


def test_a_careful_command_has_zeros(hardening, toys, tmp_path):
    tally = killed(hardening, toys, tmp_path, "none")
    assert tally.failures == [] and tally.tried > 12


def test_a_verdict_on_a_full_disk_needs_a_sentence(hardening, tmp_path):
    disk, tally = hardening("disk"), hardening("tally").Tally("disk")
    full = disk.Full(
        hardening("attack").Attack(tmp_path, []), tally, hardening("writing").Writing("toy", (), outputs=("out",)), None
    )
    ended = hardening("launcher").Ended(
        1, "", "task-bundler: error: place/out: no space left\n", 1.0, 1.0, 1, False, False, False
    )
    full._judge("named", ended, False)
    assert tally.failures == []
    full._judge("unnamed", replace(ended, stderr="task-bundler: error: something went wrong\n"), False)
    full._judge("killed", replace(ended, code=-7, stderr=""), False)
    (full.parts["place"] / ".out.partial").write_text("half")
    full._judge("left", ended, False)
    assert [(failure.case, failure.column) for failure in tally.failures] == [
        ("unnamed", "wrong verdicts"),
        ("killed", "tracebacks"),
        ("left", "left behind"),
    ]


def test_somebodys_file_that_goes_is_lost(hardening, toys, tmp_path):
    ownership, tally = hardening("ownership"), hardening("tally").Tally("ownership")

    def prepare(folder):
        (folder / "place").mkdir()
        (folder / "place" / "out").write_text("years of work")

    ownership.attempt(tmp_path / "work", ownership.Case("a thesis", prepare, ("none", "new"), ("out",)), tally, toys)
    assert [failure.column for failure in tally.failures] == ["lost", "wrong verdicts"]
