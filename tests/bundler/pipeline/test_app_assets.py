"""The folder for a phone."""

import hashlib
import json
import os
import shutil

import pytest

from bundler.pipeline import app_assets
from bundler.pipeline.app_assets import adb_lines, write_app_assets


@pytest.mark.parametrize("links", [True, False])
def test_the_folder_holds_the_bundle_its_adapters_and_their_hashes(tiny_bundle, tmp_path, monkeypatch, links):
    output, manifest = tiny_bundle
    for container in ("task", "litertlm"):
        shutil.copy(output / f"tiny.{container}", tmp_path)
    (tmp_path / "tiny-trainer.tflite").write_bytes(b"trainer")
    (tmp_path / "adapters").mkdir()
    for name in ("zero", "loud"):
        (tmp_path / "adapters" / f"{name}.tflite").write_bytes(name.encode())
    adapters = [{"name": name, "file": f"adapters/{name}.tflite", "rank": 16} for name in ("zero", "loud")]
    if not links:

        def refuse(source, target):
            raise OSError("not here")

        monkeypatch.setattr(app_assets.os, "link", refuse)
    write_app_assets(tmp_path, {**manifest, "adapters": adapters, "lora": {**manifest["lora"], "ranks": [16]}})
    assets = tmp_path / "app_assets"
    expected = ["SHA256SUMS", "loud.tflite", "manifest.json", "tiny-trainer.tflite", "tiny.litertlm", "tiny.task"]
    assert sorted(os.listdir(assets)) == expected
    for line in (assets / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((assets / name).read_bytes()).hexdigest() == digest
    facts = json.loads((assets / "manifest.json").read_text())
    assert (
        facts["bundles"] == ["tiny.task", "tiny.litertlm"]
        and facts["base_fingerprint"] == manifest["lora"]["base_fingerprint"]
    )
    assert [adapter["file"] for adapter in facts["adapters"]] == ["loud.tflite"]
    assert facts["files"]["tiny.task"] == hashlib.sha256((output / "tiny.task").read_bytes()).hexdigest()
    assert adb_lines(tmp_path)[-1] == f"adb push {assets / 'tiny.task'} /sdcard/Download/"
