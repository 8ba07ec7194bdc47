"""Streams that are closed, full, left or of another encoding: the command says what it can, and its exit code stays."""

import codecs
import json
import os
import subprocess
import sys

import click
import pytest

from bundler.commands import cli
from bundler.commands.console import Terminal
from bundler.commands.prompt import read_prompt
from bundler.errors import BundleError

ADAPTER = "lora_weights/samples/pirate"
INFO = ["lora", "info", ADAPTER]


def command(arguments, shell="", data=b"", **environment):
    """Run a command line in a process of its own; `shell` is what a shell adds to it, such as 2>&-."""
    line = f'exec "$@" {shell}' if "|" not in shell else f'"$@" {shell}; exit ${{PIPESTATUS[0]}}'
    return subprocess.run(
        ["bash", "-c", line, "bash", sys.executable, "-m", "bundler", *arguments],
        input=data,
        capture_output=True,
        timeout=300,
        env={**os.environ, **environment},
    )


STAGE = (
    r"from bundler.commands.console import *; prepare_streams(); "
    r"exec('''with Terminal().stage('a \u201cb\u201d \u2192 [red]\u2026'): pass''')"
)


@pytest.mark.parametrize(
    "environment",
    [{"PYTHONIOENCODING": "iso-8859-9"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}],
    ids=["ISO-8859-9", "ASCII"],
)
def test_a_terminal_of_another_encoding_gets_ascii_in_place_of_what_it_lacks(environment):
    help_ = command(["build", "--help"], **environment)
    assert help_.returncode == 0 and help_.stdout.isascii() and not help_.stderr
    table = command(INFO, **environment)
    assert table.returncode == 0 and b"+------+" in table.stdout and b"Traceback" not in table.stderr
    usage = command(["build", "→", "--quant"], **environment)
    assert usage.returncode == 2 and b"Traceback" not in usage.stderr
    stage = subprocess.run([sys.executable, "-c", STAGE], capture_output=True, env={**os.environ, **environment})
    assert stage.returncode == 0 and stage.stderr.startswith(b'ok a "b" -> [red]...')


def test_every_help_is_ascii():
    def commands(group, context):
        for name in group.list_commands(context):
            below = group.get_command(context, name)
            yield name, below, click.Context(below, parent=context, info_name=name)
            if isinstance(below, click.Group):
                yield from commands(below, click.Context(below, parent=context, info_name=name))

    for name, below, context in commands(cli.task_bundler, click.Context(cli.task_bundler)):
        assert below.get_help(context).isascii(), name


def test_json_is_valid_in_every_encoding(tmp_path):
    folder = tmp_path / "Ünï→"
    os.symlink(os.path.abspath(ADAPTER), folder)
    os.symlink(os.path.abspath("README.md"), os.fsencode(tmp_path) + b"/\xff")
    for encoding in ("iso-8859-9", "ascii", "utf-8"):
        done = command(["doctor", "--json", str(folder / "adapter_config.json")], PYTHONIOENCODING=encoding)
        assert json.loads(done.stdout.decode(encoding))["file"] == str(folder / "adapter_config.json")
    done = command(["doctor", "--json", os.fsencode(tmp_path) + b"/\xff"])
    assert done.returncode == 3 and os.fsencode(json.loads(done.stdout)["file"]).endswith(b"/\xff")
    assert b"/\\xff: not-a-known-file" in done.stderr


@pytest.mark.parametrize("shell", ["2>&-", ">&-", "<&-", "<&- >&- 2>&-"])
def test_closed_streams_change_no_exit_code(shell):
    done = command([*INFO, "--json"], shell)
    assert done.returncode == 0 and b"Traceback" not in done.stderr
    assert ">&-" in shell.replace("2>&-", "") or json.loads(done.stdout)["rank"] == 16
    assert command(["doctor", "README.md"], shell).returncode == 3


