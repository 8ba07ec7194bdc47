"""Temporary folders and partial files: gone at the end, and what a killed process left is gone after the next."""

import errno
import os
import signal
import subprocess
import sys

import pytest

from bundler.errors import BundleError
from bundler.system.atomic_file import replacing
from bundler.system.temporary_folder import temporary_folder

WORKER = """
import sys, time
from pathlib import Path
from bundler.system.atomic_file import replacing
from bundler.system.temporary_folder import temporary_folder
with temporary_folder("test", Path(sys.argv[1])) as folder, replacing(Path(sys.argv[1]) / "out") as stream:
    (folder / "cache").write_text("cache")
    (folder / "sub").mkdir()
    (folder / "sub" / "more").write_text("cache")
    stream.write(b"half")
    stream.flush()
    print("working", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def worker(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", WORKER, str(tmp_path)], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"working\n"
    yield process
    process.kill()
    process.wait()


def use(place):
    with temporary_folder("test", place) as folder, replacing(place / "out") as stream:
        stream.write(b"whole")
        (folder / "cache").touch()
        return len(os.listdir(place))


def test_nothing_stays(tmp_path):
    use(tmp_path)
    assert os.listdir(tmp_path) == ["out"] and (tmp_path / "out").read_bytes() == b"whole"


def test_the_next_process_clears_what_a_killed_one_left(tmp_path, worker):
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    assert len(os.listdir(tmp_path)) == 2
    use(tmp_path)
    assert os.listdir(tmp_path) == ["out"]


def test_what_a_living_process_uses_stays(tmp_path, worker):
    before = set(os.listdir(tmp_path))
    use(tmp_path)
    assert set(os.listdir(tmp_path)) == before | {"out"}


@pytest.mark.parametrize(
    "name",
    [
        "task-bundler-notes",
        "task-bundler.test.abcdefgh",
        ".task-bundler.test.12345678",
        ".out.abcdef12.partial",
        ".out.partial",
    ],
)
def test_what_only_looks_like_ours_stays(tmp_path, name):
    """A folder of such a name, with a user's file and without our mark; for a file, one whose name is not exactly ours,
    or a folder.
    """
    (tmp_path / name).mkdir()
    (tmp_path / name / "thesis").write_text("mine")
    use(tmp_path)
    assert (tmp_path / name / "thesis").read_text() == "mine"


def test_a_folder_that_cannot_be_emptied_at_once_is_cleared_later(tmp_path, monkeypatch):
    with monkeypatch.context() as patch, temporary_folder("test", tmp_path) as folder:
        (folder / "busy").touch()
        patch.setattr("os.unlink", lambda *arguments, **options: (_ for _ in ()).throw(OSError("busy")))
    assert folder.exists()
    use(tmp_path)
    assert os.listdir(tmp_path) == ["out"]


def test_a_full_disk_is_named(tmp_path):
    with pytest.raises(BundleError, match=f"{tmp_path} could not be written .No space left.*TMPDIR"):
        with temporary_folder("test", tmp_path):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(FileNotFoundError), temporary_folder("test", tmp_path) as folder:
        open(folder / "gone")
    assert os.listdir(tmp_path) == []
