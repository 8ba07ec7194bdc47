"""Ctrl-C at every change of the file system: what was begun is finished or removed, whichever thread the system gives
the signal to.
"""

import os
import signal
import subprocess
import sys
import tempfile
import threading

import pytest

from bundler.system.atomic_file import replacing
from bundler.system.output_folder import staged_folder
from bundler.system.signals import signals_later
from bundler.system.temporary_folder import choose_temporary_place, temporary_folder


def write_file(place):
    with replacing(place / "out") as file:
        file.write(b"whole")


def write_folder(place):
    with staged_folder(place / "out", force=True) as folder:
        (folder / "sub").mkdir()
        (folder / "sub" / "file").write_text("whole")


def use_temporary_folder(place):
    with temporary_folder("test", place) as folder:
        (folder / "sub").mkdir()
        (folder / "sub" / "file").write_text("whole")


@pytest.fixture(scope="module")
def interrupting():
    """Call the function with (work, folder, n) to do `work` and get SIGINT just before the n-th change below `folder`;
    whether it came.
    """
    armed, ended = {}, threading.Event()

    def hook(event, arguments):
        if (
            armed
            and event in ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir")
            and str(arguments[0]).startswith(armed["folder"])
        ):
            armed["left"] -= 1
            if armed["left"] == 0:
                os.kill(os.getpid(), signal.SIGINT)

    def interrupt(work, folder, moment):
        armed.update(folder=str(folder), left=moment)
        try:
            work(folder)
        except KeyboardInterrupt:
            pass
        left = armed["left"]
        armed.clear()
        return left <= 0

    sys.addaudithook(hook)
    # A second thread, as PyTorch has many: a mask of the main thread alone would not keep the signal from it.
    thread = threading.Thread(target=ended.wait)
    thread.start()
    yield interrupt
    ended.set()
    thread.join()


@pytest.mark.parametrize("work", [write_file, write_folder, use_temporary_folder])
def test_nothing_is_left_whenever_it_is_interrupted(interrupting, work, tmp_path):
    ends = []
    for moment in range(1, 100):
        folder = tmp_path / str(moment)
        folder.mkdir()
        if not interrupting(work, folder, moment):
            break
        ends.append(sorted(path.name for path in folder.iterdir()))
    assert 2 < len(ends) < 98
    assert all(end in ([], ["out"]) for end in ends), ends


def test_a_signal_waits(interrupting):
    done = []
    with pytest.raises(KeyboardInterrupt):
        with signals_later():
            os.kill(os.getpid(), signal.SIGINT)
            done.append("block")
        done.append("after")
    assert done == ["block"]


def test_an_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals_later():
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


SWALLOWING = """
import gc, os, signal, sys, time
from bundler.commands import cli
from bundler.commands import doctor
def collected(phase, info):  # as native code calls back: what is raised here goes nowhere
    gc.callbacks.clear()
    os.kill(os.getpid(), int(sys.argv[1]))
def work(*_, **__):
    gc.callbacks.append(collected)
    gc.collect()
    try:
        time.sleep(20)
    except KeyboardInterrupt:
        raise ValueError("what a library made of it")
doctor.command.callback = work
run = cli.run
cli.run = lambda _: run(["doctor", "pyproject.toml"])
cli.main()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_in_a_callback_still_ends_the_command(number):
    """And in one sentence, whatever a library makes of it."""
    done = subprocess.run(
        [sys.executable, "-c", SWALLOWING, str(int(number))], capture_output=True, text=True, timeout=15
    )
    assert (done.returncode, done.stderr) == (1, "interrupted; nothing was left half-written\n")


def test_no_trial_file_is_written_to_find_the_temporary_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    opened = []
    monkeypatch.setattr(os, "open", lambda *arguments, **_: opened.append(arguments))
    choose_temporary_place()
    assert tempfile.gettempdir() == str(tmp_path) and not opened
