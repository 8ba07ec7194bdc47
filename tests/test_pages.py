"""The commands of README and of every page run as they are written, in their order, on tiny inputs.

Inputs stand under the names that the pages use: `gpt2_training/sample`, `MODEL` and `openai-community/gpt2` are tiny
random GPT-2s here. `ADDED` says what each kind of command is given beside what its page says, `NOT_RUN` which are not
run, and why. A new command of a page is in a table, or it runs.
"""

import builtins
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import urllib.request
import webbrowser
from pathlib import Path

import pytest
from empty_web_runtime import write_empty_web_runtime
from page_commands import ROOT, blocks, commands, pages, transcripts, unmarked
from peft_folders import write_adapter
from tiny_gpt2 import write_tiny_checkpoint

import bundler
from bundler.checkpoints.checkpoint import open_checkpoint
from bundler.commands.cli import run
from bundler.pipeline.plan import plan_build
from bundler.verification.text import verification_text

pytestmark = pytest.mark.timeout(900)  # several builds, on a busy machine
README = ROOT / "README.md"
FIRST = "make bundle"  # README's first command; its output is there when the others run
TRAIN = "--steps 6 --batch 2 --evaluate-every 3 --threads 1 --context 48"
# Added behind what a page says, so that these options count: sizes and steps, and no browser that stays open.
ADDED = {
    "pretrain": f"{TRAIN} --layers 1 --heads 2 --width 16 --vocabulary 400",
    "finetune": TRAIN,
    "lora train": TRAIN,
    "lora compare": f"{TRAIN} --ranks 1,2",
    "sample": "-n 8",
    "run": "-n 8",
    "build": "--no-speed",
    "bench": "--rounds 1 --tokens 4",
    "try": "--port 0",
    "make bundle": "ARGS=--no-speed",
    "make bundle MODEL=openai-community/gpt2": "ARGS=--dry-run",
    "make try": "ARGS='--port 0'",
}
# Files that a page means to be yours: what stands there, of the output of README's first command.
FILES = {
    "README.md": {"anything.task": "sample.task"},
    "docs/FINDINGS.md": {
        "mine.litertlm": "sample.litertlm",
        "a.tflite": "adapters/pirate.tflite",
        "tokenizer.model": "tokenizer.model",
    },
    "docs/PERFORMANCE.md": dict.fromkeys(("before.litertlm", "after.litertlm"), "sample.litertlm"),
}
DEBIAN = "Debian's package, for its prose: the text that stands here in its place is a few lines long"
TRAINER = "test_train_adapter.py trains with such a file, and exports what was learned"
# A command, or how it begins: why it is not run here.
NOT_RUN = {
    "pip install": "installs: test_wheel.py installs the package, in a folder of its own",
    "apt-get install": "installs on the whole system",
    "make setup": "sets up the environment that runs this test",
    "make test": "runs this test",
    "make lint": "of the repository, not of a user's files",
    "make bench": "an hour, in an environment with other engines; tests/benchmarks/test_peers.py has its parts",
    "python -m pytest": "runs tests that run anyway",
    "python benchmarks/": "measures, for minutes, and needs half a gigabyte",
    "task-bundler push out/sample someone/my-model --private": "uploads; test_push.py does so, to a hub of its own",
    "task-bundler compare MODEL": "several builds; test_compare_recipes.py runs it",
    "task-bundler build gpt2_training/sample -o out/teacher": TRAINER,
    "task-bundler lora train gpt2_training/sample out/texts/pirate.txt -o learned": TRAINER,
    "task-bundler lora export learned": TRAINER,
    "task-bundler pretrain python-stdlib": "how the sample was trained, in hours",
    "litert-lm run": "LiteRT-LM's own command; test_model_card.py runs it as the model card has it",
    "npm install": "fetches 95 MB; test_mediapipe_engine.py runs the page with what `try` has fetched",
    "apt-get download debian-reference-pt": DEBIAN,
    "mkdir -p out/texts && zcat": DEBIAN,
}
PAGES = {str(page.relative_to(ROOT)): page for page in pages() if commands(page)}
PROSE = "O sistema está a funcionar: não há erros… “É cedo”, disse a avó, e leu o manual.\n"
PORTION = 5_000_000  # bytes of the copy that broke off, in README


def reason_not_to_run(command: str) -> str | None:
    return next((reason for beginning, reason in NOT_RUN.items() if command.startswith(beginning)), None)


def added_to(command: str) -> str:
    """Of `ADDED`, what has the longest beginning in common with the command."""
    bare = command.removeprefix(".venv/bin/").removeprefix("task-bundler ")
    return ADDED.get(max((beginning for beginning in ADDED if bare.startswith(beginning)), key=len, default=""), "")


@pytest.fixture(scope="module")
def place(tiny_checkpoint, tmp_path_factory):
    """A folder like a fresh clone, with tiny inputs, in which README's first command has run."""
    folder = tmp_path_factory.mktemp("pages") / "clone"
    write_inputs(folder, tiny_checkpoint)
    assert commands(README)[0] == FIRST
    in_a_shell(folder, f"{FIRST} {added_to(FIRST)}")
    return folder


