"""Tiny random GPT-2 folders, written by transformers itself."""

import json
import os
import subprocess
import sys

import torch
from safetensors.torch import load_file, save_file
from transformers import GPT2Config, GPT2LMHeadModel

from bundler.checkpoints.checkpoint import Checkpoint, open_checkpoint

SIZES = dict(vocab_size=97, n_positions=24, n_embd=12, n_layer=2, n_head=3)


def write_model(folder, model_class=GPT2LMHeadModel, dtype=torch.float32, shard_size="1GB", **fields):
    """A folder as save_pretrained writes it, with (empty) vocabulary files."""
    torch.manual_seed(0)
    model = model_class(GPT2Config(**{**SIZES, **fields})).to(dtype)
    with torch.no_grad():
        for parameter in model.parameters():  # biases and layer norms start at 0 and 1, which would hide mistakes
            parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(folder, max_shard_size=shard_size)
    write_vocabulary(folder)
    return folder


def write_vocabulary(folder):
    folder.mkdir(exist_ok=True)
    (folder / "vocab.json").write_text("{}")
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return folder


def rewrite_as_bin(folder):
    """Replace safetensors files, and their index, by pytorch_model.bin files."""
    for path in list(folder.glob("*.safetensors")):
        name = path.name.replace("model", "pytorch_model").replace(".safetensors", ".bin")
        torch.save({key: tensor.clone() for key, tensor in load_file(path).items()}, folder / name)
        path.unlink()
    for path in list(folder.glob("*.index.json")):
        text = path.read_text().replace('"model-', '"pytorch_model-').replace(".safetensors", ".bin")
        (folder / "pytorch_model.bin.index.json").write_text(text)
        path.unlink()


def edit_config(folder, **fields):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def edit_weights(folder, change):
    """Rewrite model.safetensors after `change(tensors)`."""
    tensors = {name: tensor.clone() for name, tensor in load_file(folder / "model.safetensors").items()}
    change(tensors)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def assert_same_as_transformers(folder, vocabulary=97, positions=24) -> Checkpoint:
    """Open `folder` and hold its reference model's logits, bit for bit, against from_pretrained's."""
    checkpoint = open_checkpoint(str(folder))
    ids = torch.randint(vocabulary, (2, positions), generator=torch.Generator().manual_seed(1))
    original = GPT2LMHeadModel.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).eval()
    with torch.no_grad():
        assert torch.equal(checkpoint.reference_model()(ids).logits, original(ids).logits)
    return checkpoint


PEAK = """
import re, sys
from pathlib import Path
from bundler.checkpoints.checkpoint import open_checkpoint

def peak():
    return int(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1])

before = peak()
{work}
print(peak() - before)
"""


def peak_kilobytes(work, source):
    """How much the peak of resident memory rises in a fresh process that runs `work`; sys.argv[1] is `source`.

    From /proc (Linux): getrusage's ru_maxrss would start at the peak of the process that forks.
    """
    done = subprocess.run(
        [sys.executable, "-c", PEAK.replace("{work}", work), source],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)
