"""task-bundler pretrain"""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bundler.checkpoints.hub_id import HubAccess
from bundler.commands.console import COUNT, InputPath, Terminal, hub_options, terminal_options
from bundler.commands.training import (
    RESTART,
    command_line,
    given,
    open_base,
    paths,
    read_text,
    say_how_to_go_on,
    say_result,
    training_options,
    training_progress,
    write_pictures,
)
from bundler.errors import OptionError
from bundler.system.output_folder import staged_folder
from gpt2_training.corpus import STANDARD_LIBRARY

if TYPE_CHECKING:
    from gpt2_training.loop import TrainConfig

_OF_A_NEW_MODEL = ("tokenizer", "vocabulary", "layers", "heads", "width")


@click.command("pretrain")
@click.argument("text", type=InputPath(STANDARD_LIBRARY, path_type=None))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder for the checkpoint.")
@click.option(
    "--preset",
    type=click.Choice(["sample", "char-384", "gpt2"]),
    default="sample",
    show_default=True,
    help="A recipe; options given beside it change it. The defaults below are those of `sample`.",
)
@click.option("--init-from", help="Begin with this checkpoint's weights and vocabulary, in place of new ones.")
@click.option(
    "--tokenizer",
    type=click.Choice(["bpe", "char", "bytes"]),
    show_default="bpe",
    help="What a token is: learned pieces of words, a character, or a byte.",
)
@click.option(
    "--vocabulary",
    show_default="4096",
    type=COUNT,
    help="Tokens of a BPE vocabulary to learn; the most that characters may take.",
)
@click.option("--layers", show_default="6", type=COUNT)
@click.option("--heads", show_default="4", type=COUNT)
@click.option("--width", show_default="256", type=COUNT)
@click.option(
    "--split-spaces",
    show_default="0.02",
    type=click.FloatRange(0, 1, max_open=True),
    help="Share of words split from the space before them, so that prompts may end in a space.",
)
@training_options(
    steps=4000,
    batch=8,
    accumulate=1,
    context=512,
    learning_rate=0.0015,
    warmup=200,
    weight_decay=0.1,
    beta2=0.95,
    dropout=0.0,
    evaluate_every=250,
    patience=0,
    seed=1,
    threads=0,
)
@click.option("--compile", is_flag=True, default=None, help="Let torch.compile make one program of the model.")
@RESTART
@terminal_options
@hub_options
def command(
    terminal: Terminal,
    text: str,
    output: Path,
    preset: str,
    init_from: str | None,
    restart: bool,
    force: bool,
    hub: HubAccess,
    **recipe: Any,
) -> None:
    """Train a small GPT-2 from scratch on TEXT: a file, a folder, or python-stdlib.

    A part is held out and its perplexity reported. Ctrl-C saves the step it comes in. The same command goes on from
    there, from the file OUTPUT.training_state.pt; so does one with more --steps, also after the end.

    Example: task-bundler pretrain python-stdlib -o out/python-gpt2
    """
    from bundler.system.native_output import quiet

    recipe = given(recipe)
    if init_from and (made := [f"--{name}" for name in _OF_A_NEW_MODEL if name in recipe]):
        raise OptionError(
            f"{', '.join(made)} with --init-from, whose checkpoint has its own; give the one or the other"
        )
    with staged_folder(output, force, paths(init_from), paths(text)) as folder:
        with terminal.stage("Loading PyTorch"), quiet():
            from gpt2_training.loop import StateFile
            from gpt2_training.pretrain import PRESETS, TrainingOutput, Watch, finetune, pretrain
            from gpt2_training.training_state import state_path

        corpus, config = read_text(terminal, text), replace(PRESETS[preset], **recipe)
        state = state_path(output)
        training_output = TrainingOutput(folder, StateFile(state, restart), command_line())
        with training_progress(terminal, config.steps, state) as show:
            watch = Watch(show, terminal.stage)
            if init_from:
                base = open_base(init_from, None, hub)
                config = _without_shape(config, recipe, base.model.config.n_positions)
                record = finetune(base, corpus, training_output, config, watch)
            else:
                record = pretrain(corpus, training_output, config, watch)
        write_pictures(record, folder)
    say_result(terminal, output, record)
    say_how_to_go_on(terminal, state)


def _without_shape(config: TrainConfig, recipe: dict[str, Any], positions: int) -> TrainConfig:
    """The part of a recipe that a checkpoint leaves open; a context that was not asked for is what the model has."""
    from gpt2_training.loop import TrainConfig

    values = {field.name: getattr(config, field.name) for field in fields(TrainConfig)}
    if "context" not in recipe:
        values["context"] = min(config.context, positions)
    return TrainConfig(**values)