def write_inputs(folder: Path, tiny_checkpoint: Path) -> None:
    for name in ("gpt2_training/sample", "openai-community/gpt2", "FOLDER"):
        shutil.copytree(tiny_checkpoint, folder / name)
    write_tiny_checkpoint(folder / "MODEL", n_positions=512)
    for seed, name in enumerate(("lora_weights/samples/pirate", "lora_weights/samples/shouting", "someone/pirate")):
        write_adapter(folder / name, open_checkpoint(tiny_checkpoint).reference_model(), seed=seed, strength=0.15)
    shutil.copytree(folder / "lora_weights/samples/shouting", folder / "someone" / "sea")
    for name in ("my_texts/some.txt", "out/texts/debian.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / "my_texts" / "some.txt").write_text(verification_text())
    (folder / "out" / "texts" / "debian.txt").write_text(PROSE * 120)
    (folder / "my-page").mkdir()
    for name in ("Makefile", "pyproject.toml", "lora_weights/samples/make_texts.py"):
        shutil.copyfile(ROOT / name, folder / name)
    programs = folder / ".venv" / "bin"
    programs.mkdir(parents=True)
    python = shlex.quote(sys.executable)
    for name, line in {
        "task-bundler": f'{python} -c "from bundler.commands.cli import main; main()"',
        "python": python,
    }.items():
        (programs / name).write_text(f'#!/bin/sh\nexec {line} "$@"\n')
        (programs / name).chmod(0o755)
    (folder / ".venv" / ".ready").touch()
    write_empty_web_runtime(folder / "cache")


def environment(folder: Path) -> dict[str, str]:
    """The pages name `task-bundler` and `python` of an environment that is switched on."""
    return {
        **os.environ,
        "PATH": f"{folder / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "BROWSER": "true %s",
    }


def in_a_shell(folder: Path, command: str) -> None:
    done = subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment(folder), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, (command, done.stderr[-3000:])


def in_a_shell_until_served(folder: Path, command: str) -> None:
    """Run what serves a page until it is interrupted; ask for the page first."""
    with subprocess.Popen(
        ["bash", "-c", command],
        cwd=folder,
        env=environment(folder),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        said = []
        for line in process.stderr:
            said.append(line)
            if address := re.search(r"http://\S+", line):
                with urllib.request.urlopen(address[0]) as answer:
                    assert b"<title>" in answer.read()
                os.killpg(process.pid, signal.SIGINT)
    assert any(line.startswith("closed") for line in said), said


def visit(address: str) -> None:
    """What stands for the browser: asks for the page, and soon interrupts the command that serves it."""
    with urllib.request.urlopen(address) as answer:
        assert b"<title>" in answer.read()
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()


@pytest.fixture
def clone(place, tmp_path, monkeypatch):
    """A copy of the place, to work in."""
    folder = tmp_path / "clone"
    shutil.copytree(place, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(webbrowser, "open", visit)
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    return folder


@pytest.mark.parametrize("page", PAGES)
def test_every_command_runs(page, clone, capfd):
    for name, source in FILES.get(page, {}).items():
        shutil.copyfile(clone / "out" / "sample" / source, clone / name)
    for command in commands(PAGES[page]):
        if command == FIRST or reason_not_to_run(command):
            continue
        words = shlex.split(command)
        if words[0].endswith("task-bundler"):
            arguments = words[1:]
            code = run([*arguments, *shlex.split(added_to(command))])
            assert code == 0, (command, capfd.readouterr().err[-3000:])
        elif command.startswith("make try"):
            in_a_shell_until_served(clone, f"{command} {added_to(command)}")
        else:
            in_a_shell(clone, f"{command} {added_to(command)}")


def test_what_is_not_run_is_there():
    """Each reason is one for a command that a page shows."""
    every = [command for page in pages() for command in commands(page)]
    assert [beginning for beginning in NOT_RUN if not any(command.startswith(beginning) for command in every)] == []
    bare = [command.removeprefix(".venv/bin/").removeprefix("task-bundler ") for command in every]
    assert [beginning for beginning in ADDED if not any(command.startswith(beginning) for command in bare)] == []


def test_commands_are_marked_as_such():
    """A block of commands without ```sh would be run by nobody."""
    assert {page.name: unmarked(page) for page in pages() if unmarked(page)} == {}


def test_the_lines_of_python_run(clone, monkeypatch):
    """Up to the build itself, which the commands run."""
    (lines,) = blocks(README, "python")
    monkeypatch.setattr(bundler, "build", plan_build, raising=False)
    values = {}
    exec(lines, values)
    assert values["manifest"].name == "from-python" and "build(BuildOptions(" in lines


def test_the_session_runs(clone, monkeypatch, capfd):
    ((command, shown),) = ((line, text) for line, text in transcripts(README).items() if " run " in line)
    typed = [line.removeprefix("> ") for line in shown.splitlines() if line.startswith("> ")]
    left = iter(typed)
    monkeypatch.setattr(builtins, "input", lambda prompt: next(left, ""))
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    assert run([*shlex.split(command)[1:], *shlex.split(ADDED["run"])]) == 0
    said = capfd.readouterr()
    swaps = [line for line in shown.splitlines() if " from now on, after" in line]
    assert len(swaps) == 2 and [line.split(", after")[0] for line in swaps] == [
        line.split(", after")[0] for line in said.err.splitlines() if " from now on, after" in line
    ]
    assert said.out.count("def load(") == sum(line == "> def load(" for line in shown.splitlines())


def test_the_doctor_says_what_is_shown(clone, capfd):
    ((command, shown),) = ((line, text) for line, text in transcripts(README).items() if " doctor " in line)
    whole = (clone / "out" / "sample" / "sample.task").read_bytes()
    (clone / "half.task").write_bytes(whole[: len(whole) // 2].ljust(PORTION, b"\0"))
    assert run(shlex.split(command)[1:]) == 3
    said = capfd.readouterr()
    assert f"{said.out}{said.err}".split() == shown.split()
