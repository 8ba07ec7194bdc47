"""What is verified runs in another process, and is found the same there."""

import json
import os
import subprocess
import sys

import pytest

from bundler.system.object_process import object_process
from bundler.verification import runtimes
from bundler.verification.verify import verify_bundle

HEAVY = ("litert_lm", "ai_edge_litert.compiled_model", "litert_torch", "transformers")


def modules_after(script, *arguments):
    """Which of the HEAVY modules a fresh process has imported after a script."""
    ending = f"\nimport sys, json\nprint(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", script + ending, *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("kind", ["task", "litertlm"])
def test_gates_find_the_same_in_another_process(tiny_bundle, tiny_checkpoint, monkeypatch, kind):
    path = next(tiny_bundle[0].glob(f"*.{kind}"))
    here, found = runtimes.object_process, []
    for process in (here, object_process):
        monkeypatch.setattr(runtimes, "object_process", process)
        found.append([(gate.name, gate.passed, gate.found) for gate in verify_bundle(path, str(tiny_checkpoint))])
    assert here is not object_process and found[0] == found[1] and len(found[0]) > 6


def test_a_verification_holds_no_engine_beside_pytorch(tiny_bundle, tiny_checkpoint):
    script = """
import sys
from pathlib import Path
from bundler.verification.verify import verify_bundle
verify_bundle(Path(sys.argv[1]), sys.argv[2])
"""
    assert modules_after(script, next(tiny_bundle[0].glob("*.litertlm")), tiny_checkpoint) == ["transformers"]


def test_what_is_not_verified_needs_no_transformers():
    assert modules_after("import bundler.pipeline.build") == []
