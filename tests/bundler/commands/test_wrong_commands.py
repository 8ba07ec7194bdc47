"""Wrong and unlucky commands: the first wrong step names the next.

wrong_commands.txt has a line for each: its exit code, the command, and the words it must say; `NAME=value` before a
command is of its environment.
"""

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from peft_folders import tiny_model, write_adapter

from bundler.commands.cli import run

ROOT = Path(__file__).parents[3]
TABLE = (Path(__file__).parent / "wrong_commands.txt").read_text(encoding="utf-8")
CASES = [[part.strip() for part in line.split(" | ")] for line in TABLE.splitlines() if line and line[0] != "#"]


@pytest.fixture(scope="module")
def place(tiny_checkpoint, tiny_bundle, tmp_path_factory):
    """A folder with a checkpoint, its build, an adapter and damaged files."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "tiny").symlink_to(tiny_checkpoint)
    shutil.copytree(tiny_bundle[0], folder / "out" / "tiny")
    task = (folder / "out" / "tiny" / "tiny.task").read_bytes()
    (folder / "b.task").write_bytes(task)
    (folder / "half.task").write_bytes(task[: len(task) // 2])
    (folder / "zero.task").write_bytes(b"")
    (folder / "text.txt").write_text("somebody's")
    (folder / "empty").mkdir()
    write_adapter(folder / "peft", tiny_model(vocab_size=400, n_positions=96, bos_token_id=399, eos_token_id=399))
    shutil.copytree(tiny_checkpoint, folder / "untold")
    for path in (folder / "untold").iterdir():
        if path.name not in ("config.json", "model.safetensors"):
            path.unlink()
    return folder


@pytest.mark.parametrize("code, line, words", [(int(code), line, words) for code, line, *words in CASES])
def test_the_first_wrong_step_gets_the_right_word(place, monkeypatch, capsys, code, line, words):
    monkeypatch.chdir(place)
    arguments = shlex.split(line)
    while "=" in arguments[0]:
        monkeypatch.setenv(*arguments.pop(0).split("=", 1))
    before = sorted(map(str, place.rglob("*")))
    assert run([*arguments, "--quiet"] if len(arguments) > 1 else arguments) == code
    said = capsys.readouterr()
    assert not [word for word in words if word not in said.err], said.err
    assert "Traceback" not in said.err and "defect" not in said.err and not said.out
    assert sorted(map(str, place.rglob("*"))) == before


def test_there_are_many():
    assert len(CASES) >= 60


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make: apt-get install make")
@pytest.mark.parametrize("prompt", ['print("hi")', "costs $5 `date` $(date)", "it's\\n", "a  b "])
def test_make_hands_a_prompt_on_as_it_was_typed(tmp_path, prompt):
    """A copy of the Makefile, whose .venv has a task-bundler that prints what it is given."""
    (tmp_path / "Makefile").write_text((ROOT / "Makefile").read_text())
    (tmp_path / "pyproject.toml").write_text("")
    (tmp_path / "gpt2_training" / "sample").mkdir(parents=True)
    program = tmp_path / ".venv" / "bin" / "task-bundler"
    program.parent.mkdir(parents=True)
    program.write_text('#!/bin/sh\nprintf "%s|" "$@"\n')
    program.chmod(0o755)
    (tmp_path / ".venv" / ".ready").write_text("")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "PROMPT"))}

    def make(*variables):
        return subprocess.run(
            ["make", "-s", "run", *variables], cwd=tmp_path, capture_output=True, text=True, env=environment
        ).stdout

    assert make(f"PROMPT={prompt}") == f"run|out/sample/sample.litertlm|-p|{prompt}|"
    assert make() == "run|out/sample/sample.litertlm|-p|def |"
    for model, name in {"/x/ckpt.pt": "x", "ckpt.pt": "ckpt", "a/b/": "b", "openai-community/gpt2": "gpt2"}.items():
        assert make(f"MODEL={model}") == f"run|out/{name}/{name}.litertlm|-p|def |"
