"""Hundreds of hostile checkpoints: each is refused in one sentence, in seconds and in little memory, or is sound after
all. None runs code.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hostile_checkpoints import CODE_RUN, HOSTILE, Evil, tensors, write_hostile

from bundler.checkpoints.checkpoint import open_checkpoint

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """What became of each, by name; a process that hangs or dies ends with the checkpoint it was at."""
    results, left, tests = {}, list(HOSTILE), Path(__file__).parents[2]
    while left:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", tests / "open_hostile.py", tmp_path_factory.mktemp("hostile")],
            text=True,
            capture_output=True,
            input="".join(json.dumps(name) + "\n" for name in left),
            env={**os.environ, "PYTHONPATH": f"{tests.parent}:{tests}"},
        )
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        assert lines, done.stderr
        results |= {line["name"]: line for line in lines}
        if "error" not in lines[-1]:
            results[lines[-1]["name"]] = {
                "error": "",
                "traceback": f"ended with {done.returncode}: {done.stderr[-2000:]}",
            }
        left = [name for name in left if name not in results]
    return results


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", HOSTILE)
def test_outcome(outcomes, name):
    if "not to be read" in name and os.geteuid() == 0:
        pytest.skip("root may read everything")
    outcome, expected = outcomes[name], HOSTILE[name].expected
    assert "traceback" not in outcome, outcome["traceback"]
    assert not outcome["code_run"]
    assert outcome["seconds"] < 20 and outcome["megabytes"] < 1000
    error = outcome["error"]
    if expected is None:
        assert error is None
    else:
        assert re.search(expected, error)
        assert len(error) <= 600 and error.isprintable()


def test_there_are_many():
    assert len(HOSTILE) > 390 and sum(entry.expected is None for entry in HOSTILE.values()) > 20


def test_the_harmful_pickle_would_run(tmp_path):
    """Else that it did not would show nothing."""
    import pickle

    pickle.loads(pickle.dumps(Evil(tmp_path)))
    assert (tmp_path / CODE_RUN).is_dir()


@pytest.mark.parametrize(
    "name",
    [
        *(name for name in HOSTILE if name.startswith("model.safetensors: the prefix")),
        "model.safetensors: a symlink to the file elsewhere",
        "shards: sound",
        "pytorch_model.bin: sound",
        "pytorch_model.bin: sound, from before 1.6",
        "ckpt.pt: sound",
    ],
)
def test_what_is_sound_has_its_weights(tmp_path, name):
    checkpoint = open_checkpoint(write_hostile(name, tmp_path / "model"))
    expected = tensors(prefix="")
    assert set(checkpoint.names()) == set(expected)
    assert all(torch.equal(checkpoint.tensor(key), tensor) for key, tensor in expected.items())
