"""task-bundler lora: adapters"""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bundler.checkpoints.adapter_source import adapter_path
from bundler.checkpoints.hub_id import HubAccess
from bundler.commands.console import (
    COUNT,
    AdapterSource,
    InputPath,
    Terminal,
    hub_options,
    scales_for,
    terminal_options,
)
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
from bundler.system.temporary_folder import temporary_folder
from gpt2_training.corpus import STANDARD_LIBRARY

if TYPE_CHECKING:
    from bundler.pipeline.train_adapter import DeviceModel
    from gpt2_training.loop import Step
    from lora_weights.fine_tune import FineTuneConfig

PATH = click.Path(path_type=Path)
TEXT = InputPath(STANDARD_LIBRARY, path_type=None)
SCALE = click.option(
    "--scale",
    "scales",
    type=float,
    multiple=True,
    help="How strongly an adapter acts: once for all, or once for each in their order. [default: 1]",
)


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
@click.argument("adapters", nargs=-1, required=True, type=AdapterSource(), metavar="ADAPTER...")
@click.option(
    "--bundle", required=True, type=InputPath(), help="Output folder of a build with --lora-ranks, or its .task."
)
@click.option("--against", "model", help="The checkpoint the bundle was made from; the adapter is proven against it.")
@click.option("-o", "--output", required=True, type=PATH, help="File to write.")
@SCALE
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
    adapters: tuple[str, ...],
    bundle: Path,
    model: str | None,
    output: Path,
    scales: tuple[float, ...],
    rank: int | None,
    tokenizer: Path | None,
    skip_gates: bool,
    force: bool,
    hub: HubAccess,
) -> None:
    """Write ADAPTER, a PEFT folder or a hub id, as a file that MediaPipe and LiteRT-LM load beside a finished bundle.

    Several adapters become one, the sum of what each changes. If the bundle has no room for the sum of their ranks, it
    is cut to what there is, and what is lost is said.

    Example: task-bundler lora export lora_weights/samples/pirate --bundle out/sample --against gpt2_training/sample -o
    pirate.tflite
    """
    from bundler.system.native_output import quiet

    scales = scales_for(scales, len(adapters))
    check_output_file(output, force, [*paths(*adapters), bundle])
    if not skip_gates and not model:
        raise OptionError(
            "--against is missing: give the checkpoint, so that the adapter can be proven to act; or --skip-gates"
        )
    with quiet():
        from bundler.pipeline.export_adapter import (
            check_adapter,
            combine_for,
            open_lora_bundles,
            prepare_adapter,
            write_adapter,
            write_combined,
        )

    bundles = open_lora_bundles(bundle)
    folders, error, gates = [adapter_path(adapter, hub) for adapter in adapters], 0.0, []
    with temporary_folder("adapters") as temporary:
        folder = folders[0]
        if len(folders) > 1 or scales[0] != 1:
            combined = combine_for(bundles, folders, scales, rank)
            folder, error = write_combined(combined, Path(temporary)), combined.error
        file = prepare_adapter(folder, bundles, rank)
        if not skip_gates:
            from bundler.checkpoints.checkpoint import open_checkpoint
            from bundler.commands.gate_table import gate_table
            from bundler.verification.gate import Progress

            checkpoint = open_checkpoint(model, tokenizer=tokenizer, hub=hub)
            gates = check_adapter(folder, file, bundles, checkpoint, Progress(terminal.stage, terminal.bar))
            terminal.show(gate_table(file.header.name, gates))
    size = write_adapter(file, output)
    terminal.show(f"{output}: rank {file.header.rank}, {size:,} bytes{'' if gates else ', not verified'}")
    if error:
        terminal.show(f"cut to rank {file.header.rank}: {error:.2%} of what the adapters change is lost")
    terminal.result(
        {
            "file": str(output),
            "bytes": size,
            "cut_error": error,
            **asdict(file.header),
            "verified": bool(gates),
            "gates": [gate.as_dict() for gate in gates],
        }
    )


