"""The staged folder: whole or not at all, and nobody's file is lost to it."""

import os
import signal
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundler.errors import BundleError, OptionError
from bundler.system import output_folder
from bundler.system.output_folder import check_output, check_output_file, staged_folder
from bundler.system.written_files import LEDGER, foreign_files, remove_written


def contents(folder):
    return sorted(path.name for path in folder.iterdir())


def write(output, force=False, **texts):
    """An output of ours with these files."""
    with staged_folder(output, force) as folder:
        for name, text in (texts or {"model": "weights"}).items():
            (folder / name).write_text(text)
    return output


def test_it_appears_with_a_list_of_its_files_when_the_block_ends(tmp_path):
    with staged_folder(tmp_path / "a" / "out") as folder:
        (folder / "sub").mkdir()
        (folder / "sub" / "file").write_text("text")
        (folder / "sub" / "a name\nof \\ two\u2028lines").write_text("text")
        assert not (tmp_path / "a" / "out").exists()
    assert contents(tmp_path / "a") == ["out"] and contents(tmp_path / "a" / "out") == [LEDGER, "sub"]
    assert foreign_files(tmp_path / "a" / "out") == []
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", LEDGER], cwd=tmp_path / "a" / "out", check=True)


@pytest.mark.parametrize(
    "error", [BundleError("no"), KeyboardInterrupt(), SystemExit(1), OSError(28, "No space left on device")], ids=repr
)
def test_nothing_is_left_when_it_raises_and_what_was_there_stays(tmp_path, error):
    write(tmp_path / "out", old="old")
    with pytest.raises(BundleError if isinstance(error, OSError) else type(error)):
        with staged_folder(tmp_path / "out", force=True) as folder:
            (folder / "half").touch()
            raise error
    assert contents(tmp_path) == ["out"] and contents(tmp_path / "out") == [LEDGER, "old"]
    with pytest.raises(KeyboardInterrupt), staged_folder(tmp_path / "deep" / "er" / "out"):
        raise KeyboardInterrupt
    assert contents(tmp_path) == ["out"]


@pytest.mark.parametrize("can_exchange", [True, False])
def test_an_old_output_is_replaced_whole(tmp_path, monkeypatch, can_exchange):
    if not can_exchange:
        monkeypatch.setattr(output_folder, "_exchange", lambda first, second: False)
    write(tmp_path / "out", old="old")
    write(tmp_path / "out", force=True, new="new")
    assert contents(tmp_path) == ["out"] and contents(tmp_path / "out") == [LEDGER, "new"]


def add(name, text="mine"):
    def change(out):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text(text)

    return change


