"""No command speaks to anyone outside of this machine, unless it is asked for what is on the hub."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from empty_web_runtime import write_empty_web_runtime
from nanogpt_checkpoint import write_checkpoint

from bundler.checkpoints.checkpoint import open_checkpoint
from bundler.verification.text import verification_text
from lora_weights.fine_tune import FineTuneConfig
from lora_weights.train import with_adapter
from tokenizer_tools.auto_tokenizer import TOKENIZER_FILES

pytestmark = pytest.mark.timeout(1500)  # every command once, one after the other, on a busy machine
WATCHED = Path(__file__).parent / "watched"
TRAINING = " --steps 1 --batch 2 --context 16"
COMMANDS = {
    "build": "build tiny -o out --adapter adapter --prefill 32",
    "build, nanoGPT": "build nano/ckpt.pt -o out-nano --dry-run",
    "run": "run out/out.task -p hello -n 4",
    "run, adapter": "run out/out.litertlm -p hello -n 4 --adapter out/adapters/adapter.tflite",
    "verify": "verify out/out.task --against tiny --text text.txt",
    "try": "try out/out.task --no-browser --port {port}",
    "doctor": "doctor out/out.litertlm",
    "repack": "repack out/out.task again.litertlm",
    "tokenizer build": "tokenizer build --tokenizer tiny -o tokenizer.model",
    "tokenizer report": "tokenizer report --tokenizer tiny text.txt",
    "finetune": "finetune tiny text.txt -o finetuned" + TRAINING,
    "pretrain, begun with a checkpoint": "pretrain text.txt --init-from nano/ckpt.pt -o trained-on" + TRAINING,
    "lora train": "lora train tiny text.txt -o trained" + TRAINING,
    "lora train, nanoGPT": "lora train nano/ckpt.pt text.txt -o trained-nano" + TRAINING,
    "lora compare": "lora compare nano/ckpt.pt text.txt -o compared --ranks 1" + TRAINING,
    "lora export": "lora export adapter --bundle out --against tiny -o adapter.tflite",
    "lora merge, .task": "lora merge out/out.task adapter -o merged.task",
    "lora merge, checkpoint": "lora merge tiny adapter -o merged",
    "lora info": "lora info adapter",
    "pretrain": "pretrain text.txt -o trained-new --vocabulary 300 --layers 1 --heads 1 --width 16" + TRAINING,
    "sample": "sample tiny -p hello -n 4",
    "sample, adapter beside": "sample someone/adapted -n 4",
}
# What has to end in a refusal, and not in a question to the hub: (command, exit code).
REFUSED = {
    "mistyped folder": ("build tinny -o out-2", 2),
    "mistyped path": ("build models/tinny -o out-2", 2),
    "adapter without weights": ("lora merge tiny someone/adapter -o merged-2", 1),
    "offline": ("build nobody/gpt2 -o out-2 --offline", 1),
    "offline, lora": ("lora train nobody/gpt2 text.txt -o trained-2 --offline" + TRAINING, 1),
}


STRACE = shutil.which("strace")


@pytest.fixture(scope="module")
def inputs(tiny_checkpoint, tmp_path_factory):
    """A folder of tiny inputs. The adapters say that their base is a model of the hub."""
    folder = tmp_path_factory.mktemp("watched")
    (folder / "text.txt").write_text(verification_text() * 3)
    shutil.copytree(tiny_checkpoint, folder / "tiny")
    shutil.copytree(tiny_checkpoint, folder / "models" / "tiny")
    write_checkpoint(folder / "nano", n_embd=32, n_head=2, block_size=96, vocab_size=400)
    for name in filter(lambda name: (tiny_checkpoint / name).exists(), TOKENIZER_FILES):
        shutil.copyfile(tiny_checkpoint / name, folder / "nano" / name)
    model = with_adapter(open_checkpoint(tiny_checkpoint).reference_model(), FineTuneConfig(rank=4))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    model.peft_config["default"].base_model_name_or_path = "someone/gpt2"
    model.save_pretrained(folder / "adapter", save_embedding_layers=False)
    shutil.copytree(folder / "adapter", folder / "someone" / "adapter")
    (folder / "someone" / "adapter" / "adapter_model.safetensors").unlink()
    shutil.copytree(folder / "adapter", folder / "someone" / "adapted")
    shutil.copytree(tiny_checkpoint, folder / "someone" / "adapted", dirs_exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def watched(inputs):
    """Every command run once: {name: (exit code, attempts to speak to others)}, and the file of the system calls, if
    strace wrote it.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    lines = [*COMMANDS.values(), *(line for line, _ in REFUSED.values())]
    (inputs / "commands.json").write_text(json.dumps([line.format(port=port).split() for line in lines]))
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))}
    environment |= {
        "PYTHONPATH": os.pathsep.join([str(WATCHED), os.getcwd()]),
        "WATCHED_LOG": str(inputs / "log"),
        "HF_HOME": str(inputs / "home"),
        "HF_TOKEN": "hf_secret",
        "XDG_CACHE_HOME": str(inputs / "cache"),
    }
    write_empty_web_runtime(inputs / "cache")
    calls = inputs / "calls"
    tracer = (
        [STRACE, "-f", "-qq", "--seccomp-bpf", "-e", "trace=connect,sendto", "-o", calls]
        if STRACE and can_trace()
        else []
    )
    done = subprocess.run(
        [*tracer, sys.executable, WATCHED / "run_commands.py", "commands.json", "results.json"],
        cwd=inputs,
        env=environment,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stderr
    results = json.loads((inputs / "results.json").read_text())
    return dict(zip([*COMMANDS, *REFUSED], results, strict=True)), calls if tracer else None, done.stderr


def can_trace():
    return subprocess.run([STRACE, "-o", os.devnull, "true"], capture_output=True).returncode == 0


@pytest.mark.parametrize("name", COMMANDS)
def test_the_command_speaks_to_nobody(watched, name):
    results, _, output = watched
    assert results[name] == [0, []], output


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_work_is_refused_without_asking_the_hub(watched, name):
    results, _, output = watched
    assert results[name] == [REFUSED[name][1], []], output
    assert "Traceback" not in output


def test_native_code_speaks_to_nobody(watched):
    calls = watched[1]
    if calls is None:
        pytest.skip("needs strace, and leave to trace: apt-get install strace")
    assert addresses(
        '7 connect(3, {sa_family=AF_INET, sin_port=htons(443), sin_addr=inet_addr("1.2.3.4")}, 16) = 0'
    ) == [("443", "1.2.3.4")]
    strangers = [
        (port, address)
        for port, address in addresses(calls.read_text())
        if port == "53" or not re.match(r"127\.|::1$", address)
    ]
    assert not strangers  # port 53 is that of name servers, which may be on this machine and ask on


def addresses(calls):
    """(port, address) of each system call on the internet's sockets."""
    return re.findall(r'sa_family=AF_INET6?, .*?htons\((\d+)\).*?"([^"]+)"', calls)
