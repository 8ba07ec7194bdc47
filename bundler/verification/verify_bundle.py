"""The gates, on a finished bundle file, whoever made it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Callable, Sequence

from bundler.checkpoints.checkpoint import open_checkpoint
from bundler.checkpoints.hub_id import HubAccess
from bundler.containers.bundle import Bundle, open_bundle
from bundler.containers.tokenizer import BundleTokenizer, sentencepiece_encoder, typed_texts
from bundler.conversion.quantize import RECIPES, check_known, recipe_of
from bundler.errors import BundleError
from bundler.system.temporary_folder import temporary_folder
from bundler.verification.gate import Bar, Gate, Stage, silent, silent_bar
from bundler.verification.verify import LITERTLM, Subject, verify, verify_text
from tokenizer_tools.bpe import read_vocabulary
from tokenizer_tools.vocabulary import BytePairVocabulary, reference_tokenizer


def verify_bundle(
    path: Path,
    model: str,
    *,
    tokenizer: Path | None = None,
    revision: str | None = None,
    recipe: str | None = None,
    engines: tuple[str, ...] = (LITERTLM,),
    texts: Sequence[Path] = (),
    stage: Stage = silent,
    bar: Bar = silent_bar,
    hub: HubAccess = HubAccess(),
) -> list[Gate]:
    """Hold a .task or .litertlm file against the checkpoint `model`; see verify.verify and verify.verify_text for the
    gates.

    `recipe` names the limits to hold it to; None takes what the bundle says or looks like. Raises BundleError
    when the file or the checkpoint cannot be used at all; a gate that fails is in the result.
    """
    if recipe is not None:
        check_known(recipe)
    bundle = open_bundle(path)
    checkpoint = open_checkpoint(model, tokenizer=tokenizer, revision=revision, hub=hub)
    vocabulary = read_vocabulary(checkpoint.folder)
    with temporary_folder("verify") as folder:
        tflite = Path(folder) / "model.tflite"
        bundle.model.copy_to(tflite)
        recipe = recipe or bundle.manifest.get("recipe") or recipe_of(tflite)
        if not isinstance(recipe, str) or recipe not in RECIPES:
            raise BundleError(
                f"{path}: made in the recipe {recipe!r}, which is not known; give `recipe` with one of "
                f"{', '.join(RECIPES)}"
            )
        start = None if bundle.start_token is None else token_id(bundle, bundle.start_token, vocabulary)
        stop = frozenset(token_id(bundle, token, vocabulary) for token in bundle.stop_tokens)
        subject = Subject(
            tflite, (path,), recipe, bundle_tokenizer(bundle, vocabulary), start, stop, engines, bundle.byte_mapped
        )
        gates = verify(subject, checkpoint, stage)
        return [*gates, verify_text(subject, checkpoint, texts, bar)] if texts else gates


def token_id(bundle: Bundle, token: str | int, vocabulary: BytePairVocabulary) -> int:
    """The id of a start or stop token. Raises BundleError for one that is none of the vocabulary."""
    id_ = vocabulary.id_of_text(token) if isinstance(token, str) else token
    if id_ is None or not 0 <= id_ < len(vocabulary):
        raise BundleError(
            f"{bundle.path}: its start or stop token {token!r} is no token of the checkpoint's vocabulary; "
            "the engine would take it for text. Build the bundle again with a token that is one"
        )
    return id_


def bundle_tokenizer(bundle: Bundle, vocabulary: BytePairVocabulary) -> BundleTokenizer:
    """The tokenizer inside the bundle beside the vocabulary's own, as `read_by_bundle` has it."""
    return read_by_bundle(bundle, vocabulary)[0]


def read_by_bundle(bundle: Bundle, vocabulary: BytePairVocabulary) -> tuple[BundleTokenizer, BytePairVocabulary]:
    """The tokenizer inside the bundle beside the vocabulary's own, and the vocabulary: with typed special tokens taken
    for text, if that is what the bundle's own tokenizer does with all of them.
    """
    pieces = _own_tokenizer(bundle)

    def beside(vocabulary: BytePairVocabulary) -> BundleTokenizer:
        return BundleTokenizer(reference_tokenizer(vocabulary), pieces, bundle.alias_of, typed_texts(vocabulary))

    as_text = replace(vocabulary, parse_special=False)
    tokenizer = beside(as_text)
    pairs = [tokenizer.encode(token) for token in vocabulary.special_tokens]
    if all(tokenizer.original(ids.bundle) == ids.reference for ids in pairs):
        return tokenizer, as_text
    return beside(vocabulary), vocabulary


def _own_tokenizer(bundle: Bundle) -> Callable[[str], list[int]]:
    if bundle.sentencepiece is not None:
        return sentencepiece_encoder(bundle.sentencepiece, bundle.byte_mapped)
    from tokenizers import Tokenizer

    try:
        own = Tokenizer.from_str(bundle.tokenizer_json.decode())
    except Exception as error:  # tokenizers raises no other kind
        raise BundleError(
            f"{bundle.path}: its tokenizer.json cannot be read ({error}); build the bundle again"
        ) from error
    return lambda text: own.encode(text, add_special_tokens=False).ids