@command.command("merge")
@click.argument("base")
@click.argument("adapters", nargs=-1, required=True, type=AdapterSource(), metavar="ADAPTER...")
@click.option("-o", "--output", required=True, type=PATH, help=".task to write, or folder for a checkpoint.")
@SCALE
@click.option("--tokenizer", type=InputPath(), help="Folder of the vocabulary, if it is not beside the weights.")
@click.option("--force", is_flag=True, help="Replace an output that exists.")
@terminal_options
@hub_options
def merge(
    terminal: Terminal,
    base: str,
    adapters: tuple[str, ...],
    output: Path,
    scales: tuple[float, ...],
    tokenizer: Path | None,
    force: bool,
    hub: HubAccess,
) -> None:
    """Add ADAPTER, or several, to the weights of BASE: a finished .task, or a checkpoint (folder or hub id).

    Into a .task go PEFT folders, hub ids and adapter files, of attention and MLP; no engine needs to know of LoRA to
    run the result. Into a checkpoint goes whatever PEFT can save, also what a .task cannot take (DoRA, biases).

    Example: task-bundler lora merge out/sample/sample.task lora_weights/samples/pirate -o pirate.task
    """
    scales, names = scales_for(scales, len(adapters)), " and ".join(Path(adapter).name for adapter in adapters)
    into_task = Path(base).is_file() and Path(base).suffix not in (".pt", ".pth")
    if into_task != (output.suffix == ".task"):
        kinds = "a .task; expected the name of a .task" if into_task else "a checkpoint; expected the name of a folder"
        raise OptionError(f"{output}: {base} is {kinds} to write; give another output")
    if into_task:
        from bundler.containers.bundle import open_bundle
        from bundler.containers.lora_manifest import base_of_bundle
        from bundler.lora.merge_bundle import merge_into_bundle, sum_for_merging

        check_output_file(output, force, paths(base, *adapters))
        folders = [adapter_path(adapter, hub) for adapter in adapters]
        with terminal.stage(f"Merging {names} into {Path(base).name}"):
            file, mlp = sum_for_merging(folders, scales, base_of_bundle(open_bundle(Path(base))))
            result = merge_into_bundle(Path(base), file, output, mlp)
        terminal.show(f"{output}: {file.header.name} in {result['matrices']} matrices")
        terminal.result({"file": str(output), "name": file.header.name, **result})
        return
    from bundler.system.native_output import quiet

    inputs = paths(base, *adapters, tokenizer)
    check_output(output, force, inputs)
    with terminal.stage("Loading PyTorch"), quiet():
        from bundler.lora.merge_checkpoint import merge_checkpoint_folder
    folders = [adapter_path(adapter, hub) for adapter in adapters]
    with terminal.stage(f"Merging {names} into {base}"), quiet(), staged_folder(output, force, inputs) as folder:
        merge_checkpoint_folder(base, folders, folder, scales=scales, tokenizer=tokenizer, hub=hub)
    terminal.show(f"{output}: a checkpoint with {names} in its weights")
    terminal.result({"folder": str(output), "name": names})


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


