"""Every command that writes a folder, pointed at somebody's files: refused before the work, and nothing is touched."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from peft_folders import write_adapter
from tiny_gpt2 import write_tiny_checkpoint

import bundler.checkpoints.checkpoint
import bundler.pipeline.plan
from bundler.commands.cli import run
from bundler.system.written_files import foreign_files

TEXT = "The keeper wrote: the sea is calm, the light is lit. " * 20
PRETRAIN = [
    "--vocabulary",
    "300",
    "--context",
    "16",
    "--layers",
    "1",
    "--heads",
    "2",
    "--width",
    "16",
    "--batch",
    "2",
    "--threads",
    "1",
    "--steps",
    "4",
    "--evaluate-every",
    "2",
]
FINE_TUNE = ["--steps", "2", "--batch", "1", "--context", "32", "--threads", "1", "--evaluate-every", "1"]


@pytest.fixture
def user(tmp_path, monkeypatch):
    """A user's folder: a base, an adapter of it, a text, and things that are none of our business. The working folder
    is inside.
    """
    write_tiny_checkpoint(tmp_path / "proj" / "base")
    write_adapter(tmp_path / "proj" / "adapter")
    (tmp_path / "texts").mkdir()
    for number in range(60):  # some of them are held out
        (tmp_path / "texts" / f"{number}.txt").write_text(TEXT)
    for folder in ("thesis/.git", "extension/.git"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "HEAD").write_text("ref: refs/heads/main")
    (tmp_path / "thesis" / "thesis.txt").write_text("years of work")
    (tmp_path / "extension" / "manifest.json").write_text('{"manifest_version": 3}')
    (tmp_path / "file").write_text("a file")
    (tmp_path / "link").symlink_to(tmp_path / "thesis")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path


def snapshot(folder):
    return {str(path): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


COMMANDS = {
    "build": (["build", "../proj/base"], []),
    "pretrain": (["pretrain", "../texts"], PRETRAIN),
    "finetune": (["finetune", "../proj/base", "../texts"], FINE_TUNE),
    "lora train": (["lora", "train", "../proj/base", "../texts"], FINE_TUNE),
    "lora compare": (["lora", "compare", "../proj/base", "../texts"], FINE_TUNE),
    "lora merge": (["lora", "merge", "../proj/base", "../proj/adapter"], []),
}
PLACES = ["..", ".", "", "../proj", "../thesis", "../extension", "../link", "../file", "../file/out"]
ALSO = [
    ("pretrain", "../texts"),
    ("pretrain", "../texts/out"),
    ("finetune", "../texts"),
    ("finetune", "../proj/base"),
    ("lora train", "../texts"),
    ("lora train", "../proj/base"),
    ("lora merge", "../proj/base"),
    ("lora merge", "../proj/adapter"),
    ("build", "../proj/base"),
    ("lora compare", "../proj/base"),
]


@pytest.mark.parametrize("name, place", [*((name, place) for name in COMMANDS for place in PLACES), *ALSO])
def test_somebodys_folder_is_refused_before_the_work(user, capsys, monkeypatch, name, place):
    monkeypatch.setattr("gpt2_training.corpus.read_corpus", lambda source: pytest.fail("the work began"))
    for module in (bundler.checkpoints.checkpoint, bundler.pipeline.plan):
        monkeypatch.setattr(module, "open_checkpoint", lambda *arguments, **options: pytest.fail("the work began"))
    before = snapshot(user)
    command, options = COMMANDS[name]
    code = run([*command, "-o", place, "--force", "--quiet", *options])
    message = capsys.readouterr().err
    assert code in (1, 2) and message.startswith("task-bundler: error: ") and message.count("\n") == 1, message
    assert snapshot(user) == before


def test_what_a_user_put_into_a_build_stays(user, tiny_bundle, capsys):
    out = user / "out"
    shutil.copytree(tiny_bundle[0], out)
    assert foreign_files(out) == []
    (out / "my_notes.txt").write_text("mine")
    (out / "adapters").mkdir()
    (out / "adapters" / "mine.tflite").write_text("mine")
    before = snapshot(user)
    assert run(["build", "../proj/base", "-o", "../out", "--force", "--quiet"]) == 2
    message = capsys.readouterr().err
    assert "adapters/mine.tflite, my_notes.txt" in message and snapshot(user) == before


@pytest.mark.parametrize("name, file", [("pretrain", "training_state.pt"), ("lora train", "half.txt")])
def test_only_what_was_written_ships_and_is_replaced(user, capsys, name, file):
    """A folder named as an older version's partial one, with a file in it, is no part of the result."""
    (user / "out.partial").mkdir()
    (user / "out.partial" / file).write_text("a stray file")
    command, options = COMMANDS[name]
    for force in ([], ["--force"]):
        assert run([*command, "-o", "../out", *force, "--quiet", *options]) == 0, capsys.readouterr().err
        assert foreign_files(user / "out") == [] and not (user / "out" / file).exists()
        assert (user / "out.training_state.pt").exists() and (user / "out.partial" / file).exists()
        assert not [path.name for path in user.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("name", ["pretrain", "finetune", "lora train"])
def test_a_stopped_training_keeps_its_state_and_goes_on(user, capfd, monkeypatch, name):
    """Ctrl-C after the first step: the message has the command that goes on, and it does, to the same weights."""
    import gpt2_training.loop as loop

    command, options = COMMANDS[name]
    line = [*command, "-o", "../out", *options]
    state, out, seen = user / "out.training_state.pt", user / "out", []
    real = loop._one_step
    raised = iter([True])

    def stopping(training, parameters, config, step):
        seen.append(step + 1)
        if next(raised, False):
            signal.raise_signal(signal.SIGINT)
        return real(training, parameters, config, step)

    monkeypatch.setattr(loop, "_one_step", stopping)
    assert run([*line, "--restart"]) == 1 and state.is_file() and not out.exists()
    message = capfd.readouterr().err
    again = "task-bundler " + " ".join(line)
    total = options[options.index("--steps") + 1]
    assert f"interrupted: step 1 of {total} is saved in ../out.training_state.pt; to go on: {again}\n" in message
    assert run([*line, "--learning-rate", "0.5"]) == 1
    message = capfd.readouterr().err
    assert "learning rate" in message and "now 0.5" in message and "--restart" in message and state.is_file()
    assert run(line) == 0 and seen == list(range(1, int(total) + 1))
    message = capfd.readouterr().err
    assert "going on after step 1, from ../out.training_state.pt" in message and "is kept" in message
    weights = next(path for path in out.iterdir() if path.suffix == ".safetensors")
    parts = weights.read_bytes()
    assert run([*line, "--force", "--restart"]) == 0 and weights.read_bytes() == parts
    assert run([*line, "--force", "--steps", "6"]) == 0 and seen[-1] == 6 and weights.read_bytes() != parts
    state.write_bytes(b"")
    assert run([*line, "--force"]) == 1 and "--restart" in capfd.readouterr().err and state.read_bytes() == b""
    assert run([*line, "--force", "--restart"]) == 0 and weights.read_bytes() == parts


def test_of_two_that_write_one_output_the_second_is_refused(user, capsys, monkeypatch):
    from bundler.system.output_folder import staged_folder

    command, options = COMMANDS["pretrain"]
    inside, done = threading.Event(), threading.Event()

    def first():
        with staged_folder(user / "out") as folder:
            (folder / "model").write_text("of the first")
            inside.set()
            done.wait(60)

    thread = threading.Thread(target=first)
    thread.start()
    inside.wait(60)
    try:
        assert run([*command, "-o", "../out", "--quiet", *options]) == 1
        assert "another command is writing" in capsys.readouterr().err
    finally:
        done.set()
        thread.join()
    assert (user / "out" / "model").read_text() == "of the first"


@pytest.mark.parametrize("name", ["pretrain", "lora train", "lora merge"])
def test_a_full_disk_is_said_in_a_sentence_and_leaves_nothing(user, name):
    """No file may grow past 2 kB: no weights fit."""

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, 2_000))

    command, options = COMMANDS[name]
    before = snapshot(user)
    done = subprocess.run(
        [sys.executable, "-m", "bundler", *command, "-o", "../out", "--quiet", *options],
        capture_output=True,
        text=True,
        preexec_fn=limit,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert (
        done.returncode == 1 and done.stderr.startswith("task-bundler: error: ") and "Traceback" not in done.stderr
    ), done.stderr
    assert "room" in done.stderr and snapshot(user) == before


def test_the_sample_and_its_adapters_are_listed_as_ours():
    root = Path(__file__).parents[3]
    for folder in ("gpt2_training/sample", "lora_weights/samples/pirate", "lora_weights/samples/shouting"):
        assert foreign_files(root / folder) == []
