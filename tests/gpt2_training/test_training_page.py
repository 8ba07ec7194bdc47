"""Every command of docs/TRAINING.md runs, in its order, on a small text and at a small size."""

import re
import shlex
from pathlib import Path

import click
import pytest

from bundler.commands.cli import run

PAGE = Path(__file__).parents[2] / "docs" / "TRAINING.md"
PROSE = "O sistema está a funcionar: não há erros… “É cedo”, disse a avó, e leu o manual.\n"
# Given after the options of the page, so that these count.
TRAIN = "--steps 6 --batch 2 --evaluate-every 3 --threads 1 --context 48"
SMALL = {
    "pretrain": f"{TRAIN} --layers 1 --heads 2 --width 16 --vocabulary 400",
    "finetune": TRAIN,
    "lora train": TRAIN,
    "lora compare": f"{TRAIN} --ranks 1,2",
    "sample": "-n 8",
    "run": "-n 8",
    "build": "--quant fp32",
}


def commands():
    blocks = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    lines = [shlex.split(line, comments=True) for block in blocks for line in block.splitlines()]
    return [line[1:] for line in lines if line and line[0] == "task-bundler"]


def test_the_page_has_every_command_that_trains():
    kinds = [" ".join(line[:2]) if line[0] == "lora" else line[0] for line in commands()]
    assert set(kinds) == set(SMALL)


def test_every_command_of_the_page_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out" / "texts").mkdir(parents=True)
    (tmp_path / "out" / "texts" / "debian.txt").write_text(PROSE * 120)
    for line in commands():
        kind = " ".join(line[:2]) if line[0] == "lora" else line[0]
        assert run([*line, *shlex.split(SMALL[kind])]) == 0, (line, capsys.readouterr().err)
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"debian-char", "debian-bpe", "debian-char-bundle", "debian-more", "debian-adapter"} < written
    assert (tmp_path / "out" / "debian-comparison" / "comparison.html").is_file()


@pytest.mark.parametrize("preset", ["sample", "char-384", "gpt2"])
def test_the_presets_of_the_page_are_those_of_the_code(preset):
    from gpt2_training.pretrain import PRESETS

    (row,) = re.findall(rf"^\| `{preset}`.*$", PAGE.read_text(encoding="utf-8"), re.M)
    config = PRESETS[preset]
    assert f"{config.layers}, {config.heads}, {config.width}, {config.context};" in row
    assert f"{config.batch} sequences" in row and f"{config.steps:,} |" in row


def test_the_help_tells_the_defaults_of_the_recipes():
    """They are written there again, because the recipes come with PyTorch, which takes seconds."""
    from bundler.commands.finetune import command as finetune
    from bundler.commands.lora import command as lora
    from bundler.commands.pretrain import command as pretrain
    from gpt2_training.pretrain import FINETUNE, PRESETS
    from lora_weights.fine_tune import FineTuneConfig

    told = [(pretrain, PRESETS["sample"]), (finetune, FINETUNE), (lora.commands["train"], FineTuneConfig())]
    for command, config in told:
        options = [option for option in command.params if isinstance(option, click.Option)]
        shown = {option.name: option.show_default for option in options if isinstance(option.show_default, str)}
        assert len(shown) >= 13
        assert {name: str(getattr(config, name)) for name in shown} == shown