def _open_for_device(
    terminal: Terminal, model: str, tokenizer: Path | None, hub: HubAccess, config: FineTuneConfig, trainer: Path
) -> DeviceModel:
    """The model with its trainer file, which is made if it is not there."""
    from bundler.checkpoints.checkpoint import open_checkpoint
    from bundler.conversion.exported_weights import TokenRows
    from bundler.conversion.trainer import TrainerShape
    from bundler.pipeline.train_adapter import check_config, device_model
    from bundler.pipeline.trainer_file import write_trainer
    from bundler.pipeline.worker import warm_worker
    from bundler.verification.gate import Progress

    checkpoint = open_checkpoint(model, tokenizer=tokenizer, hub=hub)
    check_config(config, checkpoint.architecture)
    if not trainer.exists():
        rows, shape = TokenRows(checkpoint.architecture.vocabulary), TrainerShape(config.context, config.rank)
        with warm_worker(Progress(terminal.stage, terminal.bar)) as worker:
            write_trainer(checkpoint, rows, shape, trainer, worker=worker)
    return device_model(checkpoint, model, trainer)


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
    engine: str,
    trainer: Path | None,
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

    if trainer and engine != "tflite":
        raise OptionError(f"`trainer` {trainer} is for the engine tflite, not {engine}; give --engine tflite")
    with staged_folder(output, force, paths(model, tokenizer, trainer), paths(text)) as folder:
        with terminal.stage("Loading PyTorch"), quiet():
            from gpt2_training.loop import StateFile
            from gpt2_training.training_state import state_path
            from lora_weights.fine_tune import FineTuneConfig
            from lora_weights.train import AdapterOutput, train_adapter

        config = FineTuneConfig(
            targets=tuple(name.strip() for name in targets.split(",") if name.strip()), **given(recipe)
        )
        run = train_adapter
        if engine == "tflite":
            from bundler.pipeline.train_adapter import train_on_device as run

            made = trainer or folder / "trainer.tflite"
            base = _open_for_device(terminal, model, tokenizer, hub, config, made)
        else:
            with terminal.stage("Opening the model"), quiet():
                base = open_base(model, tokenizer, hub)
        corpus, state = read_text(terminal, text), state_path(output)
        written = AdapterOutput(folder, StateFile(state, restart), command_line(), output.name, licence)
        with training_progress(terminal, config.steps, state) as show:
            record = run(base, corpus, config, written, show)
        (folder / "trainer.tflite").unlink(missing_ok=True)
    terminal.show(
        f"{output}: {record['trainable_parameters']:,} trained parameters; held-out perplexity "
        f"{record['held_out_perplexity_before']:.2f} before, {record['held_out_perplexity']:.2f} "
        f"± {record['held_out_perplexity_standard_error']:.2f} after"
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
@click.option("--on-device", is_flag=True, help="Also train an adapter of the largest rank in LiteRT, as a phone does.")
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
    on_device: bool,
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
        device, made = None, folder / "trainer.tflite"
        if on_device:
            from bundler.pipeline.train_adapter import fine_tune_on_device

            largest = replace(config, rank=max(ranks))
            opened = _open_for_device(terminal, model, tokenizer, hub, largest, made)
            device = comparing.DeviceTrainer(largest.rank, partial(fine_tune_on_device, opened))
        plan = comparing.ComparisonPlan(ranks, config, full_learning_rate, prompts or (corpus.prompt,), device=device)
        states = {kind: state_path(output.with_name(f"{output.name}.{kind.label}")) for kind in plan.kinds}
        with training_progress(terminal, config.steps * len(plan.kinds)) as show:

            def on_step(kind: comparing.Kind, step: Step) -> None:
                show(replace(step, step=plan.kinds.index(kind) * config.steps + step.step), kind.name)

            watch = comparing.ComparisonWatch(on_step, lambda kind: StateFile(states[kind], restart), memory_above_now)
            comparison = comparing.compare(base, corpus, plan, watch)
        made.unlink(missing_ok=True)
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
    terminal.show(table.rstrip("\n"))
    terminal.say(f"{output / 'comparison.html'} shows it as a page", soft_wrap=True)
    terminal.result(record)


@command.command("info")
@click.argument("adapter", type=AdapterSource())
@terminal_options
@hub_options
def info(terminal: Terminal, adapter: str, hub: HubAccess) -> None:
    """Show what is in ADAPTER, an adapter file, a PEFT folder or a hub id, and how much it changes in each layer.

    Example: task-bundler lora info out/sample/adapters/pirate.tflite
    """
    from rich.table import Table

    from bundler.lora.describe import describe_adapter

    facts = describe_adapter(adapter_path(adapter, hub))
    norms = facts.pop("delta_norms")
    for name, value in facts.items():
        if value is not None:
            terminal.show(f"{name} {value}")
    table = Table("layer", *norms[0], title="Frobenius norm of each delta", title_justify="left")
    for layer, row in enumerate(norms):
        table.add_row(str(layer), *(f"{value:.3g}" for value in row.values()))
    terminal.show(table)
    terminal.result({**facts, "delta_norms": norms})
