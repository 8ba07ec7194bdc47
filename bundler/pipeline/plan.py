"""What a build will do: everything that can be decided, and refused, before the work begins."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from bundler.checkpoints.adapter_source import adapter_path
from bundler.checkpoints.checkpoint import Checkpoint, open_checkpoint
from bundler.checkpoints.hub_id import HubAccess
from bundler.checkpoints.stored_model import SpecialTokens
from bundler.conversion.convert import Signatures, choose_signatures
from bundler.conversion.quantize import check_known, check_recipe
from bundler.conversion.recipes import AUTO, DEFAULT
from bundler.doctor.own_pieces import read_sound_vocabulary
from bundler.errors import BundleError, OptionError
from bundler.pipeline.adapters import LoraPlan, plan_lora
from bundler.pipeline.showcase import check_prompts
from bundler.system.native_path import native_path
from bundler.system.output_folder import check_output
from bundler.verification.verify import check_engines, check_texts
from tokenizer_tools.symbols import RAW_BYTES
from tokenizer_tools.vocabulary import END_OF_TEXT, BytePairVocabulary

# GPT2Config's own bos and eos, which transformers writes into the config.json of a smaller vocabulary too.
_DEFAULT_SPECIAL = 50256

# Of a cache that is as long as the context, every step of decode reads the whole. The length of a growing one is chosen
# when the file is loaded: `run` opens it for the text at hand, and again, longer, when a text needs more.
CACHES = STATIC, GROWING = "static", "growing"


@dataclass(frozen=True)
class BuildOptions:
    """What a build is asked for. None leaves the choice to the checkpoint: name, shapes, start and stop tokens.

    `cache`: of the .litertlm, one of CACHES. The .task's has the length of the context.
    """

    model: str
    output: Path
    name: str | None = None
    recipe: str = DEFAULT
    context: int | None = None
    prefill: tuple[int, ...] | None = None
    cache: str = GROWING
    start_token: str | None = None
    stop_tokens: tuple[str, ...] = ()
    tokenizer: Path | None = None
    tokenizer_mode: str = RAW_BYTES
    parse_special: bool | None = None
    revision: str | None = None
    calibration: Path | None = None
    max_size: float | None = None  # MB of the TFLite model, for the recipe `auto`; or
    max_kl: float | None = None  # nats
    lora_ranks: tuple[int, ...] = ()
    adapters: tuple[str | Path, ...] = ()  # PEFT folders and hub ids
    trainer: bool = False  # a file beside the bundles that trains adapters on a device
    engines: tuple[str, ...] = ("litert-lm",)
    app_assets: bool = False
    prompts: tuple[str, ...] = ()  # that the report shows continued; none: those of the checkpoint's README.md, or ours
    texts: tuple[Path, ...] = ()  # files or folders that perplexity and divergence are taken on
    speed: bool = False  # measured for the report, which then is not the same twice
    verify: bool = True
    force: bool = False
    hub: HubAccess = HubAccess()

    def inputs(self) -> list[Path]:
        """The paths that the build reads, as far as they are given as paths."""
        return [
            Path(os.path.expanduser(path))
            for path in (self.model, self.tokenizer, self.calibration, *self.adapters, *self.texts)
            if path is not None
        ]


@dataclass(frozen=True)
class Plan:
    """Everything that can be decided, and refused, before the work begins. `notes`: what the user did not ask for, a
    sentence each.
    """

    checkpoint: Checkpoint
    vocabulary: BytePairVocabulary
    signatures: Signatures
    start_token: str
    stop_tokens: tuple[str, ...]
    name: str
    lora: LoraPlan | None = None
    notes: tuple[str, ...] = ()

    @property
    def start_id(self) -> int:
        return self.vocabulary.id_of_text(self.start_token)

    @property
    def stop_ids(self) -> frozenset[int]:
        return frozenset(self.vocabulary.id_of_text(token) for token in self.stop_tokens)


def plan_build(options: BuildOptions) -> Plan:
    """Open the inputs and check the options against them. Raises OptionError or BundleError; writes nothing."""
    check_known(options.recipe)  # before anything is downloaded
    _check_limit(options)
    if options.cache not in CACHES:
        raise OptionError(f"`cache` {options.cache!r}: no such cache; choose from {', '.join(CACHES)}")
    check_output(options.output, options.force, options.inputs())
    check_engines(options.engines)
    check_texts(options.texts)
    name = _bundle_name(options)
    checkpoint = open_checkpoint(options.model, tokenizer=options.tokenizer, revision=options.revision, hub=options.hub)
    vocabulary = read_sound_vocabulary(checkpoint.folder, options.parse_special)
    _refuse_deviations(checkpoint, vocabulary)
    checkpoint.check_vocabulary(len(vocabulary))
    check_recipe(options.recipe, checkpoint.architecture)
    start, stops, notes = _special_tokens(options, checkpoint.special, vocabulary)
    signatures = choose_signatures(checkpoint.architecture.positions, options.context, options.prefill)
    if signatures.context < (asked := options.context or checkpoint.architecture.positions):
        notes.append(
            f"context {signatures.context} instead of {asked}, which has no divisors that are good lengths of prefill "
            "chunks; --prefill names others"
        )
    folders = tuple(adapter_path(adapter, options.hub) for adapter in options.adapters)
    check_prompts(options.prompts, vocabulary, signatures.context)
    return Plan(
        checkpoint,
        vocabulary,
        signatures,
        start,
        stops,
        name,
        plan_lora(options.lora_ranks, folders, options.recipe, checkpoint),
        (*vocabulary.notes, *notes),
    )


def _check_limit(options: BuildOptions) -> None:
    """Raise OptionError unless the recipe `auto` has one limit, and any other none."""
    limits = {
        f"`{name}`": value
        for name, value in (("max_size", options.max_size), ("max_kl", options.max_kl))
        if value is not None
    }
    if options.recipe != AUTO:
        if limits:
            raise OptionError(
                f"{next(iter(limits))} is a limit for `recipe` {AUTO}, not {options.recipe}; leave it out"
            )
        return
    if len(limits) != 1:
        raise OptionError(f"`recipe` {AUTO} has {len(limits) or 'no'} limits; give one of `max_size` and `max_kl`")
    for name, value in limits.items():
        if not 0 < value < float("inf"):
            raise OptionError(f"{name} {value:g}: a limit above 0 was expected")


def _bundle_name(options: BuildOptions) -> str:
    native_path(options.output, "the converter")
    name = options.name or options.output.resolve().name
    if not name or "/" in name or name.startswith(".") or not name.isprintable():
        raise OptionError(f"`name` {name!r}: expected a plain file name of printable characters; give one with `name`")
    return name


def _refuse_deviations(checkpoint: Checkpoint, vocabulary: BytePairVocabulary) -> None:
    if vocabulary.deviations:
        raise BundleError(
            f"{checkpoint.folder}: its tokenizer is not GPT-2's: {'; '.join(vocabulary.deviations)}. The SentencePiece "
            "model of a .task cannot do that. Give a checkpoint that was trained with GPT-2's rules, or correct the "
            "tokenizer's files if it was"
        )


def _special_tokens(
    options: BuildOptions, named: SpecialTokens, vocabulary: BytePairVocabulary
) -> tuple[str, tuple[str, ...], list[str]]:
    """The start token, the stop tokens, and what there is to say about them."""
    notes: list[str] = []
    # A tokenizer that itself begins every text with a token is followed: it is what the model was trained on.
    if options.start_token is not None:
        start = _single_token("`start_token`", options.start_token, vocabulary)
    else:
        bos = named.bos if vocabulary.starts_with is None else vocabulary.starts_with
        (start,) = _named_tokens("bos_token_id", () if bos is None else (bos,), vocabulary.bos, vocabulary, notes) or (
            _single_token("`start_token`", END_OF_TEXT, vocabulary),
        )
    if options.stop_tokens:
        stops = [_single_token("`stop_tokens`", token, vocabulary) for token in options.stop_tokens]
    else:
        stops = _named_tokens("eos_token_id", named.eos, vocabulary.eos, vocabulary, notes) or [
            _single_token("`stop_tokens`", END_OF_TEXT, vocabulary)
        ]
        if vocabulary.eos is not None and (end := vocabulary.name_of(vocabulary.eos)) not in (None, *stops):
            notes.append(
                f"the tokenizer's end token {end!r} is not among the checkpoint's stop tokens "
                f"{', '.join(map(repr, stops))}: as in transformers, writing goes on after it. To stop there too: "
                f"{' '.join(f'--stop-token {token!r}' for token in (*stops, end))}"
            )
    return start, tuple(dict.fromkeys(stops)), notes


def _named_tokens(
    field: str, ids: tuple[int, ...], tokenizers: int | None, vocabulary: BytePairVocabulary, notes: list[str]
) -> list[str]:
    """The texts of the ids that the checkpoint names. Raises BundleError for one that cannot be a start or stop
    token.
    """
    option = "`start_token`" if field == "bos_token_id" else "`stop_tokens`"
    if ids == (_DEFAULT_SPECIAL,) and len(vocabulary) <= _DEFAULT_SPECIAL:
        instead = [] if tokenizers is None else [tokenizers]
        notes.append(
            f"{field} is {_DEFAULT_SPECIAL}, GPT-2's own, which this vocabulary of {len(vocabulary)} tokens has not; "
            f"{vocabulary.tokens[tokenizers] if instead else END_OF_TEXT!r} takes its place"
        )
        ids = tuple(instead)
    texts = []
    for id_ in ids:
        if not 0 <= id_ < len(vocabulary):
            raise BundleError(
                f"{field} is {id_}, but the vocabulary has {len(vocabulary)} tokens; expected the id of one of them. "
                f"Correct config.json or generation_config.json, or give {option}"
            )
        if (text := vocabulary.name_of(id_)) is None:
            raise BundleError(
                f"{field} is {id_}, the bytes {vocabulary.token_bytes(id_)!r}; expected a token that text can name, "
                f"because a .task names its tokens by text. Give {option}"
            )
        texts.append(text)
    return texts


def _single_token(option: str, text: str, vocabulary: BytePairVocabulary) -> str:
    """`text`, if it is one token of the vocabulary; engines would take anything else for plain text, or abort."""
    if not text:
        raise OptionError(f"{option} is empty; expected a token of the vocabulary, such as {END_OF_TEXT}")
    if vocabulary.id_of_text(text) is None:
        special = ", ".join(vocabulary.special_tokens) or "none"
        raise OptionError(
            f"{option} {text!r} is no token of the vocabulary (its special tokens: {special}); "
            "expected text that is exactly one token"
        )
    return text
