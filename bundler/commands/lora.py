"""task-bundler lora: adapters"""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

import click

from bundler.checkpoints.hub_id import HubAccess
from bundler.commands.console import COUNT, InputPath, Terminal, hub_options, terminal_options
from bundler.errors import OptionError
from bundler.system.output_folder import check_output, check_output_file, staged_folder
from gpt2_training.corpus import STANDARD_LIBRARY

if TYPE_CHECKING:
    from bundler.pipeline.train_adapter import DeviceModel
    from lora_weights.fine_tune import FineTuneConfig
    from lora_weights.train import BaseModel

PATH = click.Path(path_type=Path)
TEXT = InputPath(STANDARD_LIBRARY, path_type=None)


def _numbers(context: click.Context, parameter: click.Parameter, value: str) -> tuple[int, ...]:
    try:
        numbers = tuple(int(part) for part in value.split(","))
    except ValueError:
        numbers = ()
    if not numbers or min(numbers) < 1:
        raise click.BadParameter(f"{value!r}; expected whole numbers from 1 with commas, such as 4,16")
    return numbers


@click.group("lora", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Adapters: export for swapping, merge, train, compare, look inside."""


@command.command("export")
@click.argument("adapter", type=InputPath())
@click.option(
    "--bundle", required=True, type=InputPath(), help="Output folder of a build with --lora-ranks, or its .task."
)
@click.option("--against", "model", help="The checkpoint the bundle was made from; the adapter is proven against it.")
@click.option("-o", "--output", required=True, type=PATH, help="File to write.")
@click.option("--rank", type=int, help="One of the bundle's. [default: the one that serves both its files]")
@click.option("--tokenizer", type=InputPath(), help="Folder of the vocabulary, if it is not beside the weights.")
@click.option(
    "--skip-gates",
    is_flag=True,
    help="Write it unproven. When the bundle passed with another adapter, and time matters.",
)
@click.option("--force", is_flag=True, help="Replace an output that exists.")
@terminal_options
@hub_options
def export(
    terminal: Terminal,
    adapter: Path,
    bundle: Path,
    model: str | None,
    output: Path,
    rank: int | None,
    tokenizer: Path | None,
    skip_gates: bool,
    force: bool,
    hub: HubAccess,
) -> None:
    """Write the PEFT folder ADAPTER as a file that MediaPipe and LiteRT-LM load beside a finished bundle.

    Example: task-bundler lora export lora_weights/samples/pirate --bundle out/sample --against gpt2_training/sample -o
    pirate.tflite
    """
    from bundler.system.native_output import quiet

    check_output_file(output, force, [adapter, bundle])
    if not skip_gates and not model:
        raise OptionError(
            "--against is missing: give the checkpoint, so that the adapter can be proven to act; or --skip-gates"
        )
    with quiet():
        from bundler.pipeline.export_adapter import check_adapter, open_lora_bundles, prepare_adapter, write_adapter

    bundles = open_lora_bundles(bundle)
    file = prepare_adapter(adapter, bundles, rank)
    gates = []
    if not skip_gates:
        from bundler.checkpoints.checkpoint import open_checkpoint
        from bundler.commands.gate_table import gate_table
        from bundler.verification.gate import Progress

        checkpoint = open_checkpoint(model, tokenizer=tokenizer, hub=hub)
        gates = check_adapter(adapter, file, bundles, checkpoint, Progress(terminal.stage, terminal.bar))
        terminal.say(gate_table(file.header.name, gates))
    size = write_adapter(file, output)
    terminal.say(f"{output}: rank {file.header.rank}, {size:,} bytes{'' if gates else ', not verified'}")
    terminal.result(
        {
            "file": str(output),
            "bytes": size,
            **asdict(file.header),
            "verified": bool(gates),
            "gates": [gate.as_dict() for gate in gates],
        }
    )


@command.command("merge")
@click.argument("base")
@click.argument("adapter", type=InputPath())
@click.option("-o", "--output", required=True, type=PATH, help=".task to write, or folder for a checkpoint.")
@click.option("--tokenizer", type=InputPath(), help="Folder of the vocabulary, if it is not beside the weights.")
@click.option("--force", is_flag=True, help="Replace an output that exists.")
@terminal_options
@hub_options
def merge(
    terminal: Terminal, base: str, adapter: Path, output: Path, tokenizer: Path | None, force: bool, hub: HubAccess
) -> None:
    """Add ADAPTER to the weights of BASE: a finished .task, or a checkpoint (folder or hub id).

    Into a .task go PEFT folders and adapter files; no engine needs to know of LoRA to run the result. Into a
    checkpoint goes whatever PEFT can save, also what an adapter file cannot carry (DoRA, MLP, biases).

    Example: task-bundler lora merge out/sample/sample.task lora_weights/samples/pirate -o pirate.task
    """
    if Path(base).is_file() and Path(base).suffix not in (".pt", ".pth"):
        from bundler.containers.bundle import open_bundle
        from bundler.containers.lora_manifest import base_of_bundle
        from bundler.lora.merge_bundle import adapter_for_merging, merge_into_bundle

        check_output_file(output, force, [Path(base), adapter])
        with terminal.stage(f"Merging {adapter.name} into {Path(base).name}"):
            file = adapter_for_merging(adapter, base_of_bundle(open_bundle(Path(base))))
            result = merge_into_bundle(Path(base), file, output)
        terminal.say(f"{output}: {file.header.name} in {result['matrices']} matrices")
        terminal.result({"file": str(output), "name": file.header.name, **result})
        return
    from bundler.system.native_output import quiet

    inputs = _paths(base, adapter, tokenizer)
    check_output(output, force, inputs)
    with terminal.stage("Loading PyTorch"), quiet():
        from bundler.lora.merge_checkpoint import merge_checkpoint_folder
    with terminal.stage(f"Merging {adapter.name} into {base}"), quiet(), staged_folder(output, force, inputs) as folder:
        merge_checkpoint_folder(base, adapter, folder, tokenizer=tokenizer, hub=hub)
    terminal.say(f"{output}: a checkpoint with {adapter.name} in its weights")
    terminal.result({"folder": str(output), "name": adapter.name})


def _training_options(function: Callable) -> Callable:
    for option in reversed(
        (
            click.option("--steps", default=300, show_default=True, type=COUNT),
            click.option("--batch", default=8, show_default=True, type=COUNT, help="Sequences in a step."),
            click.option("--context", default=128, show_default=True, type=COUNT, help="Tokens of a sequence."),
            click.option("--learning-rate", default=2e-3, show_default=True, type=click.FloatRange(0)),
            click.option(
                "--warmup",
                default=20,
                show_default=True,
                type=click.IntRange(0),
                help="Steps until the learning rate is reached.",
            ),
            click.option(
                "--dropout",
                default=0.0,
                show_default=True,
                type=click.FloatRange(0, 1),
                help="Helpful when a small text is read many times.",
            ),
            click.option(
                "--evaluate-every",
                default=50,
                show_default=True,
                type=COUNT,
                help="Steps between held-out losses and saved states.",
            ),
            click.option("--seed", default=1, show_default=True),
            click.option(
                "--threads", default=0, show_default=True, type=click.IntRange(0), help="0 leaves it to PyTorch."
            ),
            click.option(
                "--tokenizer", type=InputPath(), help="Folder of the vocabulary, if it is not beside the weights."
            ),
            click.option("--force", is_flag=True, help="Replace an output that exists."),
        )
    ):
        function = option(function)
    return function


def _paths(*inputs: str | Path | None) -> list[Path]:
    """Those inputs that were given, as the paths that they may be."""
    return [Path(os.path.expanduser(path)) for path in inputs if path is not None]


def _opened(model: str, tokenizer: Path | None, hub: HubAccess) -> BaseModel:
    """The model in PyTorch, its tokenizer, and its fingerprint."""
    from bundler.checkpoints.checkpoint import open_checkpoint
    from bundler.lora.facts import weights_fingerprint
    from lora_weights.train import BaseModel
    from tokenizer_tools.vocabulary import reference_tokenizer
    from tokenizer_tools.vocabulary_files import read_vocabulary

    checkpoint = open_checkpoint(model, tokenizer=tokenizer, hub=hub)
    vocabulary = read_vocabulary(checkpoint.folder)
    reference = reference_tokenizer(vocabulary)
    return BaseModel(checkpoint.reference_model(), reference, model, weights_fingerprint(checkpoint))


def _opened_for_device(
    terminal: Terminal, model: str, tokenizer: Path | None, hub: HubAccess, config: FineTuneConfig, trainer: Path
) -> DeviceModel:
    """The model with its trainer file, which is made if it is not there."""
    from bundler.checkpoints.checkpoint import open_checkpoint
    from bundler.conversion.exported_weights import TokenRows
    from bundler.conversion.trainer import TrainerShape
    from bundler.pipeline.train_adapter import check_config, device_model
    from bundler.pipeline.trainer_file import write_trainer
    from bundler.verification.gate import Progress

    checkpoint = open_checkpoint(model, tokenizer=tokenizer, hub=hub)
    check_config(config, checkpoint.architecture)
    if not trainer.exists():
        rows, shape = TokenRows(checkpoint.architecture.vocabulary), TrainerShape(config.context, config.rank)
        write_trainer(checkpoint, rows, shape, trainer, progress=Progress(terminal.stage, terminal.bar))
    return device_model(checkpoint, model, trainer)


@command.command("train")
@click.argument("model")
@click.argument("text", type=TEXT)
@click.option("-o", "--output", required=True, type=PATH, help="PEFT folder to write; its name is the adapter's.")
@click.option("--rank", default=8, show_default=True, type=COUNT)
@click.option("--alpha", type=float, help="Strength: deltas are scaled by alpha / rank. [default: twice the rank]")
@click.option(
    "--targets",
    default="attn.c_attn,attn.c_proj",
    show_default=True,
    help="Modules. Others than these two cannot be exported.",
)
@click.option("--licence", help="Of the adapter, for its model card: an SPDX name such as apache-2.0.")
@click.option("--restart", is_flag=True, help="Begin anew, whatever state a stopped training left.")
@click.option("--rslora", is_flag=True, help="Scale by alpha / sqrt(rank). Helpful for large ranks.")
@click.option(
    "--engine",
    type=click.Choice(["torch", "tflite"]),
    default="torch",
    show_default=True,
    help="tflite: LiteRT computes the steps, as it does on a phone.",
)
@click.option(
    "--trainer",
    type=InputPath(dir_okay=False),
    help="NAME-trainer.tflite of a build with --trainer, for the engine tflite. [default: one in int8, made for this]",
)
@_training_options
@terminal_options
@hub_options
def train(
    terminal: Terminal,
    model: str,
    text: str,
    output: Path,
    tokenizer: Path | None,
    force: bool,
    targets: str,
    licence: str | None,
    restart: bool,
    engine: str,
    trainer: Path | None,
    hub: HubAccess,
    **recipe: Any,
) -> None:
    """Train an adapter of the checkpoint MODEL on TEXT: a file, a folder, or python-stdlib.

    A part is held out, and its perplexity reported before and after. Stopped training goes on from its last
    saved state, the file OUTPUT.training_state.pt, when the same command is given again.

    Example: task-bundler lora train gpt2_training/sample out/texts/pirate.txt -o out/pirate
    """
    import math

    from bundler.system.native_output import quiet

    if trainer and engine != "tflite":
        raise OptionError(f"`trainer` {trainer} is for the engine tflite, not {engine}; give --engine tflite")
    with staged_folder(output, force, _paths(model, tokenizer, trainer), _paths(text)) as folder:
        with terminal.stage("Loading PyTorch"), quiet():
            from gpt2_training.corpus import read_corpus
            from gpt2_training.loop import Step
            from gpt2_training.training_state import state_path
            from lora_weights.fine_tune import FineTuneConfig
            from lora_weights.train import AdapterOutput, train_adapter

            base = _opened(model, tokenizer, hub) if engine == "torch" else None
        config, corpus, state = (
            FineTuneConfig(targets=tuple(targets.split(",")), **recipe),
            read_corpus(text),
            state_path(output),
        )
        if restart:
            state.unlink(missing_ok=True)
        run = train_adapter
        if engine == "tflite":
            from bundler.pipeline.train_adapter import train_on_device as run

            base = _opened_for_device(terminal, model, tokenizer, hub, config, trainer or folder / "trainer.tflite")
        with terminal.bar("training", total=config.steps) as advance:
            held_out = [""]

            def show(step: Step) -> None:
                if step.held_out is not None:
                    held_out[0] = f", held-out perplexity {math.exp(step.held_out):.2f}"
                advance(
                    completed=step.step,
                    description=f"loss {step.loss:.3f}, {step.tokens_per_second:,.0f} tokens/s{held_out[0]}",
                )

            asked = " ".join(map(shlex.quote, ["task-bundler", *sys.argv[1:]]))
            written = AdapterOutput(folder, output.name, licence, asked)
            record = run(base, corpus, config, written, show, state)
        (folder / "trainer.tflite").unlink(missing_ok=True)
    state.unlink(missing_ok=True)
    terminal.say(
        f"{output}: {record['trainable_parameters']:,} trained parameters; held-out perplexity "
        f"{record['held_out_perplexity_before']:.2f} before, {record['held_out_perplexity']:.2f} "
        f"± {record['held_out_perplexity_standard_error']:.2f} after"
    )
    terminal.result({key: value for key, value in record.items() if key != "curve"})


@command.command("compare")
@click.argument("model")
@click.argument("text", type=TEXT)
@click.option("-o", "--output", required=True, type=PATH, help="Folder for comparison.md, .json and .svg.")
@click.option("--ranks", default="1,4,16", show_default=True, callback=_numbers, metavar="R,...")
@click.option(
    "--full-learning-rate", default=3e-4, show_default=True, type=click.FloatRange(0), help="Of full fine-tuning."
)
@click.option(
    "-p", "--prompt", "prompts", multiple=True, help='Continued by each; may be given several times. [default: "def "]'
)
@_training_options
@terminal_options
@hub_options
def compare(
    terminal: Terminal,
    model: str,
    text: str,
    output: Path,
    tokenizer: Path | None,
    force: bool,
    ranks: tuple[int, ...],
    full_learning_rate: float,
    prompts: tuple[str, ...],
    hub: HubAccess,
    **recipe: Any,
) -> None:
    """Fine-tune MODEL on TEXT fully and with LoRA at several ranks, and show what each costs and gives.

    Example: task-bundler lora compare gpt2_training/sample out/texts/pirate.txt -o out/comparison
    """
    import json

    from bundler.system.native_output import quiet

    with staged_folder(output, force, _paths(model, tokenizer), _paths(text)) as folder:
        with terminal.stage("Loading PyTorch"), quiet():
            from gpt2_training.corpus import read_corpus
            from lora_weights.compare import (
                ComparisonPlan,
                compare,
                comparison_record,
                comparison_table,
                write_comparison_plot,
            )
            from lora_weights.fine_tune import FineTuneConfig

            base = _opened(model, tokenizer, hub)
        config = FineTuneConfig(**recipe)
        order = ["full fine-tuning", *(f"LoRA, rank {rank}" for rank in ranks)]
        with terminal.bar("training", total=config.steps * len(order)) as advance:
            plan = ComparisonPlan(ranks, config, full_learning_rate, prompts or ("def ",))
            comparison = compare(
                base,
                read_corpus(text),
                plan,
                on_step=lambda name, step: advance(
                    completed=order.index(name) * config.steps + step.step, description=f"{name}, loss {step.loss:.3f}"
                ),
            )
        record = {
            "model": model,
            "text": text,
            "config": asdict(replace(config, rank=0)),
            "full_learning_rate": full_learning_rate,
            **comparison_record(comparison),
        }
        (folder / "comparison.json").write_text(json.dumps(record, indent=1) + "\n")
        table = comparison_table(comparison)
        (folder / "comparison.md").write_text(table, encoding="utf-8")
        write_comparison_plot(comparison, folder / "comparison.svg")
    for line in table.splitlines():
        terminal.say(line)
    terminal.result(record)


@command.command("info")
@click.argument("adapter", type=InputPath())
@terminal_options
def info(terminal: Terminal, adapter: Path) -> None:
    """Show what is in ADAPTER, an adapter file or a PEFT folder, and how much it changes in each layer.

    Example: task-bundler lora info out/sample/adapters/pirate.tflite
    """
    from rich.table import Table

    from bundler.lora.describe import describe_adapter

    facts = describe_adapter(adapter)
    norms = facts.pop("delta_norms")
    terminal.say(", ".join(f"{name} {value}" for name, value in facts.items() if value is not None))
    table = Table("layer", *norms[0], title="Frobenius norm of each delta", title_justify="left")
    for layer, row in enumerate(norms):
        table.add_row(str(layer), *(f"{value:.3g}" for value in row.values()))
    terminal.say(table)
    terminal.result({**facts, "delta_norms": norms})
