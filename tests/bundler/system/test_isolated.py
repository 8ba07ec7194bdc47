"""Whatever ends the other process is an exception here."""

import os
import signal

import pytest

from bundler.errors import BundleError, OptionError
from bundler.system.isolated import run_isolated


def fail(error):
    raise error


def end(code):
    os.write(2, b"the last words\n")
    os._exit(code)


def end_by(number):
    os.kill(os.getpid(), number)


def write(path, text):
    path.write_text(text)


def test_it_runs(tmp_path):
    run_isolated("writing", write, tmp_path / "file", "text")
    assert (tmp_path / "file").read_text() == "text"


def test_what_the_function_returns_is_returned():
    assert run_isolated("reversing", sorted, [3, 1, 2]) == [1, 2, 3]


@pytest.mark.parametrize(
    "error", [BundleError("found"), OptionError("option"), OSError(28, "No space left on device")], ids=repr
)
def test_what_it_raises_is_raised(error):
    with pytest.raises(type(error), match="found|option|No space"):
        run_isolated("failing", fail, error)


def test_other_errors_are_named():
    with pytest.raises(BundleError, match="ZeroDivisionError: by nothing"):
        run_isolated("failing", fail, ZeroDivisionError("by nothing"))


@pytest.mark.parametrize(
    "function, argument, how",
    [
        (end, 1, "exit code 1\n  the last words"),
        (end, 0, "exit code 0"),
        (end_by, signal.SIGKILL, "signal SIGKILL"),
        (end_by, signal.SIGBUS, "signal SIGBUS"),
    ],
)
def test_an_end_is_an_error(function, argument, how):
    with pytest.raises(BundleError, match=f"converting: the process ended with {how}"):
        run_isolated("converting", function, argument)