# What a user may have done to an output of ours, and what the refusal must name.
CHANGES = {
    "a file beside": (add("my_notes.txt"), "my_notes.txt"),
    "a file in a folder of ours": (add("sub/mine.tflite"), "sub/mine.tflite"),
    "a changed file": (add("model"), "model"),
    "a repository": (add(".git/config"), "Git repository"),
    "an empty folder": (lambda out: (out / "drafts").mkdir(), "drafts/"),
    "a link in place of a file": (
        lambda out: ((out / "model").rename(out.parent / "model"), (out / "model").symlink_to(out.parent / "model")),
        "model",
    ),
    "a link to a folder": (lambda out: (out / "elsewhere").symlink_to(out.parent), "elsewhere"),
    "a list of somebody else": (
        lambda out: (out / LEDGER).write_text("".join((out / LEDGER).read_text().splitlines(True)[1:])),
        "model",
    ),
    "no list": (lambda out: (out / LEDGER).unlink(), "model"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_file_that_is_not_ours_is_named_and_stays(tmp_path, name):
    change, named = CHANGES[name]
    out = tmp_path / "out"
    with staged_folder(out) as folder:
        (folder / "model").write_text("weights")
        (folder / "sub").mkdir()
        (folder / "sub" / "adapter").write_text("adapter")
    change(out)
    before = snapshot(tmp_path)
    with pytest.raises(OptionError, match=named):
        check_output(out, force=True)
    with pytest.raises(OptionError, match=named), staged_folder(out, force=True):
        raise AssertionError("the work began")
    assert snapshot(tmp_path) == before


def test_a_file_that_comes_while_the_work_runs_stays(tmp_path):
    write(tmp_path / "out", old="old")
    with pytest.raises(OptionError, match="my_notes.txt"):
        with staged_folder(tmp_path / "out", force=True) as folder:
            (folder / "new").touch()
            (tmp_path / "out" / "my_notes.txt").write_text("mine")
    assert contents(tmp_path) == ["out"] and contents(tmp_path / "out") == [LEDGER, "my_notes.txt", "old"]


def snapshot(folder):
    return {str(path): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A project of ours and a user's, with the working folder inside and a home beside."""
    for folder in ("home", "work", "texts", "proj"):
        (tmp_path / folder).mkdir()
    write(tmp_path / "proj" / "base")
    (tmp_path / "texts" / "a.txt").write_text("a text")
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path


@pytest.mark.parametrize(
    "output, message",
    [
        (".", "working folder"),
        ("", "working folder"),
        ("..", "ends in '..'"),
        ("../../x/..", "ends in '..'"),
        ("/", "root folder|holds"),
        ("../home", "your home folder"),
        ("{tree}", "holds"),
        ("../proj", "an input of this command"),
        ("../proj/base", "is an input of this command"),
        ("../texts", "is an input"),
        ("../texts/model", "lies in"),
        ("../link", "a symbolic link"),
        ("../texts/a.txt", "is a file"),
        ("../proj/base/model/x", "not a folder"),
    ],
)
def test_places_that_are_never_replaced(tree, output, message):
    (tree / "link").symlink_to(tree / "proj")
    before = snapshot(tree)
    with (
        pytest.raises(BundleError, match=message),
        staged_folder(
            output_folder.Path(output.format(tree=tree)), True, inputs=[tree / "proj" / "base"], texts=[tree / "texts"]
        ),
    ):
        raise AssertionError("the work began")
    assert snapshot(tree) == before


def test_a_folder_that_is_reached_by_a_link_is_still_an_input(tree):
    (tree / "alias").symlink_to(tree / "proj")
    with pytest.raises(OptionError, match="input"):
        check_output(tree / "alias" / "base", True, inputs=[tree / "proj" / "base"])
    with pytest.raises(OptionError, match="input"):
        check_output(tree / "proj" / "base", True, inputs=[tree / "alias" / "base"])


WORKER = """
import os, sys, time
from pathlib import Path
from bundler.system.signals import interrupt_on_signals
from bundler.system.output_folder import staged_folder
interrupt_on_signals()
with staged_folder(Path(sys.argv[1])) as folder:
    (folder / "half").write_text("half")
    print("working", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize(
    "number, leftovers",
    [(signal.SIGKILL, [".out.lock", ".out.partial"]), (signal.SIGTERM, []), (signal.SIGHUP, []), (signal.SIGINT, [])],
    ids=lambda value: str(value),
)
def test_a_killed_writer_leaves_no_output_and_the_next_succeeds(tmp_path, number, leftovers):
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(tmp_path / "out")], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout.readline() == b"working\n"
    with pytest.raises(BundleError, match="another command is writing"):
        with staged_folder(tmp_path / "out"):
            pass
    process.send_signal(number)
    process.wait(timeout=20)
    assert contents(tmp_path) == leftovers
    with staged_folder(tmp_path / "out") as folder:
        assert contents(folder) == []
    assert contents(tmp_path) == ["out"]


# Ends itself at the n-th change of a name in the file system, from when the new folder is complete.
STOPPED = """
import os, sys
from pathlib import Path
from bundler.system import output_folder
if sys.argv[3] == "renames":
    output_folder._exchange = lambda first, second: False
with output_folder.staged_folder(Path(sys.argv[1]), force=True) as folder:
    (folder / "new").write_text("new")
    left = int(sys.argv[2])

    def count(event, arguments):
        global left
        removes = event in ("os.rename", "os.remove", "os.rmdir", "ctypes.call_function")
        if removes or (event == "open" and "SHA256SUMS" in str(arguments[0])):
            left -= 1
            if left < 0:
                os.kill(os.getpid(), 9)
    sys.addaudithook(count)
"""


@pytest.mark.parametrize("kind", ["exchange", "renames"])
def test_killed_at_any_moment_of_the_replacement_there_is_an_output_after_the_next_try(tmp_path, kind):
    ends = set()
    for moment in range(24):
        out = tmp_path / str(moment) / "out"
        write(out, old="old", more="more")
        done = subprocess.run([sys.executable, "-c", STOPPED, str(out), str(moment), kind])
        if kind == "exchange":
            assert contents(out) in ([LEDGER, "more", "old"], [LEDGER, "new"]) and foreign_files(out) == []
        try:
            with staged_folder(out, force=True):
                raise KeyboardInterrupt
        except KeyboardInterrupt:
            pass
        assert contents(out) in ([LEDGER, "more", "old"], [LEDGER, "new"]) and foreign_files(out) == []
        assert contents(out.parent) == ["out"]
        ends.add(done.returncode)
        if done.returncode == 0:
            break
    assert ends == {0, -9}


@pytest.mark.parametrize("name", [".out.partial", ".out.replaced", ".out.lock"])
def test_a_file_of_somebody_else_in_the_place_of_ours_is_not_touched(tmp_path, name):
    path = tmp_path / name
    if name == ".out.lock":
        path.write_text("my notes")
    else:
        path.mkdir()
        (path / "thesis").write_text("mine")
    before = snapshot(tmp_path)
    with pytest.raises(OptionError, match="in the way"), staged_folder(tmp_path / "out"):
        raise AssertionError("the work began")
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize(
    "prepare, force, error, message",
    [
        (lambda out: out.write_text(""), True, OptionError, "is a file"),
        (lambda out: write(out), False, OptionError, "add `force`"),
        (
            lambda out: (out.mkdir(), (out / "manifest.json").write_text("{}")),
            True,
            OptionError,
            "manifest.json, which task-bundler did not write",
        ),
    ],
)
def test_outputs_that_are_refused(tmp_path, prepare, force, error, message):
    prepare(tmp_path / "out")
    with pytest.raises(error, match=message):
        check_output(tmp_path / "out", force)


def test_outputs_that_are_taken(tmp_path):
    check_output(tmp_path / "new" / "deeper", False)
    (tmp_path / "empty").mkdir()
    check_output(tmp_path / "empty", False)
    check_output(write(tmp_path / "ours"), True)


def test_a_folder_one_may_not_write_to(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OptionError, match="not a folder one may write to"):
        check_output(tmp_path / "file" / "out", False)


def test_files_that_are_not_replaced(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    for output, message in (("file", "is an input"), ("link", "symbolic link"), (".", "is a folder")):
        with pytest.raises(OptionError, match=message):
            check_output_file(tmp_path / output, True, [tmp_path / "link"])
    with pytest.raises(OptionError, match="`force`"):
        check_output_file(tmp_path / "file", False)
    with pytest.raises(OptionError, match="no folder"):
        check_output_file(tmp_path / "new" / "file", True)
    check_output_file(tmp_path / "file", True)


FILES = st.dictionaries(st.sampled_from(["a", "b", "c", "d/a", "d/e/f", "g/h"]), st.sampled_from([b"", b"1", b"22"]))


@given(ours=FILES, theirs=FILES)
def test_a_removal_takes_ours_and_leaves_theirs(tmp_path_factory, ours, theirs):
    out = tmp_path_factory.mktemp("property") / "out"
    with staged_folder(out) as folder:
        for name, data in ours.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
    for name, data in theirs.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(data)
    kept = {name: data for name, data in theirs.items() if ours.get(name) != data}
    assert foreign_files(out) == sorted(kept) == remove_written(out)
    assert out.exists() == bool(kept)
    assert {
        os.path.relpath(path, out): path.read_bytes()
        for path in out.rglob("*")
        if path.is_file() and path.name != LEDGER
    } == kept
