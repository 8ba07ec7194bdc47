"""Whatever ends the other process is an exception here."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bundler.errors import BundleError, OptionError
from bundler.system.isolated import isolation, run_isolated


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


def imported(name):
    return name in sys.modules, os.getpid()


def test_each_call_is_made_in_a_copy_of_a_process_that_has_imported_what_it_needs():
    with isolation("wave", "no_such_module") as run:
        (known, first), (_, second) = (run("looking", imported, "wave") for _ in range(2))
    assert known and "wave" not in sys.modules and len({first, second, os.getpid()}) == 3
    assert not any(Path(f"/proc/{number}").exists() for number in (first, second))


def test_a_call_after_one_that_ended():
    with isolation() as run:
        with pytest.raises(BundleError, match="writing: the process ended with exit code 1\n  the last words"):
            run("writing", end, 1)
        with pytest.raises(BundleError, match="converting: the process ended with signal SIGKILL\n  Usual"):
            run("converting", end_by, signal.SIGKILL)
        assert run("reversing", sorted, [3, 1, 2]) == [1, 2, 3]


def tell(report):
    for number in range(3):
        report(number)
    return "done"


def test_what_a_function_reports_arrives_in_order():
    told = []
    assert run_isolated("telling", tell, report=told.append) == "done" and told == [0, 1, 2]


def wait_forever(report):
    report(os.getpid())
    time.sleep(600)


@pytest.mark.parametrize("error", [KeyboardInterrupt, BrokenPipeError])
def test_what_is_left_ends_its_processes(error):
    def stop(number):
        waiting.append(number)
        raise error

    waiting = []
    with pytest.raises(error):
        run_isolated("waiting", wait_forever, report=stop)
    deadline = time.monotonic() + 10
    while Path(f"/proc/{waiting[0]}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("given", ["file", "standard input"])
def test_a_script_that_calls_is_not_run_again(tmp_path, given):
    script = tmp_path / "script.py"
    script.write_text(
        "import os\nfrom bundler.system.isolated import isolation\n"
        "print('run')\nwith isolation() as run:\n    print(run('looking', os.getppid) > 1)\n"
    )
    arguments = [sys.executable, script] if given == "file" else [sys.executable, "-"]
    done = subprocess.run(arguments, input=script.read_text(), capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "run\nTrue\n"), done.stderr


def test_a_function_of_a_guarded_script_is_found_there(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from bundler.system.isolated import run_isolated\ndef double(number):\n    return 2 * number\n"
        "if __name__ == '__main__':\n    print(run_isolated('doubling', double, 21))\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "42\n"), done.stderr
