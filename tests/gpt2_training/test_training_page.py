"""What docs/TRAINING.md says of presets and defaults is what the code has. Its commands are run by test_pages.py."""

import re
from pathlib import Path

import click
import pytest

PAGE = Path(__file__).parents[2] / "docs" / "TRAINING.md"


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
