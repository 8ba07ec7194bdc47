"""Hub ids: which files are fetched, at which commit, with which token, and what is said when it fails."""

import os
import subprocess
import sys

import huggingface_hub
import pytest
from hub_server import Repository, running_hub
from huggingface_hub import constants
from peft_folders import write_adapter
from tiny_checkpoint import edit_config, rewrite_as_bin, write_model, write_vocabulary

from bundler.checkpoints.adapter_source import adapter_path, check_adapter_source
from bundler.checkpoints.checkpoint import open_checkpoint
from bundler.checkpoints.hub_id import HubAccess
from bundler.errors import BundleError, OptionError
from lora_weights.peft_adapter import read_peft

OLD, NEW = "a" * 40, "b" * 40
UNWANTED = {
    "tf_model.h5": b"tf",
    "flax_model.msgpack": b"flax",
    "rust_model.ot": b"rust",
    "README.md": b"#",
    "onnx/model.onnx": b"onnx",
    "64.tflite": b"tflite",
    "model.fp16.safetensors": b"fp16",
    "pytorch_model.bin": b"pickle",
}


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    sharded = write_model(root / "sharded", shard_size="6KB")
    pickled = write_model(root / "pickled", shard_size="6KB")
    rewrite_as_bin(pickled)
    return {
        "single": files_of(write_model(root / "single")),
        "older": files_of(write_model(root / "older", n_layer=1)),
        "sharded": files_of(sharded),
        "pickled": files_of(pickled),
    }


@pytest.fixture
def hub(models, tmp_path, monkeypatch):
    with running_hub() as hub:
        hub.repositories["someone/gpt2"] = Repository(
            {OLD: models["older"], NEW: {**models["single"], **UNWANTED, "tokenizer.json": b"{ }"}},
            {"main": NEW, "v1": OLD},
        )
        hub.repositories["someone/sharded"] = Repository({NEW: {**models["sharded"], **UNWANTED}}, {"main": NEW})
        hub.repositories["someone/pickled"] = Repository({NEW: models["pickled"]}, {"main": NEW})
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
        huggingface_hub.close_session()
        yield hub
        huggingface_hub.close_session()


def refused(match, source, error=BundleError, **options):
    with pytest.raises(error, match=match):
        open_checkpoint(source, **options)


def test_only_what_is_read_is_downloaded(hub):
    checkpoint = open_checkpoint("someone/gpt2", hub=HubAccess(quiet=True))
    assert hub.downloaded() == {
        "config.json",
        "generation_config.json",
        "vocab.json",
        "merges.txt",
        "tokenizer.json",
        "model.safetensors",
        "README.md",
    }
    assert (checkpoint.source.kind, checkpoint.source.name, checkpoint.source.revision) == ("hub", "someone/gpt2", NEW)
    assert checkpoint.architecture.layers == 2 and checkpoint.folder == checkpoint.source.path
    checkpoint.check_finite()


def test_a_vocabulary_of_ones_own_is_not_downloaded_over(hub, tmp_path):
    vocabulary = write_vocabulary(tmp_path / "mine")
    assert open_checkpoint("someone/gpt2", tokenizer=vocabulary).folder == vocabulary
    assert hub.downloaded() == {"config.json", "generation_config.json", "model.safetensors", "README.md"}


@pytest.mark.parametrize("name, suffix", [("someone/sharded", ".safetensors"), ("someone/pickled", ".bin")])
def test_shards(hub, name, suffix):
    files = hub.repositories[name].commits[NEW]
    shards = {file for file in files if "-of-" in file}
    assert len(shards) > 2
    open_checkpoint(name).check_finite()
    assert {file for file in hub.downloaded() if file.endswith((".safetensors", ".bin"))} == shards


@pytest.mark.parametrize(
    "source, revision, commit",
    [
        ("someone/gpt2@v1", None, OLD),
        ("someone/gpt2", "v1", OLD),
        ("someone/gpt2@v1", "v1", OLD),
        ("someone/gpt2@main", None, NEW),
        (f"someone/gpt2@{OLD}", None, OLD),
    ],
)
def test_revision_is_resolved_to_a_commit(hub, source, revision, commit):
    checkpoint = open_checkpoint(source, revision=revision)
    assert checkpoint.source.revision == commit
    assert checkpoint.architecture.layers == (1 if commit == OLD else 2)


def test_two_revisions_at_once(hub):
    refused("names the revision 'v1' but 'main' was given too", "someone/gpt2@v1", OptionError, revision="main")


def test_a_branch_that_moves_is_followed_and_what_is_cached_is_not_fetched_again(hub):
    open_checkpoint("someone/gpt2")
    hub.requests.clear()
    open_checkpoint("someone/gpt2")
    assert hub.downloaded() == set()
    hub.repositories["someone/gpt2"].revisions["main"] = OLD
    assert open_checkpoint("someone/gpt2").source.revision == OLD


