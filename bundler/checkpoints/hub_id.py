"""What is an id of the Hugging Face hub and what is a path, and how the hub may be used. A mistyped path is nobody
else's business.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Callable, NamedTuple

from bundler.errors import OptionError

_HUB_ID = re.compile(r"([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@([^@\s]+))?", re.ASCII)
BUNDLE_SUFFIXES = (".litertlm", ".task")
_FILE_SUFFIXES = (".pt", ".pth", ".bin", ".safetensors", ".json", *BUNDLE_SUFFIXES, ".tflite", ".model")
# Ids from before the hub's models had owners, and where it sends who still asks for them.
_WITHOUT_OWNER = {
    **{name: f"openai-community/{name}" for name in ("gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl")},
    "distilgpt2": "distilbert/distilgpt2",
}


@dataclass(frozen=True)
class HubAccess:
    """How the hub may be used. `say` is called with a sentence before anything is asked of it.

    `offline`: nothing is asked, only what is cached is used; so it is, too, where huggingface_hub's HF_HUB_OFFLINE is
    set. `quiet`: no progress bars.
    """

    offline: bool = False
    quiet: bool = False
    say: Callable[[str], None] = lambda text: None


class HubId(NamedTuple):
    """A model on the hub: owner/name, and a revision, None if not named."""

    repository: str
    revision: str | None


def split_hub_id(
    source: str,
    expected: str = "a checkpoint folder, a nanoGPT ckpt.pt, or a hub id with its owner, such as openai-community/gpt2",
) -> HubId:
    """Split owner/name or owner/name@revision, which exists as no path. `expected`: what could be given in its place.

    Raises OptionError for what is rather a mistyped path, naming what is called nearly so: a name without an owner, an
    owner that is a folder here, a file's suffix, and anything that is no id at all.
    """
    path = Path(source)
    match = _HUB_ID.fullmatch(source)
    owner_is_here = path.parent.exists()
    if match and path.suffix not in _FILE_SUFFIXES and not owner_is_here:
        return HubId(match[1], match[2])
    sentences = [f"{source} does not exist: {what_is_missing(path)}"]
    if match and owner_is_here:
        sentences.append(f"It is not taken for a hub id, because {path.parent} is here.")
    name, _, revision = source.partition("@")
    if full := _WITHOUT_OWNER.get(name):
        sentences.append(
            f"The hub's model is {full}{'@' * bool(revision)}{revision}; give that, or a checkpoint folder"
        )
    else:
        sentences.append(f"Give {expected}")
    raise OptionError(" ".join(sentences))


def what_is_missing(path: Path) -> str:
    """The first part of `path` that is not there, and what lies in its place with a similar name."""
    folder = next((parent for parent in path.parents if parent.exists()), Path())
    missing = path.relative_to(folder).parts[0]
    try:
        # Hidden files are nobody's checkpoint.
        names = [entry.name for entry in folder.iterdir() if not entry.name.startswith(".")]
        near = [str(folder / name) for name in get_close_matches(missing, names)]
    except OSError:  # a file, or not ours to read
        near = []
    place = "this folder" if folder == Path() else str(folder)
    return f"{place} has no {missing}." + (f" Did you mean {' or '.join(near)}?" if near else "")
