"""The file from which a stopped training goes on: replaced as a whole at each save, and read with suspicion."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator

import torch

from gpt2_training.errors import TrainingError

_FORMAT = 3
_BEGIN_AGAIN = "remove it to begin from the start, or begin anew with `restart`"


def state_path(output: Path) -> Path:
    """Where the state of a training lies that will write `output`: a file beside it."""
    return output.with_name(f"{output.name}.training_state.pt")


def write_state(path: Path, recipe: dict[str, Any], values: dict[str, Any]) -> None:
    """Replace the state at `path`; it is on the disk when this returns, and until then the former one is.

    `recipe` is what must be the same for the training to go on; `values` are tensors, numbers, strings, and lists and
    dicts of these. Raises TrainingError when the disk refuses; then the former state is still there.
    """
    temporary = path.with_name(f".{path.name}.partial")
    try:
        try:
            with open(temporary, "wb") as stream:
                torch.save({"format": _FORMAT, "recipe": recipe, **values}, stream)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except (OSError, RuntimeError) as error:  # torch's writer raises RuntimeError for a full disk
        before = "the state saved before it is still there" if path.exists() else "no earlier state was saved"
        raise TrainingError(
            f"{path}: the training's state could not be saved ({_first_line(error)}); {before}; make room and give the "
            "same command again"
        ) from error


def read_state(path: Path, recipe: dict[str, Any]) -> dict[str, Any] | None:
    """The values saved at `path`; None if there is no file. Tensors come to the CPU; nothing but data is unpickled.

    Raises TrainingError if the file is no whole state of a training, or that of a training with another recipe.
    """
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged or foreign file: what torch raises for it is of many kinds
        raise TrainingError(
            f"{path} cannot be read as a training's state ({_first_line(error)}); it is damaged, unfinished or another "
            f"program's; {_BEGIN_AGAIN}"
        ) from error
    if not isinstance(state, dict) or state.get("format") != _FORMAT or not isinstance(state.get("recipe"), dict):
        raise TrainingError(f"{path} is no state of this version's trainings; {_BEGIN_AGAIN}")
    if differing := _differences(state["recipe"], recipe):
        raise TrainingError(
            f"{path} holds a training with another recipe ({differing}); give the same recipe to go on with it; "
            f"or {_BEGIN_AGAIN}"
        )
    return state


@contextmanager
def restoring(path: Path | None) -> Iterator[None]:
    """Around taking over a state's values: TrainingError if they are not what a training saves."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise TrainingError(
            f"{path} holds values that are no training's ({_first_line(error)}); {_BEGIN_AGAIN}"
        ) from error


def _differences(saved: dict[str, Any], wanted: dict[str, Any]) -> str:
    names = [name for name in {**saved, **wanted} if saved.get(name) != wanted.get(name)]
    return "; ".join(
        f"{name.replace('_', ' ')} {_shown(saved.get(name))}, now {_shown(wanted.get(name))}" for name in names
    )


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:16]}…"


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:160] if lines else type(error).__name__