def test_who_leaves_is_not_complained_to():
    for shell in ("| head -c 1", "| true", "2>&1 >/dev/null | head -c 1"):
        done = command(["doctor", "--json", "README.md"], shell)
        assert b"Traceback" not in done.stderr and b"Broken" not in done.stderr and b"Errno" not in done.stderr
    assert command(["--help"], "| true").stderr == b""


def test_a_full_disk_is_said():
    done = command([*INFO, "--json"], ">/dev/full")
    assert (
        done.returncode == 1
        and done.stderr.splitlines()[-1].startswith(b"task-bundler: error: ")
        and b"No space left" in done.stderr
    )
    assert command(INFO, ">/dev/full").returncode == 1


@pytest.mark.parametrize(
    "data, shell, message",
    [
        (b"\x80\xff", "", "the standard input is no utf-8 text (byte 0x80)"),
        (b"a\0b", "", "NUL character"),
        (b"", "", "empty"),
        (b"", "<&-", "empty"),
    ],
)
def test_run_says_what_is_wrong_with_the_standard_input(data, shell, message):
    done = command(["run", "README.md"], shell, data, PYTHONUTF8="1")
    assert done.returncode == 1 and done.stderr.decode().splitlines()[-1].startswith("task-bundler: error: the ")
    assert message in done.stderr.decode() and not done.stdout


@pytest.mark.parametrize("program, model", [("run", "README.md"), ("sample", "gpt2_training/sample")])
def test_a_prompt_that_is_no_text_is_refused(program, model):
    done = command([program, model, "-p", b"\xff"])
    assert done.returncode == 1 and b"bytes that are no text" in done.stderr and b"Traceback" not in done.stderr


def test_prompts_that_are_text_are_taken_as_they_are():
    assert read_prompt("") == "" and read_prompt("Ü\t\n😀") == "Ü\t\n😀"
    with pytest.raises(BundleError, match="NUL"):
        read_prompt("a\0")


def test_what_a_model_writes_cannot_drive_a_terminal(capsys, monkeypatch):
    Terminal(quiet=True).write("a\x1b]0;x\x07\n\tb")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    Terminal(quiet=True).write("|a\x1b]0;x\x07\n\tb\x9b😀")
    Terminal(quiet=True, as_json=True).write("not under --json")
    assert capsys.readouterr().out == "a\x1b]0;x\x07\n\tb|a\\x1b]0;x\\x07\n\tb\\x9b😀"


def test_plain_forms_are_ascii():
    assert "a → “é” 😀\udcff".encode("ascii", "task-bundler.plain") == b'a -> "?" ??'
    with pytest.raises(UnicodeDecodeError):
        codecs.decode(b"\xff", "utf-8", "task-bundler.plain")


@pytest.mark.parametrize(
    "error, expected",
    [
        (ZeroDivisionError("by 0"), "ZeroDivisionError: by 0. This is a defect of task-bundler"),
        (MemoryError(), "not enough memory"),
        (RecursionError("deep"), "something in a file is nested too deeply"),
        (type("PanicException", (BaseException,), {})("rust"), "PanicException: rust. This is a defect"),
    ],
)
def test_what_nobody_foresaw_is_one_sentence(error, expected, monkeypatch, capsys):
    def fail(*arguments, **options):
        raise error

    monkeypatch.setattr(cli.task_bundler, "main", fail)
    monkeypatch.delenv(cli.TRACEBACK, raising=False)
    assert cli.run([]) == 1
    message = capsys.readouterr().err
    assert message.startswith(f"task-bundler: error: {expected}") and message.count("\n") == 1
    monkeypatch.setenv(cli.TRACEBACK, "1")
    assert cli.run([]) == 1 and "Traceback" in capsys.readouterr().err


def test_a_long_message_is_cut(monkeypatch, capsys):
    def fail(*arguments, **options):
        raise BundleError("x" * 1_000_000 + "\n  the end")

    monkeypatch.setattr(cli.task_bundler, "main", fail)
    assert cli.run([]) == 1
    message = capsys.readouterr().err
    assert len(message) < 5000 and message.endswith("\n  the end\n")
