"""A copy of a bundle with one more stop token, by which an engine shows that it stops."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from bundler.containers.bundle import is_litertlm
from bundler.containers.litertlm import (
    HF_TOKENIZER_SECTION,
    LLM_METADATA_SECTION,
    MODEL_SECTION,
    read_litertlm,
    write_litertlm,
)
from bundler.containers.task import METADATA_ENTRY, read_task, write_task
from bundler.errors import BundleError


def write_with_stop_token(path: Path, id_: int, text: str, output: Path) -> None:
    """Copy the .task or .litertlm `path` to `output` with the token `id_`, spelled `text`, among the stop tokens.

    Raises BundleError for a .litertlm with sections that this project does not write.
    """
    if is_litertlm(path):
        _litertlm(path, id_, output)
        return
    task = read_task(path)
    parameters = task.parameters()
    metadata = dataclasses.replace(parameters, stop_tokens=(*parameters.stop_tokens, text)).encode()
    write_task(output, {entry.name: task.section(entry.name) for entry in task.entries} | {METADATA_ENTRY: metadata})


def _litertlm(path: Path, id_: int, output: Path) -> None:
    file = read_litertlm(path)
    if sorted(section.type for section in file.sections) != sorted(
        [LLM_METADATA_SECTION, HF_TOKENIZER_SECTION, MODEL_SECTION]
    ):
        raise BundleError(
            f"{path}: sections {', '.join(section.type for section in file.sections)}; expected metadata, a "
            "tokenizer.json and a model"
        )
    section, metadata = file.find(MODEL_SECTION), file.llm_metadata()
    pairs = {name: value for name, value in section.metadata.items() if name != "model_type"}
    write_litertlm(
        output,
        file.bytes_of(section),
        dataclasses.replace(metadata, stop_tokens=(*metadata.stop_tokens, id_)),
        tokenizer_json=file.tokenizer_json(),
        model_metadata=pairs,
    )
