"""The pipeline end to end on a tiny model: what it writes, that it writes it twice the same, and what it refuses."""

import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_gpt2 import VOCABULARY, write_tiny_checkpoint

from bundler.commands.cli import run
from bundler.containers.litertlm import read_litertlm
from bundler.containers.task import METADATA_ENTRY, MODEL_ENTRY, TOKENIZER_ENTRY, read_task
from bundler.doctor.examine import examine
from bundler.errors import BundleError, OptionError, VerificationError
from bundler.pipeline.build import build
from bundler.pipeline.plan import BuildOptions, plan_build
from bundler.tflite.model import open_model


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_what_is_written(tiny_bundle, tiny_checkpoint):
    output, manifest = tiny_bundle
    assert names(output) == [
        "README.md",
        "SHA256SUMS",
        "manifest.json",
        "report.html",
        "report.json",
        "tiny.litertlm",
        "tiny.task",
        "tokenizer.model",
    ]
    assert names(output.parent) == ["tiny"]
    assert json.loads((output / "manifest.json").read_text()) == manifest
    assert manifest["verified"] and all(gate["passed"] for gate in manifest["verification"])
    assert manifest["source"]["files"]["model.safetensors"] == sha256(tiny_checkpoint / "model.safetensors")
    lines = [line.split("  ") for line in (output / "SHA256SUMS").read_text().splitlines()[1:]]
    assert {name: digest for digest, name in lines} == {
        name: sha256(output / name) for name in names(output) if name != "SHA256SUMS"
    }


def test_both_containers_hold_the_same_model_and_tokenizers_of_the_same_vocabulary(tiny_bundle):
    output, manifest = tiny_bundle
    task, litertlm = read_task(output / "tiny.task"), read_litertlm(output / "tiny.litertlm")
    assert [entry.name for entry in task.entries] == [MODEL_ENTRY, TOKENIZER_ENTRY, METADATA_ENTRY, "MANIFEST"]
    assert (
        weights_in(task.section(MODEL_ENTRY)) == weights_in(litertlm.model()) and len(weights_in(litertlm.model())) > 16
    )
    assert task.read_entry(TOKENIZER_ENTRY) == (output / "tokenizer.model").read_bytes()
    assert task.parameters().start_token == "<|endoftext|>" and task.parameters().stop_tokens == ("<|endoftext|>",)
    assert litertlm.llm_metadata().start_token == VOCABULARY - 1
    assert litertlm.llm_metadata().max_num_tokens == manifest["context"] == 96
    inside = json.loads(task.read_entry("MANIFEST"))
    assert inside == {key: manifest[key] for key in inside}
    assert len(inside["tokenizer"]["alias_of"]) + VOCABULARY <= inside["tokenizer"]["rows"]


def weights_in(section):
    """What a model's file holds of each parameter."""
    model = open_model(section)
    with section.map() as data:
        return {
            tensor.name.partition(";")[0]: hashlib.sha256(data[buffer.offset : buffer.offset + buffer.size]).digest()
            for graph in model.graphs
            for tensor in graph.tensors
            if (buffer := model.buffers[tensor.buffer]).size
            and tensor.name.startswith(("wte.", "wpe.", "blocks.", "ln_"))
        }


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_same_inputs_give_the_same_bytes(tiny_bundle, tiny_checkpoint, tmp_path):
    """Another folder, another process, another time."""
    shutil.copytree(tiny_checkpoint, tmp_path / "tiny")
    command(tmp_path / "tiny", tmp_path / "out" / "tiny", "--no-speed", check=True)
    assert {name: sha256(tmp_path / "out" / "tiny" / name) for name in names(tiny_bundle[0])} == {
        name: sha256(tiny_bundle[0] / name) for name in names(tiny_bundle[0])
    }


def command(model, output, *arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "bundler", "build", str(model), "-o", str(output), *arguments],
        capture_output=True,
        text=True,
        **options,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("stage", ["Converting", "Verifying .task"])
def test_a_build_that_is_stopped_leaves_no_output(tiny_checkpoint, tmp_path, number, stage):
    process = subprocess.Popen(
        [sys.executable, "-m", "bundler", "build", str(tiny_checkpoint), "-o", str(tmp_path / "tiny"), "--prefill=32"],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
    )
    partial = tmp_path / ".tiny.partial"
    sign = "tiny.litertlm" if stage == "Verifying .task" else "."
    deadline = time.monotonic() + 120
    while not (partial / sign).exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(number)
    _, message = process.communicate(timeout=60)
    assert process.returncode in (1, -signal.SIGKILL)
    assert not (tmp_path / "tiny").exists()
    if number != signal.SIGKILL:
        assert "interrupted" in message and names(tmp_path) == []


def test_a_full_disk_leaves_no_output(tiny_checkpoint, tmp_path):
    """No file may grow past 200 kB: the model does not fit."""

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))

    result = command(tiny_checkpoint, tmp_path / "tiny", preexec_fn=limit)
    assert result.returncode == 1, result.stderr
    assert "Traceback" not in result.stderr and "task-bundler: error:" in result.stderr
    assert names(tmp_path) == []
    (tmp_path / "tiny").mkdir()
    build(BuildOptions(str(tiny_checkpoint), tmp_path / "tiny", context=16, verify=False))


