"""task-bundler lora: adapters"""

from __future__ import annotations

from dataclasses import asdict, replace
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
    training_options,
    training_progress,
)
from bundler.errors import OptionError
from bundler.system.output_folder import check_output, check_output_file, staged_folder
from gpt2_training.corpus import STANDARD_LIBRARY

if TYPE_CHECKING:
    from gpt2_training.loop import Step

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

    inputs = paths(base, adapter, tokenizer)
    check_output(output, force, inputs)
    with terminal.stage("Loading PyTorch"), quiet():
        from bundler.lora.merge_checkpoint import merge_checkpoint_folder
    with terminal.stage(f"Merging {adapter.name} into {base}"), quiet(), staged_folder(output, force, inputs) as folder:
        merge_checkpoint_folder(base, adapter, folder, tokenizer=tokenizer, hub=hub)
    terminal.say(f"{output}: a checkpoint with {adapter.name} in its weights")
    terminal.result({"folder": str(output), "name": adapter.name})


_TOKENIZER = click.option(
    "--tokenizer", type=InputPath(), help="Folder of the vocabulary, if it is not beside the weights."
)
_TRAINING = training_options(
    steps=300,
    batch=8,
    accumulate=1,
    context=128,
    learning_rate=0.002,
    warmup=20,
    weight_decay=0.0,
    beta2=0.95,
    dropout=0.0,
    evaluate_every=50,
    patience=0,
    seed=1,
    threads=0,
    precision="float32",
)


@command.command("train")
@click.argument("model")
@click.argument("text", type=TEXT)
@click.option("-o", "--output", required=True, type=PATH, help="PEFT folder to write; its name is the adapter's.")
@click.option("--rank", default=8, show_default=True, type=COUNT)
@click.option(
    "--alpha",
    type=click.FloatRange(0, min_open=True),
    help="Strength: deltas are scaled by alpha / rank. [default: twice the rank]",
)
@click.option(
    "--targets",
    default="attn.c_attn,attn.c_proj",
    show_default=True,
    help="Modules. Others than these two cannot be exported.",
)
@click.option("--licence", help="Of the adapter, for its model card: an SPDX name such as apache-2.0.")
@click.option("--rslora", is_flag=True, help="Scale by alpha / sqrt(rank). Helpful for large ranks.")
@_TOKENIZER
@_TRAINING
@RESTART
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
    hub: HubAccess,
    **recipe: Any,
) -> None:
    """Train an adapter of the checkpoint MODEL on TEXT: a file, a folder, or python-stdlib.

    A part is held out, and its perplexity reported before and after. Ctrl-C saves the step it comes in. The same
    command goes on from there, from the file OUTPUT.training_state.pt; so does one with more --steps, also after
    the end.

    Example: task-bundler lora train gpt2_training/sample out/texts/pirate.txt -o out/pirate
    """
    from bundler.system.native_output import quiet

    with staged_folder(output, force, paths(model, tokenizer), paths(text)) as folder:
        with terminal.stage("Loading PyTorch"), quiet():
            from gpt2_training.loop import StateFile
            from gpt2_training.training_state import state_path
            from lora_weights.fine_tune import FineTuneConfig
            from lora_weights.train import AdapterOutput, train_adapter

        config = FineTuneConfig(
            targets=tuple(name.strip() for name in targets.split(",") if name.strip()), **given(recipe)
        )
        with terminal.stage("Opening the model"), quiet():
            base = open_base(model, tokenizer, hub)
        corpus, state = read_text(terminal, text), state_path(output)
        written = AdapterOutput(folder, StateFile(state, restart), command_line(), output.name, licence)
        with training_progress(terminal, config.steps, state) as show:
            record = train_adapter(base, corpus, config, written, show)
    terminal.say(
        f"{output}: {record['trainable_parameters']:,} trained parameters; held-out perplexity "
        f"{record['held_out_perplexity_before']:.2f} before, {record['held_out_perplexity']:.2f} "
        f"± {record['held_out_perplexity_standard_error']:.2f} after",
        soft_wrap=True,
    )
    say_how_to_go_on(terminal, state)
    terminal.result({key: value for key, value in record.items() if key != "curve"})


@command.command("compare")
@click.argument("model")
@click.argument("text", type=TEXT)
@click.option("-o", "--output", required=True, type=PATH, help="Folder for comparison.html, .md, .json, .svg.")
@click.option("--ranks", default="4,8,16", show_default=True, callback=_numbers, metavar="R,...")
@click.option(
    "--full-learning-rate", default=3e-4, show_default=True, type=click.FloatRange(0), help="Of full fine-tuning."
)
@click.option(
    "-p",
    "--prompt",
    "prompts",
    multiple=True,
    help="Continued by each; may be given several times. [default: words from the text held out]",
)
@_TOKENIZER
@_TRAINING
@RESTART
@terminal_options
@hub_options
def compare(
    terminal: Terminal,
    model: str,
    text: str,
    output: Path,
    tokenizer: Path | None,
    restart: bool,
    force: bool,
    ranks: tuple[int, ...],
    full_learning_rate: float,
    prompts: tuple[str, ...],
    hub: HubAccess,
    **recipe: Any,
) -> None:
    """Fine-tune MODEL on TEXT fully and with LoRA at several ranks, and show what each costs and gives.

    Ctrl-C saves the step it comes in, and the same command goes on from there.

    Example: task-bundler lora compare gpt2_training/sample out/texts/pirate.txt -o out/comparison
    """
    import json

    from bundler.system.native_output import quiet

    with staged_folder(output, force, paths(model, tokenizer), paths(text)) as folder:
        with terminal.stage("Loading PyTorch"), quiet():
            from bundler.system.machine import memory_above_now
            from gpt2_training.loop import StateFile
            from gpt2_training.training_state import state_path
            from lora_weights import compare as comparing
            from lora_weights.fine_tune import FineTuneConfig

        config = FineTuneConfig(**given(recipe))
        with terminal.stage("Opening the model"), quiet():
            base = open_base(model, tokenizer, hub)
        corpus = read_text(terminal, text)
        plan = comparing.ComparisonPlan(ranks, config, full_learning_rate, prompts or (corpus.prompt,))
        states = {rank: state_path(output.with_name(f"{output.name}.rank-{rank or 'full'}")) for rank in plan.names}
        order = list(plan.names.values())
        with training_progress(terminal, config.steps * len(order)) as show:

            def on_step(name: str, step: Step) -> None:
                show(replace(step, step=order.index(name) * config.steps + step.step), name)

            watch = comparing.ComparisonWatch(on_step, lambda rank: StateFile(states[rank], restart), memory_above_now)
            comparison = comparing.compare(base, corpus, plan, watch)
        record = {
            "command": command_line(),
            "model": model,
            "text": text,
            "config": asdict(replace(config, rank=0)),
            "full_learning_rate": full_learning_rate,
            **comparing.comparison_record(comparison),
        }
        (folder / "comparison.json").write_text(json.dumps(record, indent=1) + "\n")
        table, picture = comparing.comparison_table(comparison), folder / "comparison.svg"
        (folder / "comparison.md").write_text(table, encoding="utf-8")
        comparing.write_comparison_plot(comparison, picture)
        title = f"{model} on {text}: full fine-tuning and LoRA"
        page = comparing.comparison_page(comparison, title, picture.read_text(encoding="utf-8"))
        (folder / "comparison.html").write_text(page, encoding="utf-8")
    for state in states.values():
        state.unlink(missing_ok=True)
    terminal.write(table)
    terminal.say(f"{output / 'comparison.html'} shows it as a page", soft_wrap=True)
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
