"""The state of a stopped training: taken up whole, or refused in a sentence, and never lost to a failed save."""

import resource
import subprocess
import sys

import pytest
import torch

from gpt2_training.errors import TrainingError
from gpt2_training.training_state import read_state, restoring, state_path, write_state

RECIPE = {"seed": 1, "text": "ab" * 32}


def test_it_comes_back_as_it_was(tmp_path):
    path = state_path(tmp_path / "out")
    assert path == tmp_path / "out.training_state.pt" and read_state(path, RECIPE) is None
    write_state(path, RECIPE, {"step": 1, "weights": [torch.arange(3)], "curve": [{"loss": 0.5}]})
    write_state(path, RECIPE, {"step": 2, "weights": [torch.arange(3)], "curve": [{"loss": 0.5}]})
    state = read_state(path, RECIPE)
    assert (
        state["step"] == 2 and torch.equal(state["weights"][0], torch.arange(3)) and state["curve"] == [{"loss": 0.5}]
    )
    assert [path.name for path in tmp_path.iterdir()] == ["out.training_state.pt"]


class Harm:
    def __reduce__(self):
        return exec, ("raise SystemExit('code of a stranger ran')",)


def save(value):
    return lambda path: torch.save(value, path)


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda path: path.write_bytes(b""), "cannot be read"),
        (lambda path: path.write_bytes(path.read_bytes()[:-200]), "cannot be read"),
        (lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]), "cannot be read"),
        (lambda path: path.write_text("a text"), "cannot be read"),
        (lambda path: (path.unlink(), path.mkdir()), "cannot be read"),
        (save(Harm()), "cannot be read"),
        (save([1, 2]), "no state"),
        (save({"key": "of an older version"}), "no state"),
        (save({"format": 3, "recipe": []}), "no state"),
        (save({"format": 3, "recipe": {"seed": 2, "text": "ab" * 32}}), "seed 1|seed 2, now 1"),
    ],
)
def test_what_is_no_state_of_this_training_is_refused_with_a_way_on(tmp_path, spoil, message):
    path = tmp_path / "state.pt"
    write_state(path, RECIPE, {"step": 1, "weights": torch.zeros(100)})
    spoil(path)
    with pytest.raises(TrainingError, match=message) as refusal:
        read_state(path, RECIPE)
    assert "`restart`" in str(refusal.value) and "\n" not in str(refusal.value) and path.exists()


def test_values_that_are_no_trainings_are_refused(tmp_path):
    path = tmp_path / "state.pt"
    write_state(path, RECIPE, {})
    with pytest.raises(TrainingError, match="`restart`"), restoring(path):
        torch.nn.Linear(2, 2).load_state_dict(read_state(path, RECIPE)["model"])


FULL = """
import signal, sys, torch
from pathlib import Path
from gpt2_training.errors import TrainingError
from gpt2_training.training_state import write_state
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
try:
    write_state(Path(sys.argv[1]), {}, {"weights": torch.zeros(1_000_000)})
except TrainingError as error:
    print(error)
"""


def test_a_full_disk_keeps_the_former_state(tmp_path):
    path = tmp_path / "state.pt"
    write_state(path, RECIPE, {"step": 1})
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(path)],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)),
    )
    assert "could not be saved" in done.stdout and "still there" in done.stdout, done.stderr
    assert read_state(path, RECIPE)["step"] == 1 and [entry.name for entry in tmp_path.iterdir()] == ["state.pt"]
