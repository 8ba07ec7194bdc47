"""Downloads a GPT-2 checkpoint from the Hugging Face hub: the files it is read from and no others."""

from __future__ import annotations

import glob
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Callable, Iterator

import huggingface_hub
from huggingface_hub import constants
from huggingface_hub import errors as hub_errors
from huggingface_hub.utils import tqdm as hub_tqdm

from bundler.checkpoints.architecture import architecture_of, read_json
from bundler.checkpoints.hub_id import HubAccess
from bundler.checkpoints.weight_files import BIN_INDEX, SAFETENSORS_INDEX, WEIGHT_FILES, shard_names
from bundler.errors import BundleError, OptionError
from tokenizer_tools.auto_tokenizer import TOKENIZER_FILES

SETTINGS = ("config.json", "generation_config.json")
CARD = "README.md"  # names the licence
# PEFT's files, and what `task-bundler lora train` leaves beside them; lora_weights reads them.
ADAPTER_CONFIG, ADAPTER_RECORD = "adapter_config.json", "training.json"
ADAPTER_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")


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
    with _resolved(repository, revision, access) as (resolved, fetch):
        folder = fetch(["config.json"])
        present = _files_of(repository, resolved, folder)
        _check_config(repository, present, folder)

        weights = next((name for name in WEIGHT_FILES if name in present), None)
        if weights is None:
            raise BundleError(
                f"{repository} has no PyTorch weights: none of {', '.join(WEIGHT_FILES)}. Give a model that has"
            )
        wanted = [*SETTINGS, CARD, *(TOKENIZER_FILES if vocabulary else ()), weights]
        fetch([name for name in wanted if name in present])
        if weights in (SAFETENSORS_INDEX, BIN_INDEX):
            fetch(sorted(set(shard_names(folder / weights).values())))
    return Snapshot(repository, resolved.resolved, folder)


def download_adapter(repository: str, revision: str | None, access: HubAccess = HubAccess()) -> Snapshot:
    """Fetch a PEFT adapter's config, weights (safetensors before .bin), card and record of training.

    As `download` does. Raises BundleError, also for a repository that holds no adapter.
    """
    with _resolved(repository, revision, access) as (resolved, fetch):
        folder = fetch([ADAPTER_CONFIG])
        present = _files_of(repository, resolved, folder)
        weights = next((name for name in ADAPTER_WEIGHTS if name in present), None)
        if ADAPTER_CONFIG not in present or weights is None:
            lacking = ADAPTER_CONFIG if ADAPTER_CONFIG not in present else " or ".join(ADAPTER_WEIGHTS)
            raise BundleError(
                f"{repository} has no {lacking}: it holds no adapter that PEFT saved. Give one that does"
                + (", and this one as the model" if "config.json" in present else "")
            )
        fetch([name for name in (weights, ADAPTER_RECORD, CARD) if name in present])
    return Snapshot(repository, resolved.resolved, folder)


@contextmanager
def _resolved(
    repository: str, revision: str | None, access: HubAccess
) -> Iterator[tuple[huggingface_hub.ResolvedRevision, Callable[[list[str]], Path]]]:
    """The commit that `revision` names now, and a function that fetches files of it. Errors become sentences."""
    offline = access.offline or constants.HF_HUB_OFFLINE
    with _explained(repository, revision or "main", offline):
        huggingface_hub.utils.validate_repo_id(repository)
        if not offline:
            access.say(f"asking the hub, {constants.ENDPOINT}, for {repository}")
        # A 40-digit commit is taken as it is; a branch or tag is asked for, and its last known commit used offline.
        resolved = huggingface_hub.HfApi().resolve_revision(repository, revision=revision, local_files_only=offline)
        yield resolved, partial(_fetch, repository, resolved, access.quiet, offline)


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
    if ADAPTER_CONFIG in present:
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
def upload_explained(repository: str) -> Iterator[None]:
    """Turn the errors of an upload into sentences."""
    hub = constants.ENDPOINT
    try:
        huggingface_hub.utils.validate_repo_id(repository)
        if "/" not in repository:
            raise hub_errors.HFValidationError("it has no owner")
    except hub_errors.HFValidationError as error:
        raise OptionError(f"{repository} is no hub id ({error}); an id looks like someone/my-model") from None
    if constants.HF_HUB_OFFLINE:
        raise BundleError(f"nothing can be uploaded to {hub} offline; leave HF_HUB_OFFLINE unset")
    try:
        yield
    except hub_errors.HfHubHTTPError as error:
        status = error.response.status_code
        if status in (401, 403):
            raise BundleError(
                f"{hub} does not let this account write to {repository} (HTTP {status}). Set HF_TOKEN to a token with "
                "write access (`hf auth login` keeps one), and give an owner that is yours"
            ) from None
        said = error.server_message or "no reason given"
        raise BundleError(f"{hub} refused the upload to {repository} (HTTP {status}): {said}") from None
    except hub_errors.LocalTokenNotFoundError:
        raise BundleError(
            f"no token for {hub}: uploading needs one with write access. Set HF_TOKEN, or run `hf auth login`"
        ) from None
    except (hub_errors.HTTPError, hub_errors.XetDownloadError, RuntimeError) as error:  # RuntimeError: Xet's uploads
        raise BundleError(
            f"{hub} cannot be reached, or the upload broke off ({type(error).__name__}: {error}). Nothing was "
            "committed; give the command again"
        ) from None


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
