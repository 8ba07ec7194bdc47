"""One exit code for each kind of mistake, in every command.

2: what the arguments and the disk show before any work. 1: what is in a file. 3: a gate, or a finding of the doctor.
"""

import shlex

import pytest

from bundler.commands.cli import run

USAGE = {
    "an output that exists": [
        "build tiny -o full",
        "repack text.txt full.litertlm",
        "tokenizer build --tokenizer tiny -o text.txt",
        "tokenizer build --tokenizer tiny -o new.model --aliases text.txt",
        "tokenizer report --tokenizer tiny text.txt --save full.html",
        "lora export tiny --bundle tiny --skip-gates -o text.txt",
        "lora merge text.txt tiny -o full.html",
        "lora merge tiny tiny -o full",
        "lora train tiny text.txt -o full",
        "finetune tiny text.txt -o full",
        "lora compare tiny text.txt -o full",
        "pretrain text.txt -o full",
        "bench text.txt --plot full.html",
    ],
    "an output in no folder": [
        "build tiny -o text.txt/new",
        "repack text.txt gone/new.litertlm",
        "tokenizer build --tokenizer tiny -o gone/new.model",
        "tokenizer report --tokenizer tiny text.txt --save gone/new.html",
        "lora export tiny --bundle tiny --skip-gates -o gone/new.tflite",
        "lora merge tiny tiny -o text.txt/new",
        "pretrain text.txt -o text.txt/new",
    ],
    "an output with somebody's lock beside it": ["pretrain text.txt -o taken", "lora merge tiny tiny -o taken"],
    "an input that is missing": [
        "build gone -o new",
        "build tiny -o new --tokenizer gone",
        "build tiny -o new --adapter gone",
        "build tiny -o new --calibration gone",
        "run gone -p x",
        "run text.txt -p x --adapter gone",
        "verify gone --against tiny",
        "verify text.txt --against tiny --text gone",
        "verify text.txt --against tiny --tokenizer gone",
        "try gone --no-browser",
        "try text.txt gone --no-browser",
        "doctor gone",
        "doctor text.txt/gone",
        "repack gone new.litertlm",
        "repack text.txt new.litertlm --tokenizer gone",
        "tokenizer build --tokenizer gone -o new.model",
        "tokenizer build --vocab gone --merges text.txt -o new.model",
        "tokenizer report --tokenizer gone",
        "tokenizer report --tokenizer tiny gone",
        "lora export gone --bundle tiny --skip-gates -o new.tflite",
        "lora export tiny --bundle gone --skip-gates -o new.tflite",
        "lora merge gone tiny -o new",
        "lora merge tiny gone -o new",
        "lora train gone text.txt -o new",
        "lora train tiny gone -o new",
        "finetune gone text.txt -o new",
        "finetune tiny gone -o new",
        "lora compare tiny gone -o new",
        "lora info gone",
        "pretrain gone -o new",
        "sample gone",
        "bench gone",
    ],
    "an option that nothing can have": [
        "build tiny -o new --quant int3",
        "build tiny -o new --context 100000",
        "build tiny -o new --prefill x",
        "run text.txt -p x --temperature -1",
        "run text.txt -p x -n 0",
        "verify text.txt --against tiny --quant int3",
        "try text.txt --port 70000",
        "doctor text.txt --deep",
        "repack text.txt new.litertlm --deep",
        "tokenizer build -o new.model",
        "tokenizer report --tokenizer tiny --save new.pdf",
        "lora export tiny --bundle tiny -o new.tflite",
        "lora train tiny text.txt -o new --steps 0",
        "lora train tiny text.txt -o new --dropout 2",
        "lora train tiny long.txt -o new --context 100000",
        "lora train tiny long.txt -o new --context 16 --targets q_proj",
        "lora train tiny long.txt -o new --context 16 --targets ,",
        "lora train tiny long.txt -o new --alpha 0",
        "lora train tiny long.txt -o new --learning-rate nan",
        "lora compare tiny text.txt -o new --ranks 0",
        "lora compare tiny text.txt -o new --evaluate-every 0",
        "pretrain text.txt -o new --heads 0",
        "pretrain text.txt -o new --batch 0",
        "pretrain text.txt -o new --steps -5",
        "pretrain text.txt -o new --layers 0",
        "pretrain text.txt -o new --learning-rate inf",
        "pretrain text.txt -o new --seed -1",
        "pretrain text.txt -o new --device mps",
        "pretrain text.txt -o new --layers 1000000000",
        "pretrain text.txt -o new --init-from tiny --tokenizer char",
        "pretrain long.txt -o new --init-from tiny --context 100000",
        "pretrain text.txt -o new --tokenizer char --vocabulary 256",
        "pretrain text.txt -o new --width 10 --heads 3",
        "pretrain text.txt -o new --vocabulary 256",
        "sample tiny --temperature -1",
        "bench text.txt --threads 100000",
        "bench text.txt --decode-lengths x",
        "bench text.txt --prefill-lengths 16,0",
    ],
}
FAILURE = {
    "a file of another kind": [
        "build text.txt -o new",
        "build empty -o new",
        "build tiny -o new --tokenizer empty",
        "build tiny -o new --tokenizer text.txt",
        "build tiny -o new --adapter empty",
        "build tiny -o new --adapter text.txt",
        "run text.txt -p x",
        "verify text.txt --against tiny",
        "try text.txt --no-browser",
        "doctor empty",
        "repack text.txt new.litertlm",
        "tokenizer build --tokenizer text.txt -o new.model",
        "tokenizer report --tokenizer empty",
        "lora export empty --bundle text.txt --skip-gates -o new.tflite",
        "lora merge empty tiny -o new",
        "lora merge tiny empty -o new",
        "lora merge text.txt empty -o new.task",
        "lora train empty text.txt -o new",
        "lora info text.txt",
        "pretrain empty -o new",
        "pretrain text.txt --init-from empty -o new",
        "finetune empty text.txt -o new",
        "finetune tiny empty -o new",
        "sample empty",
        "bench text.txt",
    ],
}
VERIFICATION = {"a finding": ["doctor text.txt", "doctor text.txt gone"]}
CASES = [
    (kind, line, code)
    for code, kinds in ((1, FAILURE), (2, USAGE), (3, VERIFICATION))
    for kind, lines in kinds.items()
    for line in lines
]


@pytest.fixture
def place(tiny_checkpoint, tmp_path, monkeypatch):
    """A folder with a checkpoint, texts, and outputs in the way; the working folder."""
    (tmp_path / "tiny").symlink_to(tiny_checkpoint)
    for name in ("empty", "full"):
        (tmp_path / name).mkdir()
    for name in ("text.txt", "full/thesis", "full.html", "full.litertlm", ".taken.lock"):
        (tmp_path / name).write_text("somebody's")
    (tmp_path / "long.txt").write_text("The keeper wrote: the sea is calm, the light is lit. " * 200)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("kind, line, code", CASES, ids=[line for _, line, _ in CASES])
def test_a_mistake_has_one_exit_code_everywhere(place, capsys, kind, line, code):
    assert run([*shlex.split(line), "--quiet"]) == code, capsys.readouterr().err
    message = capsys.readouterr().err
    assert "Traceback" not in message and "defect" not in message and message.startswith(("task-bundler: ", "Usage: "))
