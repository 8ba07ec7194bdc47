"""A finished bundle of either container, as the parts that verification needs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from bundler.errors import BundleError
from bundler.file_section import FileSection
from bundler.litertlm_file import read_litertlm
from bundler.task_file import MODEL, TOKENIZER, read_task

MANIFEST = "MANIFEST"  # our own entry in the .task, after MediaPipe's three; engines pass over it


@dataclass(frozen=True)
class Bundle:
    """`model` is the TFLite part, in place; one of `sentencepiece` and `tokenizer_json` is there; `manifest` is empty
    in bundles of other makers and in a .litertlm. Tokens are text or ids, as the file has them."""

    path: Path
    model: FileSection
    sentencepiece: bytes | None
    tokenizer_json: bytes | None
    start_token: str | int | None
    stop_tokens: tuple[str | int, ...]
    manifest: dict


def open_bundle(path: Path) -> Bundle:
    """Read a .task or .litertlm file, told apart by its first bytes. Raises BundleError for anything else."""
    try:
        with open(path, "rb") as file:
            beginning = file.read(8)
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror}); expected a .task or .litertlm file") from error
    return _open_litertlm(path) if beginning == b"LITERTLM" else _open_task(path)


def _open_task(path: Path) -> Bundle:
    task = read_task(path)
    parameters = task.parameters()
    manifest = {}
    if any(entry.name == MANIFEST for entry in task.entries):
        try:
            manifest = json.loads(task.read_entry(MANIFEST))
        except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
            raise BundleError(f"{path}: its {MANIFEST} entry is no JSON ({error}); build the bundle again") from error
    start = parameters.start_token if parameters.start_token is not None else parameters.start_token_id
    return Bundle(path, task.section(MODEL), task.read_entry(TOKENIZER), None, start,
                  (*parameters.stop_tokens, *parameters.stop_token_ids), manifest)


def _open_litertlm(path: Path) -> Bundle:
    file = read_litertlm(path)
    metadata = file.llm_metadata()
    stops = tuple(token for token in metadata.stop_tokens if isinstance(token, (int, str)))
    start = metadata.start_token if isinstance(metadata.start_token, (int, str)) else None
    return Bundle(path, file.model(), None, file.tokenizer_json(), start, stops, {})
