"""The staged folder: whole or not at all."""

import signal
import subprocess
import sys

import pytest

from bundler.errors import BundleError, OptionError
from bundler.output_folder import check_output, staged_folder


def contents(folder):
    return sorted(path.name for path in folder.iterdir())


def test_it_appears_when_the_block_ends(tmp_path):
    with staged_folder(tmp_path / "a" / "out") as folder:
        (folder / "manifest.json").write_text("{}")
        assert not (tmp_path / "a" / "out").exists()
    assert contents(tmp_path / "a") == ["out"] and contents(tmp_path / "a" / "out") == ["manifest.json"]


@pytest.mark.parametrize("error", [BundleError("no"), KeyboardInterrupt(), SystemExit(1), OSError(28, "No space left on device")], ids=repr)
def test_nothing_is_left_when_it_raises_and_what_was_there_stays(tmp_path, error):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").touch()
    with pytest.raises(type(error)):
        with staged_folder(tmp_path / "out") as folder:
            (folder / "half").touch()
            raise error
    assert contents(tmp_path) == ["out"] and contents(tmp_path / "out") == ["old"]


def test_an_old_output_is_replaced_whole(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").touch()
    with staged_folder(tmp_path / "out") as folder:
        (folder / "new").touch()
    assert contents(tmp_path) == ["out"] and contents(tmp_path / "out") == ["new"]


WORKER = """
import sys, time
from pathlib import Path
from bundler.output_folder import staged_folder
with staged_folder(Path(sys.argv[1])) as folder:
    (folder / "half").write_text("half")
    print("working", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("number, leftovers", [
    (signal.SIGKILL, [".out.lock", ".out.partial"]), (signal.SIGTERM, []), (signal.SIGINT, [])], ids=lambda value: str(value))
def test_a_killed_writer_leaves_no_output_and_the_next_succeeds(tmp_path, number, leftovers):
    process = subprocess.Popen([sys.executable, "-c", WORKER, str(tmp_path / "out")], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout.readline() == b"working\n"
    with pytest.raises(BundleError, match="another build is writing"):
        with staged_folder(tmp_path / "out"):
            pass
    process.send_signal(number)
    process.wait(timeout=20)
    assert contents(tmp_path) == leftovers
    with staged_folder(tmp_path / "out") as folder:
        assert contents(folder) == []
    assert contents(tmp_path) == ["out"]


@pytest.mark.parametrize("prepare, force, error, message", [
    (lambda out: out.write_text(""), True, OptionError, "is a file"),
    (lambda out: (out.mkdir(), (out / "manifest.json").touch()), False, OptionError, "add --force"),
    (lambda out: (out.mkdir(), (out / "thesis.doc").touch()), True, OptionError, "was not written by a build")])
def test_outputs_that_are_refused(tmp_path, prepare, force, error, message):
    prepare(tmp_path / "out")
    with pytest.raises(error, match=message):
        check_output(tmp_path / "out", force)


def test_outputs_that_are_taken(tmp_path):
    check_output(tmp_path / "new" / "deeper", False)
    (tmp_path / "empty").mkdir()
    check_output(tmp_path / "empty", False)
    (tmp_path / "empty" / "manifest.json").touch()
    check_output(tmp_path / "empty", True)


def test_a_folder_one_may_not_write_to(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BundleError, match="not a folder one may write to"):
        check_output(tmp_path / "file" / "out", False)
