"""What a build will do: everything that can be decided, and refused, before the work begins."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from bundler.build_lora import LoraPlan, plan_lora
from bundler.checkpoint import Checkpoint, open_checkpoint
from bundler.convert import Signatures, choose_signatures
from bundler.errors import OptionError
from bundler.hub_id import HubAccess
from bundler.native_path import native_path
from bundler.output_folder import check_output
from bundler.quantize import RECIPES, check_recipe
from tokenizer_tools.bpe import read_vocabulary
from tokenizer_tools.vocabulary import BytePairVocabulary

END_OF_TEXT = "<|endoftext|>"


@dataclass(frozen=True)
class BuildOptions:
    """What a build is asked for. None leaves the choice to the checkpoint: name, shapes, start and stop tokens."""

    model: str
    output: Path
    name: str | None = None
    recipe: str = "int8"
    context: int | None = None
    prefill: tuple[int, ...] | None = None
    start_token: str | None = None
    stop_tokens: tuple[str, ...] = ()
    tokenizer: Path | None = None
    tokenizer_mode: str = "T"
    revision: str | None = None
    calibration: Path | None = None
    packer: str = "own"
    lora_ranks: tuple[int, ...] = ()
    adapters: tuple[Path, ...] = ()
    engines: tuple[str, ...] = ("litert-lm",)
    app_assets: bool = False
    verify: bool = True
    force: bool = False
    hub: HubAccess = HubAccess()

    def inputs(self) -> list[Path]:
        """The paths that the build reads, as far as they are given as paths."""
        return [Path(os.path.expanduser(path)) for path in (self.model, self.tokenizer, self.calibration, *self.adapters) if path is not None]


@dataclass(frozen=True)
class Plan:
    """Everything that can be decided, and refused, before the work begins. `notes`: what the user did not ask for, a sentence each."""

    checkpoint: Checkpoint
    vocabulary: BytePairVocabulary
    signatures: Signatures
    start_token: str
    stop_tokens: tuple[str, ...]
    name: str
    lora: LoraPlan | None = None
    notes: tuple[str, ...] = ()

    def special_ids(self) -> tuple[int, frozenset[int]]:
        """The ids of the start token and of the stop tokens."""
        return (self.vocabulary.id_of_text(self.start_token),
                frozenset(self.vocabulary.id_of_text(token) for token in self.stop_tokens))


def plan_build(options: BuildOptions) -> Plan:
    """Open the inputs and check the options against them. Raises OptionError or BundleError; writes nothing."""
    if options.recipe not in RECIPES:  # before anything is downloaded
        raise OptionError(f"--quant {options.recipe}: no such recipe; choose from {', '.join(RECIPES)}")
    check_output(options.output, options.force, options.inputs())
    name = _bundle_name(options)
    checkpoint = open_checkpoint(options.model, tokenizer=options.tokenizer, revision=options.revision, hub=options.hub)
    vocabulary = read_vocabulary(checkpoint.folder)
    checkpoint.check_vocabulary(len(vocabulary))
    check_recipe(options.recipe, checkpoint.architecture)
    start = _start_token(options, checkpoint, vocabulary)
    signatures, notes = choose_signatures(checkpoint.architecture.positions, options.context, options.prefill), []
    if signatures.context < (wanted := options.context or checkpoint.architecture.positions):
        notes.append(f"context {signatures.context} instead of {wanted}, which has no divisors that are good lengths of prefill chunks; --prefill names others")
    return Plan(checkpoint, vocabulary, signatures, start, _stop_tokens(options, checkpoint, vocabulary), name,
                plan_lora(options.lora_ranks, options.adapters, options.recipe, checkpoint), tuple(notes))


def _bundle_name(options: BuildOptions) -> str:
    native_path(options.output, "the converter")
    name = options.name or options.output.resolve().name
    if not name or "/" in name or name.startswith(".") or not name.isprintable():
        raise OptionError(f"--name {name!r}: expected a plain file name of printable characters; give one with --name")
    return name


def _start_token(options: BuildOptions, checkpoint: Checkpoint, vocabulary: BytePairVocabulary) -> str:
    if options.start_token is not None:
        return _single_token("--start-token", options.start_token, vocabulary)
    if checkpoint.special.bos is not None and checkpoint.special.bos < len(vocabulary):
        return _text_of(checkpoint.special.bos, vocabulary)
    return _single_token("--start-token", END_OF_TEXT, vocabulary)


def _stop_tokens(options: BuildOptions, checkpoint: Checkpoint, vocabulary: BytePairVocabulary) -> tuple[str, ...]:
    if options.stop_tokens:
        return tuple(dict.fromkeys(_single_token("--stop-token", token, vocabulary) for token in options.stop_tokens))
    named = tuple(_text_of(id_, vocabulary) for id_ in checkpoint.special.eos if id_ < len(vocabulary))
    return named or (_single_token("--stop-token", END_OF_TEXT, vocabulary),)


def _text_of(id_: int, vocabulary: BytePairVocabulary) -> str:
    return vocabulary.token_bytes(id_).decode(errors="replace")


def _single_token(option: str, text: str, vocabulary: BytePairVocabulary) -> str:
    """`text`, if it is one token of the vocabulary; engines would take anything else for plain text, or abort."""
    if not text:
        raise OptionError(f"{option} is empty; expected a token of the vocabulary, such as {END_OF_TEXT}")
    if vocabulary.id_of_text(text) is None:
        special = ", ".join(vocabulary.special_tokens) or "none"
        raise OptionError(f"{option} {text!r} is no token of the vocabulary (its special tokens: {special}); "
                          "expected text that is exactly one token")
    return text
