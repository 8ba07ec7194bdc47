"""Downloads a GPT-2 checkpoint from the Hugging Face hub: the files it is read from and no others."""

from __future__ import annotations

import glob
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Iterator

import huggingface_hub
from huggingface_hub import constants
from huggingface_hub import errors as hub_errors
from huggingface_hub.utils import tqdm as hub_tqdm

from bundler.checkpoints.architecture import architecture_of, read_json
from bundler.checkpoints.hub_id import HubAccess
from bundler.checkpoints.weight_files import BIN_INDEX, SAFETENSORS_INDEX, WEIGHT_FILES, shard_names
from bundler.errors import BundleError
from tokenizer_tools.auto_tokenizer import TOKENIZER_FILES

SETTINGS = ("config.json", "generation_config.json")


@dataclass(frozen=True)
class Snapshot:
    """A repository's files at one commit, in huggingface_hub's cache."""

    repository: str
    commit: str
    folder: Path


def download(
    repository: str, revision: str | None, access: HubAccess = HubAccess(), *, vocabulary: bool = True
) -> Snapshot:
    """Fetch what a checkpoint is read from, at the commit that `revision` (None: main) names now.

    The configuration comes first and is checked, so that a model that cannot be used costs no download of its
    weights; then the weights, safetensors before .bin, and the vocabulary unless `vocabulary` is False.
    huggingface_hub's cache and its HF_HOME, HF_TOKEN, HF_ENDPOINT and HF_HUB_OFFLINE are honoured; without
    network, what is cached is used.

    Raises BundleError, saying what to do, when any of it fails.
    """
    offline = access.offline or constants.HF_HUB_OFFLINE
    with _explained(repository, revision or "main", offline):
        huggingface_hub.utils.validate_repo_id(repository)
        if not offline:
            access.say(f"asking the hub, {constants.ENDPOINT}, for {repository}")
        # A 40-digit commit is taken as it is; a branch or tag is asked for, and its last known commit used offline.
        resolved = huggingface_hub.HfApi().resolve_revision(repository, revision=revision, local_files_only=offline)
        fetch = partial(_fetch, repository, resolved, access.quiet, offline)
        folder = fetch(["config.json"])
        present = _files_of(repository, resolved, folder)
        _check_config(repository, present, folder)

        weights = next((name for name in WEIGHT_FILES if name in present), None)
        if weights is None:
            raise BundleError(
                f"{repository} has no PyTorch weights: none of {', '.join(WEIGHT_FILES)}. Give a model that has"
            )
        wanted = [*SETTINGS, *(TOKENIZER_FILES if vocabulary else ()), weights]
        fetch([name for name in wanted if name in present])
        if weights in (SAFETENSORS_INDEX, BIN_INDEX):
            fetch(sorted(set(shard_names(folder / weights).values())))
    return Snapshot(repository, resolved.resolved, folder)


class _Silent(hub_tqdm):
    """A progress bar that is never shown."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **{**options, "disable": True})


def _fetch(
    repository: str, revision: huggingface_hub.ResolvedRevision, quiet: bool, offline: bool, names: list[str]
) -> Path:
    return Path(
        huggingface_hub.snapshot_download(
            repository,
            revision=revision,
            allow_patterns=[glob.escape(name) for name in names],
            local_files_only=offline,
            tqdm_class=_Silent if quiet else None,
        )
    )


def _files_of(repository: str, revision: huggingface_hub.ResolvedRevision, folder: Path) -> set[str]:
    try:
        return {file.path for file in huggingface_hub.get_cached_repo_tree(repository, revision=revision)}
    except hub_errors.CachedRepoTreeNotFoundError:
        # Offline, and other software filled the cache: it holds the files but no list of them.
        return {path.name for path in folder.iterdir()}


def _check_config(repository: str, present: set[str], folder: Path) -> None:
    if "adapter_config.json" in present:
        raise BundleError(
            f"{repository} holds adapter_config.json: it is a LoRA adapter, not a model. "
            "Give the model it was trained on, and the adapter with `adapters`"
        )
    if "config.json" not in present:
        raise BundleError(
            f"{repository} has no config.json: it is no transformers checkpoint. Give a model that has one"
        )
    architecture_of(read_json(folder / "config.json"), f"config.json of {repository}")


FAILURES = (
    hub_errors.HFValidationError,
    hub_errors.HTTPError,
    hub_errors.RevisionResolutionError,
    hub_errors.LocalEntryNotFoundError,
    hub_errors.OfflineModeIsEnabled,
    hub_errors.XetDownloadError,
)


@contextmanager
def _explained(repository: str, revision: str, offline: bool) -> Iterator[None]:
    """Turn huggingface_hub's errors into sentences."""
    try:
        yield
    except FAILURES as error:
        raise BundleError(_sentence(error, repository, revision, offline)) from None


def _sentence(error: Exception, repository: str, revision: str, offline: bool) -> str:
    hub, no_folder = constants.ENDPOINT, f"{repository} is no folder here"
    not_found = (
        f"{no_folder}, and {hub} has no such model or keeps it private. Check the spelling; for a private "
        "model set HF_TOKEN to a token that may read it"
    )
    if isinstance(error, hub_errors.HFValidationError):
        return f"{no_folder} and no hub id; an id looks like openai-community/gpt2"
    if isinstance(error, hub_errors.GatedRepoError):
        return (
            f"{repository} is gated: its owner decides who may download it. Ask for access at {hub}/{repository}, "
            "then set HF_TOKEN to a token of that account"
        )
    if isinstance(error, hub_errors.RepositoryNotFoundError):
        return not_found
    if isinstance(error, hub_errors.RevisionNotFoundError):
        return (
            f"{repository} has no revision {revision!r}; give one of the branches, tags or commits listed at "
            f"{hub}/{repository}/commits/main"
        )
    if isinstance(error, hub_errors.HfHubHTTPError):
        status = error.response.status_code
        if status == 401 and "Authorization" not in error.response.request.headers:
            return not_found  # a stranger is not told whether a private model exists
        if status in (401, 403):
            return (
                f"{hub} refused the token when asked for {repository} (HTTP {status}). Set HF_TOKEN to a valid "
                "token that may read it, or unset it for a public model"
            )
        return f"{hub} answered HTTP {status} when asked for {repository}; try again later"
    if offline:
        return (
            f"{repository} at {revision!r} is not complete in the cache {constants.HF_HUB_CACHE}, and offline (by "
            "option or by HF_HUB_OFFLINE) nothing is downloaded. Go online for it once, or give a checkpoint folder"
        )
    cause = error.__cause__ or error
    return (
        f"{no_folder}, and {hub} cannot be reached ({type(cause).__name__}: {cause}). Check the network and any "
        "proxy, or give a checkpoint folder"
    )
