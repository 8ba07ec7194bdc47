"""task-bundler finetune"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from bundler.checkpoints.hub_id import HubAccess
from bundler.commands.console import InputPath, Terminal, hub_options, terminal_options
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
from bundler.system.output_folder import staged_folder
from gpt2_training.corpus import STANDARD_LIBRARY


@click.command("finetune")
@click.argument("model")
@click.argument("text", type=InputPath(STANDARD_LIBRARY, path_type=None))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder for the checkpoint.")
@click.option("--tokenizer", type=InputPath(), help="Folder of the vocabulary, if it is not beside the weights.")
@training_options(
    steps=300,
    batch=8,
    accumulate=1,
    context=128,
    learning_rate=0.0003,
    warmup=20,
    weight_decay=0.0,
    beta2=0.95,
    dropout=0.0,
    evaluate_every=50,
    patience=0,
    seed=1,
    threads=0,
)
@RESTART
@terminal_options
@hub_options
def command(
    terminal: Terminal,
    model: str,
    text: str,
    output: Path,
    tokenizer: Path | None,
    restart: bool,
    force: bool,
    hub: HubAccess,
    **recipe: Any,
) -> None:
    """Train all weights of the checkpoint MODEL further on TEXT: a file, a folder, or python-stdlib.

    What is written is a checkpoint like any other; `lora train` writes an adapter instead, a twentieth of the size. A
    part of the text is held out, and its perplexity reported before and after. Ctrl-C saves the step it comes in. The
    same command goes on from there, from the file OUTPUT.training_state.pt; so does one with more --steps, also after
    the end.

    Example: task-bundler finetune gpt2_training/sample out/texts/pirate.txt -o out/pirate-gpt2
    """
    from bundler.system.native_output import quiet

    with staged_folder(output, force, paths(model, tokenizer), paths(text)) as folder:
        with terminal.stage("Loading PyTorch"), quiet():
            from gpt2_training.loop import StateFile
            from gpt2_training.pretrain import FINETUNE, TrainingOutput, Watch, finetune
            from gpt2_training.training_state import state_path

        config, state = replace(FINETUNE, **given(recipe)), state_path(output)
        with terminal.stage("Opening the model"), quiet():
            base = open_base(model, tokenizer, hub)
        corpus = read_text(terminal, text)
        with training_progress(terminal, config.steps, state) as show:
            training_output = TrainingOutput(folder, StateFile(state, restart), command_line())
            record = finetune(base, corpus, training_output, config, Watch(show, terminal.stage))
        write_pictures(record, folder)
    say_result(terminal, output, record)
    say_how_to_go_on(terminal, state)
