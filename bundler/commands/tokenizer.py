"""`task-bundler tokenizer`: build a SentencePiece model with GPT-2's ids, and compare ids on any text."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Callable

import click

from bundler.commands.console import InputPath, Terminal, TokenizerMode, terminal_options
from bundler.errors import OptionError, VerificationError
from bundler.system.atomic_file import replacing
from bundler.system.output_folder import check_output_file
from tokenizer_tools.symbols import RAW_BYTES

if TYPE_CHECKING:
    from tokenizer_tools.report import MismatchReport
    from tokenizer_tools.vocabulary import BytePairVocabulary


def vocabulary_options(function: Callable) -> Callable:
    """The ways to name a vocabulary, and how to read it."""
    for option in (
        click.option(
            "--parse-special/--no-parse-special",
            default=None,
            help="Whether special tokens typed in a text become these tokens, or stay text. [default: as in "
            "transformers]",
        ),
        click.option("--merges", type=InputPath(), help="merges.txt, or OpenAI's vocab.bpe; with --vocab."),
        click.option("--vocab", type=InputPath(), help="vocab.json, or OpenAI's encoder.json; with --merges."),
        click.option(
            "--tokenizer",
            "tokenizer_path",
            type=InputPath(),
            help="tokenizer.json, or a checkpoint folder that holds it or vocab.json and merges.txt.",
        ),
    ):
        function = option(function)
    return function


_mode = click.option(
    "--mode",
    type=TokenizerMode(),
    default=RAW_BYTES,
    show_default=True,
    help="raw-bytes: the model takes text as it is, in every runtime. byte-mapped: text in GPT-2's byte alphabet, for "
    "runtimes known to honor the BYTES_TO_UNICODE flag.",
)
_fail_over = click.option(
    "--fail-over", type=click.IntRange(min=0), metavar="N", help="Exit with 3 when more than N tokens are mismatched."
)


@click.group()
def command() -> None:
    """A SentencePiece model with exactly GPT-2's token ids, and the report that compares them.

    Example: task-bundler tokenizer build --tokenizer gpt2_training/sample -o tokenizer.model
    """


@command.command()
@vocabulary_options
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The model to write."
)
@click.option(
    "--aliases",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write the alias table: a JSON list, entry i is the original of id (vocabulary size + i).",
)
@_mode
@_fail_over
@click.option("--force", is_flag=True, help="Overwrite existing outputs.")
@terminal_options
def build(
    terminal: Terminal,
    tokenizer_path: Path | None,
    vocab: Path | None,
    merges: Path | None,
    parse_special: bool | None,
    output: Path,
    aliases: Path | None,
    mode: str,
    fail_over: int | None,
    force: bool,
) -> None:
    """Build the SentencePiece model of a GPT-2 vocabulary and check its ids on a built-in text set.

    Any mismatch is a failure (exit 3, nothing written), unless --fail-over allows that many tokens. Ids from the
    vocabulary's size on are aliases: the model's embedding needs a copy of the original's row for each.

    Example: task-bundler tokenizer build --vocab vocab.json --merges merges.txt -o tokenizer.model --aliases
    aliases.json
    """
    from tokenizer_tools.report import compare
    from tokenizer_tools.sentencepiece_model import build_sentencepiece

    if aliases == output:
        raise OptionError("--aliases and --output name the same file; give the alias table a name of its own")
    inputs = [Path(path) for path in (tokenizer_path, vocab, merges) if path]
    for path in filter(None, (output, aliases)):
        check_output_file(path, force, inputs)
    vocabulary = _read(tokenizer_path, vocab, merges, parse_special)
    for deviation in vocabulary.deviations:
        terminal.say(f"not GPT-2's rules: {deviation}", style="yellow")
    with terminal.stage("building the SentencePiece model"):
        model = build_sentencepiece(vocabulary, mode)
    with terminal.stage("comparing ids on the built-in texts"):
        report = compare(vocabulary, model, generated=500, built_in=True)
    _print_report(terminal, report)
    _gate(report, fail_over or 0)
    _write(output, model.proto)
    if aliases is not None:
        _write(aliases, json.dumps(list(model.alias_of)).encode())
    terminal.show(
        f"{output}: {len(model.proto) / 1e6:.2f} MB, {model.vocabulary_size:,} ids and {len(model.alias_of):,} aliases"
    )
    terminal.result(
        {
            "output": str(output),
            "aliases": str(aliases) if aliases else None,
            "alias_of": list(model.alias_of),
            "report": report.to_json(),
        }
    )


@command.command()
@vocabulary_options
@click.argument("files", nargs=-1, type=InputPath("-", path_type=None))
@click.option(
    "--generated",
    type=click.IntRange(min=0),
    default=2000,
    show_default=True,
    metavar="N",
    help="Strings of each named generator to compare besides; 0 leaves the generators out.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the generators.")
@click.option(
    "--save", type=click.Path(dir_okay=False, path_type=Path), help="Also save the report, as .json or .html."
)
@_mode
@_fail_over
@click.option("--force", is_flag=True, help="Overwrite an existing --save file.")
@terminal_options
def report(
    terminal: Terminal,
    tokenizer_path: Path | None,
    vocab: Path | None,
    merges: Path | None,
    parse_special: bool | None,
    files: tuple[str, ...],
    generated: int,
    seed: int,
    save: Path | None,
    mode: str,
    fail_over: int | None,
    force: bool,
) -> None:
    """Compare the rebuilt model's ids with the reference tokenizer's on FILES and on generated strings.

    FILES are text files or folders, "-" is the standard input. Each text is compared as a whole (in stretches of
    256 KiB), by paragraph and by line. Files that are not UTF-8 text are passed over.

    Example: task-bundler tokenizer report --tokenizer gpt2_training/sample README.md docs --fail-over 0
    """
    # Both tokenizers on one thread, so that their speeds can be compared.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from tokenizer_tools.report import compare
    from tokenizer_tools.sentencepiece_model import build_sentencepiece

    if save is not None:
        if save.suffix not in (".json", ".html"):
            raise OptionError(f"--save {save}: name a .json or an .html file")
        check_output_file(save, force, [Path(path) for path in (tokenizer_path, vocab, merges, *files) if path])
    vocabulary = _read(tokenizer_path, vocab, merges, parse_special)
    with terminal.stage("building the SentencePiece model"):
        model = build_sentencepiece(vocabulary, mode)
    with terminal.stage("comparing ids"):
        result = compare(vocabulary, model, files, generated, seed)
    _print_report(terminal, result)
    if save is not None:
        _write(save, _saved(result, save.suffix))
    terminal.result(result.to_json())
    if fail_over is not None:
        _gate(result, fail_over)


def _read(
    tokenizer_path: Path | None, vocab: Path | None, merges: Path | None, parse_special: bool | None
) -> "BytePairVocabulary":
    from bundler.doctor.own_pieces import read_sound_vocabulary
    from tokenizer_tools.vocabulary_files import read_vocabulary_files

    if tokenizer_path and not vocab and not merges:
        return read_sound_vocabulary(tokenizer_path, parse_special)
    if vocab and merges and not tokenizer_path:
        return replace(read_vocabulary_files(vocab, merges), parse_special=parse_special is not False)
    raise OptionError("give the vocabulary either as --tokenizer PATH or as --vocab V with --merges M")


def _gate(report: "MismatchReport", allowed: int) -> None:
    if report.mismatched_tokens > allowed:
        raise VerificationError(
            f"{report.mismatched_tokens:,} of {report.total('tokens'):,} tokens are not the reference's; "
            f"{allowed:,} allowed. Examples are in the table, all of them with --json"
        )


def _saved(report: "MismatchReport", suffix: str) -> bytes:
    from tokenizer_tools.report_html import report_html

    if suffix == ".json":
        return json.dumps(report.to_json(), ensure_ascii=False, indent=1).encode()
    return f'<!doctype html>\n<meta charset="utf-8">\n<title>Tokenizer report</title>\n{report_html(report)}\n'.encode()


def _write(path: Path, data: bytes) -> None:
    with replacing(path) as file:
        file.write(data)


def _print_report(terminal: Terminal, report: "MismatchReport") -> None:
    from rich.table import Table

    for deviation in report.deviations:
        terminal.say(f"not GPT-2's rules: {deviation}", style="yellow")
    table = Table("class", "strings", "wrong", "tokens", "wrong", "unknown", "round trip")
    columns = ("strings", "mismatched_strings", "tokens", "mismatched_tokens", "unknown_tokens", "round_trip_failures")
    for name, counts in report.by_class.items():
        table.add_row(name, *(f"{getattr(counts, column):,}" for column in columns))
    table.add_section()
    table.add_row("total", *(f"{report.total(column):,}" for column in columns))
    if report.beyond_reach:
        table.add_section()
        for name, counts in report.beyond_reach.items():
            table.add_row(f"(apart) {name}", *(f"{getattr(counts, column):,}" for column in columns))
    terminal.show(table)
    for name, counts in report.by_class.items():
        for example in counts.examples:
            terminal.show(
                f"  {name}, {example.cause}: {ascii(example.text)} expected {example.expected}, found {example.found}"
            )
    speeds = ", ".join(f"{tokenizer} {speed:.1f} MB/s" for tokenizer, speed in report.encode_mb_s.items())
    terminal.show(
        f"mode {report.mode}, {report.alias_rows:,} alias rows, {report.model_bytes / 1e6:.2f} MB, "
        f"loads in {report.load_ms:.1f} ms, encodes: {speeds}"
    )