def test_a_branch_that_moves_during_the_download_does_not_mix_commits(hub, monkeypatch):
    original = huggingface_hub.HfApi.resolve_revision

    def resolve_then_move(*arguments, **options):
        resolved = original(*arguments, **options)
        hub.repositories["someone/gpt2"].revisions["main"] = OLD
        return resolved

    monkeypatch.setattr(huggingface_hub.HfApi, "resolve_revision", resolve_then_move)
    checkpoint = open_checkpoint("someone/gpt2")
    assert checkpoint.source.revision == NEW and checkpoint.architecture.layers == 2


def test_token_is_sent(hub, monkeypatch):
    hub.repositories["someone/gpt2"].gated = True
    refused(f"is gated.*Ask for access at {hub.url}/someone/gpt2, then set HF_TOKEN", "someone/gpt2")
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    hub.requests.clear()
    open_checkpoint("someone/gpt2")
    assert {authorization for _, path, authorization in hub.requests if "large" not in path} == {"Bearer hf_right"}
    assert {authorization for _, path, authorization in hub.requests if "large" in path} == {None}  # another host's
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    refused("refused the token.*HTTP 401.*Set HF_TOKEN to a valid token", "someone/gpt2@v1")


@pytest.mark.parametrize("token", [None, "hf_right"])
def test_no_such_model(hub, monkeypatch, token):
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    refused("someone/gtp2 is no folder here, and .* has no such model or keeps it private", "someone/gtp2")


@pytest.mark.parametrize("revision", ["v2", "c" * 40])
def test_no_such_revision(hub, revision):
    refused(f"someone/gpt2 has no revision '{revision}'", f"someone/gpt2@{revision}")


def test_ids_the_hub_cannot_have(hub):
    refused("is no folder here and no hub id", "some--one/gpt2")
    refused("is no folder here and no hub id", "someone/gpt2.git")
    assert not hub.requests


def test_it_is_said_before_the_hub_is_asked(hub):
    asked = []
    open_checkpoint("someone/gpt2@v1", hub=HubAccess(say=lambda text: asked.append((text, list(hub.requests)))))
    assert asked == [(f"asking the hub, {hub.url}, for someone/gpt2", [])]


@pytest.mark.parametrize(
    "source, sentence",
    [
        (
            "out/smaple",
            "out has no smaple. Did you mean out/sample[?] It is not taken for a hub id, because out is here. Give a "
            "checkpoint folder",
        ),
        ("out/other", "out has no other. It is not taken"),
        (
            "smaple",
            "this folder has no smaple. Give a checkpoint folder, a nanoGPT ckpt.pt, or a hub id with its owner",
        ),
        ("uot/sample/x", "this folder has no uot. Did you mean out[?] Give"),
        ("./out/gpt2", "out has no gpt2. Give"),
        ("../someone/gpt2", r"\.\. has no someone"),
        ("gone/model.task", "this folder has no gone"),
        ("~nobody-here/gpt2", "this folder has no ~nobody-here"),
        ("file/gpt2", "file has no gpt2"),
        ("gpt2", ".*The hub's model is openai-community/gpt2; give that"),
        ("gpt2@main", ".*The hub's model is openai-community/gpt2@main"),
        ("distilgpt2", ".*The hub's model is distilbert/distilgpt2"),
    ],
)
def test_a_mistyped_path_stays_here(hub, tmp_path, monkeypatch, source, sentence):
    (tmp_path / "here" / "out" / "sample").mkdir(parents=True)
    (tmp_path / "here" / "file").touch()
    monkeypatch.chdir(tmp_path / "here")
    refused(f"does not exist: {sentence}", source)
    assert not hub.requests


def test_hub_that_is_down(hub):
    hub.broken = 418
    refused("answered HTTP 418 when asked for someone/gpt2; try again later", "someone/gpt2")


@pytest.mark.parametrize("by", ["option", "environment"])
def test_offline_works_from_the_cache(hub, monkeypatch, by):
    opened = open_checkpoint("someone/gpt2")
    open_checkpoint("someone/sharded")
    hub.requests.clear()
    if by == "environment":
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        huggingface_hub.close_session()
    remarks = []
    access = HubAccess(offline=by == "option", say=remarks.append)
    again = open_checkpoint("someone/gpt2", hub=access)
    assert again.source == opened.source
    open_checkpoint("someone/sharded", hub=access).check_finite()
    refused(
        "someone/pickled at 'main' is not complete in the cache .* and offline .* nothing is downloaded",
        "someone/pickled",
        hub=access,
    )
    refused("nothing is downloaded. Go online for it once", "someone/gpt2@v1", hub=access)
    (opened.folder / "model.safetensors").unlink()
    refused("someone/gpt2 at 'main' is not complete in the cache", "someone/gpt2", hub=access)
    assert not hub.requests and not remarks


