"""`try --export`, and a .litertlm repacked for it."""

import json

import pytest

from bundler.commands.cli import run
from bundler.containers.bundle import open_bundle
from bundler.web import runtime
from bundler.web.runtime import ENGINE_PACKAGE


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """An empty file in the place of each of npm's."""
    engine = tmp_path / "packages" / "node_modules" / ENGINE_PACKAGE
    (engine / "wasm").mkdir(parents=True)
    for name in ("genai_bundle.mjs", "wasm/genai_wasm_internal.js"):
        (engine / name).write_text("")
    monkeypatch.setattr(runtime, "install_runtime", lambda: tmp_path / "packages")


def test_the_page_is_exported_with_a_litertlm_repacked(packages, tiny_bundle, tmp_path, capfd):
    output = tmp_path / "page"
    arguments = ["try", str(tiny_bundle[0] / "tiny.litertlm"), "--export", str(output), "--prompt", "It is"]
    assert run(arguments) == 0, capfd.readouterr().err
    assert "repacked as a .task" in capfd.readouterr().err
    page = json.loads((output / "bundles.json").read_text())
    assert page["prompt"] == "It is" and page["bundles"][0]["context"] == 96
    assert open_bundle(output / page["bundles"][0]["url"]).sentencepiece == tiny_bundle_sentencepiece(tiny_bundle)
    assert (output / "index.html").exists() and (output / "SHA256SUMS").exists()
    assert run(arguments) == 2 and run([*arguments, "--force"]) == 0


def tiny_bundle_sentencepiece(tiny_bundle):
    return open_bundle(tiny_bundle[0] / "tiny.task").sentencepiece
