"""task-bundler build"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any, Sequence

import click

from bundler.commands.console import (
    AdapterSource,
    InputPath,
    Terminal,
    TokenizerMode,
    hub_options,
    lengths,
    terminal_options,
)
from bundler.conversion.recipes import DEFAULT, RECIPES, any_of
from tokenizer_tools.symbols import RAW_BYTES


def _ranks(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, ...]:
    return lengths(context, parameter, value) or ()


def _say_notes(terminal: Terminal, notes: Sequence[str]) -> None:
    for note in notes:
        terminal.say(f"note: {note}")


@click.command("build")
@click.argument("model")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder to write.")
@click.option("--name", help="Name of the bundle files. [default: the output folder's name]")
@click.option(
    "--quant",
    "recipe",
    default=DEFAULT,
    show_default=True,
    help=f"{any_of([*RECIPES])}.",
)
@click.option(
    "--context", type=int, help="Tokens the KV cache holds. Less takes less memory. [default: the model's positions]"
)
@click.option(
    "--prefill",
    callback=lengths,
    metavar="N,...",
    help="Lengths of prefill chunks, which have to divide the context. [default: a short and a long one]",
)
@click.option(
    "--cache",
    type=click.Choice(["static", "growing"]),
    default="growing",
    show_default=True,
    help="Of the .litertlm: growing is as long as the text needs, static as long as the context.",
)
@click.option("--start-token", help="[default: the checkpoint's, else <|endoftext|>]")
@click.option(
    "--stop-token",
    "stop_tokens",
    multiple=True,
    help="May be given several times. [default: the checkpoint's, else <|endoftext|>]",
)
@click.option("--tokenizer", type=InputPath(), help="Folder of the vocabulary, if it is not beside the weights.")
@click.option(
    "--tokenizer-mode",
    type=TokenizerMode(),
    default=RAW_BYTES,
    show_default=True,
    help="raw-bytes: text as it is, for every runtime. byte-mapped: MediaPipe maps bytes first, fewer alias rows.",
)
@click.option(
    "--parse-special/--no-parse-special",
    default=None,
    help="Whether special tokens typed in a prompt become these tokens, or stay text. [default: as in transformers, "
    "which nearly always parses]",
)
@click.option("--revision", help="Branch, tag or commit of a hub model.")
@click.option(
    "--calibration",
    type=InputPath(dir_okay=False),
    help="Text that int8-static measures ranges on, and int4 is rounded for. [default: a text of ours for int8-static, "
    "one that the model writes itself for int4]",
)
@click.option("--max-size", type=float, metavar="MB", help="For auto: the largest model, as close as it can be.")
@click.option("--max-kl", type=float, metavar="NATS", help="For auto: the smallest model that is as close to PyTorch.")
@click.option(
    "--lora-ranks",
    callback=_ranks,
    metavar="R,...",
    help="Ranks of adapters the bundles take; 16 or 32 has to be one. [default: the adapters']",
)
@click.option(
    "--adapter",
    "adapters",
    multiple=True,
    type=AdapterSource(),
    help="PEFT folder or hub id to export with the bundles, proven. May be given several times.",
)
@click.option(
    "--trainer", is_flag=True, help="Add NAME-trainer.tflite, with which a phone trains adapters itself, proven."
)
@click.option(
    "--engine",
    "engines",
    multiple=True,
    type=click.Choice(["litert-lm", "mediapipe"]),
    default=["litert-lm"],
    show_default=True,
    help="Engine that has to write PyTorch's text. May be given twice; mediapipe needs Chromium and npm, and minutes.",
)
@click.option(
    "--app-assets",
    is_flag=True,
    help="Add a folder with what a phone needs, and print the adb lines that bring it there.",
)
@click.option(
    "--prompt",
    "prompts",
    multiple=True,
    help="Shown continued in the report; may be given several times. [default: those of the checkpoint's README.md, or "
    "ours]",
)
@click.option(
    "--text",
    "texts",
    multiple=True,
    type=InputPath(),
    help="Text file or folder for perplexity and KL divergence. May be given several times.",
)
@click.option("--speed/--no-speed", default=True, help="Measure the speed for the report. [default: speed]")
@click.option("--force", is_flag=True, help="Replace an output that exists.")
@click.option("--dry-run", is_flag=True, help="Check everything that can be checked without building.")
@terminal_options
@hub_options
def command(terminal: Terminal, dry_run: bool, **options: Any) -> None:
    """Build NAME.task and NAME.litertlm from a GPT-2 checkpoint, and verify both against PyTorch.

    MODEL is a Hugging Face folder, a hub id (owner/name or owner/name@revision), or nanoGPT's ckpt.pt.

    Example: task-bundler build gpt2_training/sample -o out/sample
    """
    from bundler.system.native_output import quiet

    with terminal.stage("Loading PyTorch and the converter"), quiet():
        from bundler.commands.gate_table import gate_table
        from bundler.commands.mix_table import mix_table
        from bundler.pipeline.build import build
        from bundler.pipeline.plan import BuildOptions, plan_build
        from bundler.verification.gate import Gate, Progress, verdict

    options = BuildOptions(**options | {"engines": tuple(dict.fromkeys(options["engines"]))})
    if dry_run:
        plan = plan_build(options)
        terminal.say(
            f"{plan.checkpoint.source.name}: {options.recipe}, context {plan.signatures.context}, "
            f"prefill {', '.join(map(str, plan.signatures.prefill))}, would write {options.output}"
        )
        _say_notes(terminal, plan.notes)
        terminal.result(
            {
                "name": plan.name,
                "context": plan.signatures.context,
                "prefill": list(plan.signatures.prefill),
                "notes": list(plan.notes),
            }
        )
        return
    manifest = build(options, Progress(terminal.stage, terminal.bar, terminal.say))
    _say_notes(terminal, manifest["notes"])
    if "mix" in manifest:
        terminal.show(mix_table(manifest["mix"]))
    gates = [Gate(**gate) for gate in manifest["verification"]]
    terminal.show(gate_table(f"{manifest['name']}, {manifest['recipe']}", gates))
    terminal.show(verdict(gates) if options.verify else "not verified")
    for container in ("task", "litertlm"):
        terminal.show(f"{options.output}/{manifest['name']}.{container}, {manifest['bytes'][container]:,} bytes")
    if options.trainer:
        terminal.show(f"{options.output}/{manifest['name']}-trainer.tflite, {manifest['bytes']['trainer']:,} bytes")
    terminal.show(f"{options.output}/report.html")
    if options.app_assets:
        from bundler.pipeline.app_assets import adb_lines

        for line in adb_lines(options.output):
            terminal.say(line, soft_wrap=True)
    bundle = shlex.quote(str(options.output / f"{manifest['name']}.litertlm"))
    terminal.say(f"Next: task-bundler run {bundle} -p TEXT", soft_wrap=True)
    terminal.result(manifest)
