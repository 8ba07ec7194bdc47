"""What a phone needs of a build, in one folder: the bundles, their adapters, a trainer if there is one, and hashes to
check the copies by.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import shlex
import shutil
from pathlib import Path

FOLDER = "app_assets"
_PHONE = "/sdcard/Download/"


def write_app_assets(folder: Path, manifest: dict) -> None:
    """Fill `folder`/app_assets from the finished files beside it. Files are hard links where the disk allows: nothing
    is stored twice.

    manifest.json there has the bundles, the fingerprint of the base that an adapter must be for, and each adapter's
    facts; SHA256SUMS lists every file by its name alone, as an app that is handed single files sees them.
    """
    assets = folder / FOLDER
    assets.mkdir()
    adapters = [
        facts for facts in manifest.get("adapters", []) if facts["name"] != "zero"
    ]  # the app writes that one itself
    # In a .litertlm with LoRA inputs the app swaps adapters without a copy; without them it is the .task over again.
    containers = ("task", "litertlm") if manifest["lora"].get("ranks") else ("task",)
    sources = [
        *(folder / f"{manifest['name']}.{container}" for container in containers),
        *(folder / facts["file"] for facts in adapters),
        *folder.glob(f"{glob.escape(manifest['name'])}-trainer.tflite"),
    ]
    sums = {}
    for source in sources:
        _link(source, assets / source.name)
        with open(source, "rb") as file:
            sums[source.name] = hashlib.file_digest(file, "sha256").hexdigest()
    facts = {
        "format": manifest["format"],
        "bundles": [source.name for source in sources[: len(containers)]],
        "base_fingerprint": manifest["lora"]["base_fingerprint"],
        "context": manifest["context"],
        "sampler": manifest["sampler"],
        "files": sums,
        "adapters": [{**facts, "file": Path(facts["file"]).name} for facts in adapters],
    }
    (assets / "manifest.json").write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    sums["manifest.json"] = hashlib.sha256((assets / "manifest.json").read_bytes()).hexdigest()
    (assets / "SHA256SUMS").write_text(
        "".join(f"{digest}  {name}\n" for name, digest in sums.items()), encoding="utf-8"
    )


def adb_lines(output: Path) -> list[str]:
    """The shell commands that bring the folder of a finished build to a phone, from where the app imports files."""
    return [f"adb push {shlex.quote(str(path))} {_PHONE}" for path in sorted((output / FOLDER).iterdir())]


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
