"""The folder of a finished build -> a model repository on the Hugging Face hub."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import huggingface_hub
from huggingface_hub import CommitOperationAdd, constants

from bundler.checkpoints.hub import upload_explained
from bundler.errors import BundleError
from bundler.pipeline.model_card import FILE, with_uploader
from bundler.system.written_files import LEDGER, foreign_files, ledger_of, read_ledger


@dataclass(frozen=True)
class Upload:
    """What goes up: each name in the repository, and the file or the bytes."""

    repository: str
    files: dict[str, Path | bytes]

    @property
    def bytes(self) -> int:
        return sum(len(data) if isinstance(data, bytes) else data.stat().st_size for data in self.files.values())


def plan_upload(folder: Path, repository: str) -> Upload:
    """The files that a build wrote to `folder`, with the owner of `repository` as `quantized_by` in the card.

    Files of anyone else are left here. Raises BundleError if the folder is no verified build, or a file of it was
    changed.
    """
    listed = read_ledger(folder)
    if listed is None or FILE not in listed or "manifest.json" not in listed:
        raise BundleError(f"{folder} is no output of `task-bundler build`; give such a folder")
    if changed := sorted(set(foreign_files(folder)) & set(listed)):
        raise BundleError(
            f"{folder}: {', '.join(changed[:3])} is not what the build wrote; build again with `force`, or write what "
            "you add into a file of its own"
        )
    if missing := sorted(name for name in listed if not (folder / name).is_file()):
        raise BundleError(f"{folder} lacks {', '.join(missing[:3])}, which the build wrote; build again with `force`")
    if not json.loads((folder / "manifest.json").read_text(encoding="utf-8")).get("verified"):
        raise BundleError(f"{folder} was built without verification; build it again with it before others use it")
    card = with_uploader((folder / FILE).read_text(encoding="utf-8"), repository.split("/")[0]).encode()
    # app_assets holds the bundles once more, for a phone on a cable.
    names = [name for name in listed if not name.startswith("app_assets/") and name != FILE]
    digests = {name: listed[name] for name in names} | {FILE: hashlib.sha256(card).hexdigest()}
    return Upload(repository, {name: folder / name for name in names} | {FILE: card, LEDGER: ledger_of(digests)})


def push(upload: Upload, *, private: bool = False, message: str | None = None) -> str:
    """Upload in one commit, to a repository that is made if there is none; returns the commit's URL.

    Raises BundleError with a sentence when the hub refuses, or cannot be reached.
    """
    with upload_explained(upload.repository):
        api = huggingface_hub.HfApi(endpoint=constants.ENDPOINT)
        api.create_repo(upload.repository, private=private, exist_ok=True)
        commit = api.create_commit(
            upload.repository,
            [
                CommitOperationAdd(name, data if isinstance(data, bytes) else str(data))
                for name, data in sorted(upload.files.items())
            ],
            commit_message=message or "Bundles for MediaPipe and LiteRT-LM, by task-bundler",
        )
    return str(commit.commit_url)
