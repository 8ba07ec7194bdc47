"""Uploading a build: what goes up, what is refused, and what the hub then has."""

import hashlib
import shutil

import huggingface_hub
import pytest
from hub_server import running_hub
from huggingface_hub import ModelCard, constants

from bundler.commands.cli import run
from bundler.errors import BundleError
from bundler.pipeline.push import plan_upload


@pytest.fixture
def hub(tmp_path, monkeypatch):
    with running_hub() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # its protocol is not the hub's HTTP interface
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.setenv("HF_TOKEN", hub.token)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
        huggingface_hub.close_session()
        yield hub
        huggingface_hub.close_session()


@pytest.fixture
def built(tiny_bundle, tmp_path):
    """A copy of a build that a file of somebody else lies in."""
    shutil.copytree(tiny_bundle[0], tmp_path / "tiny")
    (tmp_path / "tiny" / "secret.txt").write_text("mine")
    return tmp_path / "tiny"


def test_what_the_build_wrote_goes_up(hub, built, capsys):
    assert run(["push", str(built), "someone/tiny", "--quiet"]) == 0, capsys.readouterr().err
    repository = hub.repositories["someone/tiny"]
    files = repository.commits[repository.revisions["main"]]
    names = {path.name for path in built.iterdir()} - {"secret.txt"}
    assert set(files) == names
    assert all(files[name] == (built / name).read_bytes() for name in names - {"README.md", "SHA256SUMS"})
    listed = dict(reversed(line.split("  ")) for line in files["SHA256SUMS"].decode().splitlines()[1:])
    assert listed == {name: hashlib.sha256(files[name]).hexdigest() for name in names - {"SHA256SUMS"}}
    card = ModelCard(files["README.md"].decode())
    assert (card.data.quantized_by, card.data.library_name) == ("someone", "litert-lm")
    # Once more: the repository is there already.
    assert run(["push", str(built), "someone/tiny", "--quiet", "--message", "again"]) == 0


def test_a_dry_run_asks_nobody(hub, built, capfd):
    assert run(["push", str(built), "someone/tiny", "--dry-run"]) == 0
    assert hub.requests == [] and "tiny.litertlm" in capfd.readouterr().err


def test_what_is_refused(hub, built, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    assert run(["push", str(built), "someone/tiny", "--quiet"]) == 1
    assert "does not let this account write to someone/tiny (HTTP 401). Set HF_TOKEN" in capsys.readouterr().err
    assert run(["push", str(built), "tiny", "--quiet"]) == 2
    assert "tiny is no hub id (it has no owner)" in capsys.readouterr().err
    hub.broken = 500
    assert run(["push", str(built), "someone/tiny", "--quiet"]) == 1
    (built / "tiny.task").write_bytes(b"other")
    with pytest.raises(BundleError, match="tiny.task is not what the build wrote"):
        plan_upload(built, "someone/tiny")
    (built / "tiny.task").unlink()
    with pytest.raises(BundleError, match="lacks tiny.task"):
        plan_upload(built, "someone/tiny")
    with pytest.raises(BundleError, match="is no output of `task-bundler build`"):
        plan_upload(tmp_path, "someone/tiny")
