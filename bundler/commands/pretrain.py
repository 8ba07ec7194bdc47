"""task-bundler pretrain"""

from __future__ import annotations

import math
import shlex
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from bundler.commands.console import COUNT, InputPath, Terminal, terminal_options
from bundler.errors import OptionError
from bundler.system.output_folder import staged_folder
from gpt2_training.corpus import STANDARD_LIBRARY


@click.command("pretrain")
@click.argument("text", type=InputPath(STANDARD_LIBRARY, path_type=None))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder for the checkpoint.")
@click.option(
    "--vocabulary",
    default=4096,
    show_default=True,
    type=click.IntRange(257),
    help="Tokens of the BPE vocabulary to train.",
)
@click.option("--context", default=512, show_default=True, type=COUNT, help="Positions of the model.")
@click.option("--layers", default=6, show_default=True, type=COUNT)
@click.option("--heads", default=4, show_default=True, type=COUNT)
@click.option("--width", default=256, show_default=True, type=COUNT)
@click.option("--steps", default=4000, show_default=True, type=COUNT)
@click.option("--batch", default=8, show_default=True, type=COUNT, help="Sequences in a step.")
@click.option("--learning-rate", default=1.5e-3, show_default=True, type=click.FloatRange(0))
@click.option(
    "--warmup", default=200, show_default=True, type=click.IntRange(0), help="Steps until the learning rate is reached."
)
@click.option("--weight-decay", default=0.1, show_default=True, type=click.FloatRange(0))
@click.option(
    "--dropout",
    default=0.0,
    show_default=True,
    type=click.FloatRange(0, 1),
    help="Helpful when a small text is read many times.",
)
@click.option(
    "--split-spaces",
    default=0.02,
    show_default=True,
    type=click.FloatRange(0, 1),
    help="Share of words split from the space before them, so that prompts may end in a space.",
)
@click.option(
    "--evaluate-every",
    default=250,
    show_default=True,
    type=COUNT,
    help="Steps between held-out losses and saved states.",
)
@click.option("--seed", default=1, show_default=True)
@click.option("--threads", default=0, show_default=True, type=click.IntRange(0), help="0 leaves it to PyTorch.")
@click.option("--bfloat16/--float32", default=True, show_default=True, help="Arithmetic of the forward pass.")
@click.option("--restart", is_flag=True, help="Begin anew, whatever state a stopped training left.")
@click.option("--force", is_flag=True, help="Replace an output that an earlier training wrote.")
@terminal_options
def command(terminal: Terminal, text: str, output: Path, restart: bool, force: bool, **recipe: Any) -> None:
    """Train a small GPT-2 from scratch on TEXT: a file, a folder, or python-stdlib.

    A part is held out and its perplexity reported. Stopped training goes on from its last saved state, the file
    OUTPUT.training_state.pt, when the same command is given again.

    Example: task-bundler pretrain python-stdlib -o out/python-gpt2
    """
    from bundler.system.native_output import quiet

    with staged_folder(output, force, texts=[Path(text)]) as folder:
        with terminal.stage("Loading PyTorch"), quiet():
            from gpt2_training.corpus import read_corpus
            from gpt2_training.curve import write_curve
            from gpt2_training.loop import Step
            from gpt2_training.pretrain import PretrainConfig, pretrain
            from gpt2_training.training_state import state_path

        config = PretrainConfig(**{field.name: recipe[field.name] for field in fields(PretrainConfig)})
        if config.width % config.heads:
            raise OptionError(
                f"--width {config.width} is not divisible by --heads {config.heads}; every head needs the same width"
            )
        corpus, state = read_corpus(text), state_path(output)
        if restart:
            state.unlink(missing_ok=True)
        with terminal.bar("training", total=config.steps) as advance:

            def show(step: Step) -> None:
                held_out = f", held-out perplexity {math.exp(step.held_out):.2f}" if step.held_out else ""
                advance(
                    completed=step.step,
                    description=f"loss {step.loss:.3f}, {step.tokens_per_second:,.0f} tokens/s{held_out}",
                )

            record = pretrain(
                corpus,
                folder,
                config,
                show,
                state=state,
                command=" ".join(map(shlex.quote, ["task-bundler", *sys.argv[1:]])),
            )
        write_curve(record, folder / "training.svg")
    state.unlink(missing_ok=True)
    terminal.show(
        f"{output}: {record['parameters']:,} parameters, held-out perplexity {record['held_out_perplexity']:.3f} "
        f"± {record['held_out_perplexity_standard_error']:.3f}"
    )
    terminal.result({key: value for key, value in record.items() if key != "curve"})