def test_a_failed_gate_leaves_no_output(tiny_checkpoint, tmp_path, monkeypatch):
    from bundler.pipeline import worker

    stranger, original = write_tiny_checkpoint(tmp_path / "other", seed=1), worker.isolation

    @contextmanager
    def of_another_model(*modules):
        with original(*modules) as run:
            yield lambda what, function, export, *arguments, **options: run(
                what, function, replace(export, source=stranger), *arguments, **options
            )

    monkeypatch.setattr(worker, "isolation", of_another_model)
    with pytest.raises(VerificationError, match="distributions on a text.*Nothing was written"):
        build(BuildOptions(str(tiny_checkpoint), tmp_path / "tiny", engines=()))
    assert names(tmp_path) == ["other"]


def broken(tiny_checkpoint, folder, change):
    """A copy of the checkpoint with its tensors changed."""
    shutil.copytree(tiny_checkpoint, folder)
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder


def test_nan_weights_are_refused(tiny_checkpoint, tmp_path):
    def change(tensors):
        tensors["transformer.h.1.mlp.c_fc.weight"][3, 4] = torch.nan

    with pytest.raises(BundleError, match="h.1.mlp.c_fc.weight .* 1 NaN or infinite"):
        build(BuildOptions(str(broken(tiny_checkpoint, tmp_path / "nan", change)), tmp_path / "out"))
    assert names(tmp_path) == ["nan"]


def test_a_vocabulary_larger_than_the_embedding_is_refused(tmp_path):
    folder = write_tiny_checkpoint(tmp_path / "model", vocab_size=390, bos_token_id=None, eos_token_id=None)
    with pytest.raises(
        BundleError, match="400 tokens, as transformers reads it, but the embedding of model has 390 rows"
    ):
        plan_build(BuildOptions(str(folder), tmp_path / "out"))


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(recipe="int3"), "`recipe` int3: no such recipe; choose from fp32, "),
        (dict(context=97), "`context` 97: the checkpoint has 96 positions"),
        (dict(prefill=(97,)), "`prefill` 97"),
        (dict(context=32, prefill=(33,)), "`prefill` 33"),
        (dict(start_token=""), "`start_token` is empty"),
        (
            dict(start_token="<bos>"),
            "`start_token` '<bos>' is no token of the vocabulary .its special tokens: <|endoftext|>.",
        ),
        (dict(stop_tokens=("",)), "`stop_tokens` is empty"),
        (dict(stop_tokens=("<|endoftext|>", "</s>")), "`stop_tokens` '</s>' is no token"),
        (dict(name="a/b"), "`name` 'a/b'"),
        (dict(recipe="int4-block128"), "blocks of 128 do not divide the model's width 32"),
        (dict(recipe="auto"), "`recipe` auto has no limits; give one of `max_size` and `max_kl`"),
        (dict(recipe="auto", max_size=1.0, max_kl=0.1), "`recipe` auto has 2 limits; give one"),
        (dict(recipe="auto", max_size=0.0), "`max_size` 0: a limit above 0"),
        (dict(recipe="auto", max_kl=float("nan")), "`max_kl` nan: a limit above 0"),
        (dict(max_size=1.0), "`max_size` is a limit for `recipe` auto, not int8; leave it out"),
    ],
)
def test_options_that_are_refused(tiny_checkpoint, tmp_path, options, message):
    with pytest.raises(OptionError, match=message.replace("|", r"\|").replace("(", r"\(")):
        plan_build(BuildOptions(str(tiny_checkpoint), tmp_path / "out", **options))
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    "arguments, code",
    [
        (["build"], 2),
        (["build", "MODEL"], 2),
        (["build", "MODEL", "-o", "OUT", "--quant", "nope"], 2),
        (["build", "MODEL", "-o", "OUT", "--prefill", "x"], 2),
        (["build", "nowhere/at-all.pt", "-o", "OUT"], 2),
        (["nothing"], 2),
        (["build", "MODEL", "-o", "OUT", "--dry-run"], 0),
        (["run", "missing.task", "-p", "x"], 2),
        (["--help"], 0),
    ],
)
def test_exit_codes(tiny_checkpoint, tmp_path, capsys, arguments, code):
    filled = [{"MODEL": str(tiny_checkpoint), "OUT": str(tmp_path / "out")}.get(word, word) for word in arguments]
    assert run(filled) == code
    assert names(tmp_path) == []


def test_plain_text_tokens_may_stop(tiny_checkpoint, tmp_path):
    plan = plan_build(BuildOptions(str(tiny_checkpoint), tmp_path / "out", stop_tokens=("\n", "<|endoftext|>", "\n")))
    assert plan.stop_tokens == ("\n", "<|endoftext|>")


def test_the_report_says_of_the_bytes_what_the_doctor_says(tiny_bundle):
    folder, manifest = tiny_bundle
    sizes = json.loads((folder / "report.json").read_text())["weight_bytes"]
    weights = examine(folder / "tiny.task").facts["model"]["weights"]
    assert sizes.pop("tokenizer file") == (folder / "tokenizer.model").stat().st_size
    assert sum(sizes.values()) == manifest["bytes"]["tflite"]
    assert {name: size for name, size in sizes.items() if name != "graph"} == {
        f"{kind}, {scheme}": size for kind, row in weights.items() for scheme, size in row["types"].items()
    }
