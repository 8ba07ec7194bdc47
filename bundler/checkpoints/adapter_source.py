"""Where an adapter comes from: a path, or an id of the Hugging Face hub."""

from __future__ import annotations

import os
from pathlib import Path

from bundler.checkpoints.hub_id import HubAccess, split_hub_id

EXPECTED = "a PEFT folder, an adapter file, or a hub id with its owner, such as someone/my-adapter"


def check_adapter_source(source: str) -> None:
    """Raise OptionError for what is neither there nor a hub id; asks nothing of the network."""
    if not os.path.exists(os.path.expanduser(source)):
        split_hub_id(source, EXPECTED)


def adapter_path(source: str | Path, hub: HubAccess = HubAccess()) -> Path:
    """The PEFT folder or adapter file: what exists is taken for a path, else it is fetched from the hub.

    Raises OptionError as `check_adapter_source` does, and BundleError for what the hub has not.
    """
    path = Path(os.path.expanduser(source))
    if path.exists():
        return path
    from bundler.checkpoints.hub import download_adapter

    hub_id = split_hub_id(str(source), EXPECTED)
    return download_adapter(hub_id.repository, hub_id.revision, hub).folder
