"""A finished bundle of either container, as the parts that verification needs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from bundler.checkpoints.architecture import parse_json
from bundler.containers.litertlm import (
    ALIASES,
    MODEL_SECTION,
    PREFILL_DECODE,
    SENTENCEPIECE_SECTION,
    LitertLmFile,
    read_litertlm,
)
from bundler.containers.task import MODEL_ENTRY, TOKENIZER_ENTRY, read_task
from bundler.errors import BundleError
from bundler.system.file_section import FileSection

FORMAT = 1  # of what manifest.json and MANIFEST say
MANIFEST = "MANIFEST"  # our own entry in the .task, after MediaPipe's three; engines pass over it


@dataclass(frozen=True)
class Bundle:
    """`model` is the TFLite part, in place; one of `sentencepiece` and `tokenizer_json` is there; `manifest` is empty
    in bundles of other makers and in a .litertlm. Tokens are text or ids, as the file has them.

    `byte_mapped`: MediaPipe maps text to GPT-2's byte alphabet before SentencePiece. `alias_of`: id vocabulary + i of
    the SentencePiece model is another name of token alias_of[i].
    """

    path: Path
    model: FileSection
    sentencepiece: bytes | None
    tokenizer_json: bytes | None
    start_token: str | int | None
    stop_tokens: tuple[str | int, ...]
    manifest: dict
    byte_mapped: bool = False
    alias_of: tuple[int, ...] = ()


def open_bundle(path: Path) -> Bundle:
    """Read a .task or .litertlm file, told apart by its first bytes. Raises BundleError for anything else."""
    return _open_litertlm(path) if is_litertlm(path) else _open_task(path)


def is_litertlm(path: Path) -> bool:
    """Does the file begin as a .litertlm does? Raises BundleError if it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read(8) == b"LITERTLM"
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror}); expected a .task or .litertlm file") from error


def _open_task(path: Path) -> Bundle:
    task = read_task(path)
    parameters = task.parameters()
    manifest = {}
    if any(entry.name == MANIFEST for entry in task.entries):
        manifest = parse_json(task.read_entry(MANIFEST), f"{path}: its entry {MANIFEST}")
    start = parameters.start_token if parameters.start_token is not None else parameters.start_token_id
    return Bundle(
        path,
        task.section(MODEL_ENTRY),
        task.read_entry(TOKENIZER_ENTRY),
        None,
        start,
        (*parameters.stop_tokens, *parameters.stop_token_ids),
        manifest,
        parameters.bytes_to_unicode,
        _noted_aliases(manifest, path),
    )


def _noted_aliases(manifest: dict, path: Path) -> tuple[int, ...]:
    facts = manifest.get("tokenizer", {})
    aliases = facts.get("alias_of", []) if isinstance(facts, dict) else None
    if not isinstance(aliases, list) or any(type(id_) is not int for id_ in aliases):
        raise BundleError(
            f"{path}: its entry {MANIFEST} has no list of token ids as tokenizer.alias_of; build the bundle again"
        )
    return tuple(aliases)


def _open_litertlm(path: Path) -> Bundle:
    file = read_litertlm(path)
    metadata = file.llm_metadata()
    stops = tuple(token for token in metadata.stop_tokens if isinstance(token, (int, str)))
    start = metadata.start_token if isinstance(metadata.start_token, (int, str)) else None
    pieces = file.find(SENTENCEPIECE_SECTION)
    if pieces is None:
        return Bundle(path, file.model(), None, file.tokenizer_json(), start, stops, {})
    return Bundle(path, file.model(), file.bytes_of(pieces).read(), None, start, stops, {}, alias_of=_aliases(file))


def _aliases(file: LitertLmFile) -> tuple[int, ...]:
    """The alias table that `repack` leaves in the model's section."""
    noted = file.find(MODEL_SECTION, PREFILL_DECODE).metadata.get(ALIASES, "[]")
    try:
        return tuple(int(id_) for id_ in json.loads(noted))
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise BundleError(
            f"{file.path}: its {ALIASES} is {str(noted)[:60]!r} ({error}); expected a list of token ids; repack the "
            "bundle"
        ) from error