def test_no_network(hub, monkeypatch):
    open_checkpoint("someone/gpt2")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert open_checkpoint("someone/gpt2").source.revision == NEW
    refused(
        "someone/pickled is no folder here, and http://127.0.0.1:9 cannot be reached .*Check the network",
        "someone/pickled",
    )


def test_models_that_cannot_be_used_cost_no_download_of_weights(hub, tmp_path):
    llama = write_model(tmp_path / "other")
    edit_config(llama, model_type="llama")
    hub.repositories["someone/llama"] = Repository({NEW: files_of(llama)}, {"main": NEW})
    refused("config.json of someone/llama has model_type 'llama'", "someone/llama")
    adapter = {"adapter_config.json": b"{}", "adapter_model.safetensors": b""}
    hub.repositories["someone/lora"] = Repository({NEW: adapter}, {"main": NEW})
    refused("someone/lora holds adapter_config.json: it is a LoRA adapter", "someone/lora")
    hub.repositories["someone/gguf"] = Repository({NEW: {"model.gguf": b"GGUF"}}, {"main": NEW})
    refused("someone/gguf has no config.json", "someone/gguf")
    only_tf = {"config.json": hub.repositories["someone/gpt2"].commits[NEW]["config.json"], "tf_model.h5": b"tf"}
    hub.repositories["someone/tf"] = Repository({NEW: only_tf}, {"main": NEW})
    refused("someone/tf has no PyTorch weights", "someone/tf")
    assert hub.downloaded() == {"config.json"}


def test_quiet_shows_no_progress(hub, capfd, monkeypatch):
    monkeypatch.setenv("TQDM_POSITION", "-1")  # huggingface_hub's switch for progress bars without a terminal
    open_checkpoint("someone/gpt2@v1")
    assert "Fetching" in capfd.readouterr().err
    open_checkpoint("someone/gpt2", hub=HubAccess(quiet=True))
    assert capfd.readouterr().err == ""


PROGRAM = """
import sys
from bundler.checkpoints.adapter_source import adapter_path, check_adapter_source
from bundler.checkpoints.checkpoint import open_checkpoint
print(open_checkpoint("someone/gpt2").source.revision)
"""


def test_environment_variables(hub, tmp_path):
    """HF_ENDPOINT, HF_HOME, HF_TOKEN and HF_HUB_OFFLINE as a user sets them, in processes of their own."""
    hub.repositories["someone/gpt2"].gated = True
    environment = {
        **os.environ,
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(tmp_path / "home"),
        "HF_TOKEN": "hf_right",
        "PYTHONPATH": os.getcwd(),
    }
    run = [sys.executable, "-c", PROGRAM]
    online = subprocess.run(run, env=environment, capture_output=True, text=True)
    assert online.stdout.strip() == NEW, online.stderr
    assert {authorization for _, path, authorization in hub.requests if "/api/models/" in path} == {"Bearer hf_right"}
    assert (tmp_path / "home" / "hub" / "models--someone--gpt2").is_dir()
    hub.requests.clear()
    offline = subprocess.run(run, env={**environment, "HF_HUB_OFFLINE": "1"}, capture_output=True, text=True)
    assert offline.stdout.strip() == NEW, offline.stderr
    assert not hub.requests


def test_an_adapter_by_hub_id(hub, tmp_path):
    """Only what is read is fetched, and the adapter is called after the repository, not after the commit."""
    write_adapter(tmp_path / "pirate")
    files = files_of(tmp_path / "pirate") | {"optimizer.pt": b"pickle", "README.md": b"---\nlicense: mit\n---\n"}
    hub.repositories["someone/pirate"] = Repository({OLD: files}, {"main": OLD})
    check_adapter_source("someone/pirate@main")
    assert hub.requests == []
    folder = adapter_path("someone/pirate@main", HubAccess(quiet=True))
    assert hub.downloaded() == {"adapter_config.json", "adapter_model.safetensors", "README.md"}
    adapter = read_peft(folder)
    assert (adapter.name, adapter.licence) == ("pirate", "mit")
    hub.broken = 503
    assert adapter_path("someone/pirate", HubAccess(offline=True)) == folder


def test_what_is_no_adapter_on_the_hub(hub):
    with pytest.raises(BundleError, match="someone/gpt2 has no adapter_config.json.*and this one as the model"):
        adapter_path("someone/gpt2")
    with pytest.raises(BundleError, match="someone/pirat is no folder here, and .* has no such model"):
        adapter_path("someone/pirat")
    with pytest.raises(OptionError, match="pirat does not exist: .*Give a PEFT folder, an adapter file, or a hub id"):
        check_adapter_source("pirat")
