"""task-bundler verify"""

from __future__ import annotations

from pathlib import Path

import click

from bundler.checkpoints.hub_id import HubAccess
from bundler.commands.console import BundlePath, InputPath, Terminal, hub_options, terminal_options
from bundler.errors import VerificationError


@click.command("verify")
@click.argument("file", type=BundlePath())
@click.option("--against", "model", required=True, help="The checkpoint: a folder, a hub id, or nanoGPT's ckpt.pt.")
@click.option(
    "--text",
    "texts",
    multiple=True,
    type=InputPath("-"),
    help="Text file or folder for perplexity and KL divergence. May be given several times. [default: a few built-in "
    "lines]",
)
@click.option(
    "--engine",
    "engines",
    multiple=True,
    type=click.Choice(["litert-lm", "mediapipe", "none"]),
    default=["litert-lm"],
    show_default=True,
    help="Engine that has to write PyTorch's text, besides the logits in LiteRT. May be given twice.",
)
@click.option("--tokenizer", type=InputPath(), help="Folder of the vocabulary, if it is not beside the weights.")
@click.option("--revision", help="Branch, tag or commit of a hub model.")
@click.option(
    "--quant", "recipe", help="Hold it to this recipe's limits. [default: what the bundle says or looks like]"
)
@terminal_options
@hub_options
def command(
    terminal: Terminal,
    file: Path,
    model: str,
    texts: tuple[Path, ...],
    engines: tuple[str, ...],
    tokenizer: Path | None,
    revision: str | None,
    recipe: str | None,
    hub: HubAccess,
) -> None:
    """Hold a .task or .litertlm FILE, whoever made it, against the checkpoint it was made from. Exit code 3 if a gate
    fails.

    Example: task-bundler verify out/sample/sample.task --against gpt2_training/sample --text my_texts/
    """
    from bundler.system.native_output import quiet

    with terminal.stage("Loading PyTorch"), quiet():
        from bundler.commands.gate_table import gate_table
        from bundler.verification.gate import Progress
        from bundler.verification.verify import VerifyOptions, verify_bundle

    chosen = tuple(dict.fromkeys(engine for engine in engines if engine != "none"))
    options = VerifyOptions(tokenizer, revision, recipe, chosen, texts, hub)
    gates = verify_bundle(file, model, options, Progress(terminal.stage, terminal.bar))
    terminal.show(gate_table(str(file), gates))
    terminal.result(
        {"file": str(file), "passed": all(gate.passed for gate in gates), "gates": [gate.as_dict() for gate in gates]}
    )
    if failed := [gate for gate in gates if not gate.passed]:
        raise VerificationError("; ".join(f"{gate.name}: {gate.found}" for gate in failed))
