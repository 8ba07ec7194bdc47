"""The recipe `auto`: what each part of each layer loses is measured, and a mix under the user's limit chosen."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Callable, Mapping, Sequence

from bundler.checkpoints.architecture import GPT2Architecture
from bundler.conversion.calibration import Inputs, read_tokens
from bundler.conversion.constant_names import matrix_name
from bundler.conversion.convert import Export, model_size
from bundler.conversion.exported_weights import ExportedWeight
from bundler.conversion.gptq import gptq
from bundler.conversion.mix import Option, closest_mix, smallest_mix
from bundler.conversion.recipes import AUTO, INT8, MIXED, RECIPES, Recipe, Storage
from bundler.conversion.rounding import nearest
from bundler.conversion.sensitivity import Rounding, Sensitivity, sensitivities
from bundler.errors import BundleError

# Tokens of the calibration text over which divergences are measured: its first ones.
MEASURED = 512
# The exported matrices of each part.
MATRICES = Inputs(("q", "k", "v"), ("o",), ("c_fc",), ("c_proj",))


@dataclass(frozen=True)
class Limit:
    """`size`: of the TFLite model, in bytes; or `kl`: of the sum of the divergences, in nats."""

    size: int | None = None
    kl: float | None = None


@dataclass(frozen=True)
class Mix:
    """The recipe of every part, by layer and part, as "3.qkv"; and what was measured in every recipe."""

    limit: Limit
    chosen: Mapping[str, Option]
    options: Mapping[str, Sequence[Option]]

    @property
    def kl(self) -> float:
        """The sum of the divergences of what was chosen."""
        return sum(option.kl for option in self.chosen.values())

    def recipe(self) -> Recipe:
        """`auto` with the storage of every matrix."""
        matrices = {
            name: RECIPES[option.recipe].layers for part, option in self.chosen.items() for name in matrix_names(part)
        }
        return replace(RECIPES[AUTO], matrices=matrices)

    def as_dict(self) -> dict:
        """For the manifest."""
        return {
            "max_bytes": self.limit.size,
            "max_kl": self.limit.kl,
            "kl": self.kl,
            "recipes": dict(Counter(option.recipe for option in self.chosen.values()).most_common()),
            "parts": {
                part: {
                    "recipe": option.recipe,
                    "bytes": option.bytes,
                    "kl": {other.recipe: other.kl for other in self.options[part]},
                }
                for part, option in self.chosen.items()
            },
        }


def fitting(architecture: GPT2Architecture) -> list[str]:
    """The recipes that a mix for this model can have."""
    return [name for name in MIXED if RECIPES[name].fits(architecture.width, architecture.inner)]


def matrix_names(part: str) -> list[str]:
    """What ExportableGPT2 calls the matrices of a part such as "3.qkv"."""
    layer, inputs = part.split(".")
    return [matrix_name(int(layer), matrix) for matrix in getattr(MATRICES, inputs)]


def export_sensitivities(export: Export, text: Path, output: Path, report: Callable[[int], None]) -> None:
    """Write the sensitivities of a checkpoint to `output`. `report` is called with the number of layers done."""
    checkpoint, tokens, done = export.open(), read_tokens(text), count(1)
    measured = tokens[: max(1, MEASURED // tokens.shape[1])]
    roundings = {name: _rounding(RECIPES[name].layers) for name in fitting(checkpoint.architecture)}
    found = sensitivities(checkpoint, tokens, measured, roundings, lambda: report(next(done)))
    output.write_text(json.dumps(found))


def read_sensitivities(path: Path) -> list[Sensitivity]:
    """What `export_sensitivities` wrote."""
    return [Sensitivity(*values) for values in json.loads(path.read_text())]


def _rounding(storage: Storage) -> Rounding:
    if storage == INT8:
        return lambda matrix, hessian: nearest("", matrix, storage)
    return lambda matrix, hessian: gptq(matrix, hessian, storage)


def choose_mix(found: Sequence[Sensitivity], weights: Mapping[str, ExportedWeight], graph: Path, limit: Limit) -> Mix:
    """The mix that is closest to the checkpoint within `limit.size`, or the smallest within `limit.kl`.

    Raises BundleError where there is none.
    """
    options: dict[str, list[Option]] = {}
    for layer, part, recipe, kl in found:
        key, storage = f"{layer}.{part}", RECIPES[recipe].layers
        size = sum(_stored_bytes(storage, weights[name].shape) for name in matrix_names(key))
        options.setdefault(key, []).append(Option(recipe, size, kl))

    if limit.kl is not None:
        if chosen := smallest_mix(options, limit.kl):
            return Mix(limit, chosen, options)
        least = sum(min(option.kl for option in part) for part in options.values())
        raise BundleError(f"`max_kl` {limit.kl:g}: the closest mix has {least:.2g} nats; give more, or use fp16")

    smallest = Mix(
        limit, {part: min(every, key=lambda option: option.bytes) for part, every in options.items()}, options
    )
    rest = model_size(graph, weights, smallest.recipe()) - sum(option.bytes for option in smallest.chosen.values())
    # The graph describes blocks of weights in more bytes than rows, so the rest depends a little on what is chosen.
    while chosen := closest_mix(options, limit.size - rest):
        mix = Mix(limit, chosen, options)
        excess = model_size(graph, weights, mix.recipe()) - limit.size
        if excess <= 0:
            return mix
        rest += excess
    size = model_size(graph, weights, smallest.recipe())
    raise BundleError(
        f"`max_size` {limit.size / 1e6:g}: the smallest mix has {size / 1e6:.1f} MB; give as much, or fewer signatures"
    )


def _stored_bytes(storage: Storage, shape: tuple[int, int]) -> int:
    """The bytes of a matrix [out, in] with its scales."""
    outputs, inputs = shape
    return storage.bytes(shape) + (2 * outputs * inputs // storage.block if storage.block else 4 * outputs)
