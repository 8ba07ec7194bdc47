"""How far long work is, and how long it still takes, in a terminal and in a file."""

import io
import re
import time

import pytest
from rich.console import Console

from bundler.commands import console
from bundler.commands.console import Terminal, Work


@pytest.fixture
def clock(monkeypatch):
    """The seconds that time.monotonic gives."""
    now = [100.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    return now


def test_the_time_left_goes_on_as_fast_as_before(clock):
    work = Work("writing", 10)
    assert work.left() is None and work.line() == "writing, 0%, 0:00:00"
    clock[0] += 30
    work.update(completed=3)
    assert work.left() == 70 and work.line() == "writing, 30%, 0:00:30, about 0:01:10 left"
    clock[0] += 20  # nothing more is done yet
    assert work.left() == 50
    clock[0] += 100
    assert work.left() == 0
    work.update(completed=10, description="written")
    assert work.line() == "written, 100%, 0:02:30"


def test_a_file_gets_a_line_every_few_seconds_and_a_terminal_what_it_shows(monkeypatch):
    monkeypatch.setattr(console, "LINES_APART", 0.05)
    terminal = Terminal()
    terminal.console = Console(file=(file := io.StringIO()), width=80)
    with terminal.bar("writing", 10) as update:
        for completed in range(1, 5):
            update(completed=completed)
            time.sleep(0.06)
    with terminal.stage("packing"):
        time.sleep(0.06)
    lines = file.getvalue().splitlines()
    assert any(re.fullmatch(r"writing, \d0%, 0:00:00, about 0:00:00 left", line) for line in lines)
    assert lines.count("packing, 0:00:00") >= 1 and lines[-1] == "✓ packing 0:00:00" and "\x1b" not in file.getvalue()
    terminal.console = Console(file=(file := io.StringIO()), width=80, force_terminal=True)
    with terminal.bar("writing", 10) as update:
        update(completed=5)
        time.sleep(0.2)
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", file.getvalue())
    assert "writing, 50%, 0:00:00, about" in shown and "✓ writing 0:00:00" in shown
    assert max(map(len, re.split(r"[\r\n]", shown))) <= 80


def test_work_that_fails_is_not_finished(monkeypatch):
    terminal = Terminal()
    terminal.console = Console(file=(file := io.StringIO()), width=80)
    with pytest.raises(KeyError), terminal.stage("packing"):
        raise KeyError
    assert "✓" not in file.getvalue()
