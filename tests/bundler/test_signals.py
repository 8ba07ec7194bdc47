"""Ctrl-C at every change of the file system: what was begun is finished or removed, whichever thread the system gives the signal to."""

import os
import signal
import sys
import threading

import pytest

from bundler.atomic_file import replacing
from bundler.output_folder import staged_folder
from bundler.signals import signals_later
from bundler.temporary_folder import temporary_folder


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
    """Call the function with (work, folder, n) to do `work` and get SIGINT just before the n-th change below `folder`; whether it came."""
    armed, ended = {}, threading.Event()

    def hook(event, arguments):
        if armed and event in ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir") and str(arguments[0]).startswith(armed["folder"]):
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
    other = threading.Thread(target=ended.wait)
    other.start()
    yield interrupt
    ended.set()
    other.join()


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
