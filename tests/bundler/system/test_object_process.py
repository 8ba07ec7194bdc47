"""Objects in another process behave as they would here, and take nothing of this one with them."""

import gc
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from bundler.errors import BundleError, OptionError
from bundler.system.object_process import object_process
from bundler.system.temporary_folder import temporary_folder


class Counter:
    """Counts what is alive in its process in a file."""

    def __init__(self, alive, start=0):
        self.value, self._alive = start, alive
        alive.write_text(str(int(alive.read_text()) + 1))

    def __del__(self):
        self._alive.write_text(str(int(self._alive.read_text()) - 1))

    @property
    def process(self):
        return os.getpid()

    def add(self, number, *, times=1):
        self.value += number * times
        return self.value

    def squares(self, array):
        return array**2

    def fail(self, error):
        raise error

    def unsendable(self):
        return lambda: None

    def end_by(self, number):
        os.kill(os.getpid(), number)


@contextmanager
def opened(alive, start):
    counter = Counter(alive, start)
    yield counter
    alive.write_text("closed")


def with_folder():
    folder = temporary_folder("inner")
    folder.__enter__()
    return [folder]


@pytest.fixture
def alive(tmp_path):
    (tmp_path / "alive").write_text("0")
    return tmp_path / "alive"


@pytest.fixture
def process():
    with object_process("counting") as process:
        yield process


def test_attributes_and_methods_are_the_objects(process, alive):
    counter = process.make(Counter, alive, start=3)
    assert counter.value == 3 and counter.process != os.getpid()
    assert [counter.add(4), counter.add(1, times=5), counter.value] == [7, 12, 12]
    array = np.arange(1e6)
    assert np.array_equal(counter.squares(array), array**2)


def test_there_are_several_in_one_process(process, alive):
    first, second = (process.make(Counter, alive, start) for start in (1, 2))
    first.add(10)
    assert (first.value, second.value) == (11, 2) and first.process == second.process


def test_an_object_goes_with_its_stand_in(process, alive):
    first, second = (process.make(Counter, alive) for _ in range(2))
    assert alive.read_text() == "2"
    add = first.add
    del first
    gc.collect()
    assert add(1) == 1 and alive.read_text() == "2"  # a method keeps its object
    del add
    assert second.value == 0  # the next question takes the word along
    assert alive.read_text() == "1"


def test_what_a_context_manager_gives_is_left_with_the_block(process, alive):
    with process.open(opened, alive, 5) as counter:
        assert counter.add(1) == 6
        assert alive.read_text() == "1"
    assert alive.read_text() == "closed"


@pytest.mark.parametrize("error", [BundleError("found"), OptionError("option"), OSError(28, "No space left")], ids=repr)
def test_what_it_raises_is_raised(process, alive, error):
    counter = process.make(Counter, alive)
    with pytest.raises(type(error), match="found|option|No space"):
        counter.fail(error)
    assert counter.add(1) == 1


@pytest.mark.parametrize(
    "ask, message",
    [
        (lambda process, alive: process.make(Counter), "TypeError: .*alive"),
        (lambda process, alive: process.make(Counter, alive).fail(ZeroDivisionError("0")), "ZeroDivisionError: 0"),
        (lambda process, alive: process.make(Counter, alive).missing, "AttributeError: .*missing"),
        (lambda process, alive: process.make(Counter, alive).unsendable(), "Error: .*lambda"),
    ],
)
def test_other_errors_are_named(process, alive, ask, message):
    with pytest.raises(BundleError, match=message):
        ask(process, alive)
    assert process.make(Counter, alive, 2).value == 2


def test_the_end_of_the_process_is_an_error(process, alive):
    counter = process.make(Counter, alive)
    with pytest.raises(BundleError, match="counting: the process ended with signal SIGKILL.*\n  Usual causes"):
        counter.end_by(signal.SIGKILL)
    with pytest.raises(BundleError, match="counting: the process ended"):
        counter.add(1)


def test_the_end_of_the_process_is_what_a_block_raises(process, alive):
    with pytest.raises(BundleError, match="signal SIGSEGV"):
        with process.open(opened, alive, 0) as counter:
            counter.end_by(signal.SIGSEGV)


def test_nothing_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with object_process("counting") as process:
        number = process.make(with_folder)  # of a folder that nobody closes
        inner = [path for path in tmp_path.rglob("task-bundler.inner.*")]
        assert number and len(inner) == 1 and inner[0].parent.parent == tmp_path
    assert not list(tmp_path.iterdir())


SCRIPT = """
import time
from bundler.system.object_process import object_process

print("begun", flush=True)
with object_process("sleeping") as process:
    with process.open(open, "/dev/null") as file:
        print("open", flush=True)
        process.make(time.sleep, 60)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_it_ends_at_once_with_this_process(tmp_path, number):
    script = tmp_path / "script.py"  # which is not run again
    script.write_text(SCRIPT)
    environment = os.environ | {"TMPDIR": str(tmp_path / "tmp"), "PYTHONPATH": os.pathsep.join(sys.path)}
    (tmp_path / "tmp").mkdir()
    with subprocess.Popen(
        [sys.executable, script], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as command:
        assert [command.stdout.readline().strip() for _ in range(2)] == ["begun", "open"]
        children = Path(f"/proc/{command.pid}/task/{command.pid}/children").read_text().split()
        started = time.monotonic()
        command.send_signal(number)
        assert command.wait() == -number
        assert time.monotonic() - started < 20
        errors = command.stderr.read()
    assert number == signal.SIGKILL or errors.strip().endswith("KeyboardInterrupt")
    for _ in range(100):
        if not any(_runs(child) for child in children):
            break
        time.sleep(0.1)
    assert not any(_runs(child) for child in children)
    assert number == signal.SIGKILL or not list((tmp_path / "tmp").iterdir())


def _runs(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
