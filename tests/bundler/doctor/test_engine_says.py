"""What the catalog says of LiteRT-LM, held against LiteRT-LM with the planted defects: its words, its silence, its
end.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from doctor_files import task
from planted_containers import write
from planted_defects import PLANTED

from bundler.containers.task import TOKENIZER_ENTRY
from bundler.doctor.catalog import catalog
from bundler.doctor.examine import examine
from lora_weights.adapter import Base
from lora_weights.adapter_file import encode_adapter, zero_adapter

SESSION = Path(__file__).with_name("engine_session.py")
# The planted model is no whole one; test_other_makers.py does it with a real model.
ELSEWHERE = {"mask-inside-graph", "context-misread"}
PROMPTS = {"piece-ids-beyond-embedding": "piece 2", "prefill-past-cache": "def f(x):\n" * 11}  # 78 tokens


def run(good, folder, broken, prompt):
    """(exit code, everything it printed) of a session with the broken file, or with a good bundle and the broken
    adapter.
    """
    if broken.suffix == ".model":
        entries = good.entries()
        del entries["MANIFEST"]
        broken = task(folder, {**entries, TOKENIZER_ENTRY: broken.read_bytes()})
    bundle, adapter, rank = broken, "", 0
    if broken.suffix == ".tflite":
        bundle, adapter, rank = good.lora_litertlm, broken, 32
    elif rank := examine(broken).facts.get("model", {}).get("lora", {}).get("LiteRT-LM layout, rank") or 0:
        adapter = write(folder, "adapter.tflite", encode_adapter(zero_adapter(Base(2, 32, (1.0, 1.0)), rank)))
    done = subprocess.run(
        [sys.executable, str(SESSION), str(bundle), prompt, str(rank), str(adapter)],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=100,
    )
    return done.returncode, done.stdout + done.stderr


def said_of_litert_lm(code):
    return catalog()[code].says.get("LiteRT-LM 0.18.1")


@pytest.mark.parametrize("code", sorted({code for code, _ in PLANTED if said_of_litert_lm(code)} - ELSEWHERE))
def test_litert_lm_says_what_the_catalog_says(good, tmp_path, code):
    message = said_of_litert_lm(code)
    outcomes = [
        run(good, tmp_path, breaks(good, tmp_path), PROMPTS.get(code, "def f"))
        for planted, breaks in PLANTED
        if planted == code
    ]
    printed = "\n".join(output for _, output in outcomes)
    for quoted in re.findall("“([^”]*)”", message):
        assert quoted in printed
    if "the process ends with" in message:  # a signal
        assert any(status < 0 for status, _ in outcomes)
    if message.startswith("opens it without a message"):
        assert all(status == 0 and "WRITTEN" in output for status, output in outcomes)
