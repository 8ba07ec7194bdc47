"""From the tensors a checkpoint's files hold to the tensors of the GPT-2 its config describes."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch

from bundler.checkpoints.architecture import GPT2Architecture
from bundler.checkpoints.weight_files import StoredTensor
from bundler.errors import BundleError

# What a GPT-2's file may hold and the language model does not use: the causal masks that older versions
# of transformers saved, and the second head of GPT2DoubleHeadsModel.
IGNORED = re.compile(r"h\.\d+\.attn\.(bias|masked_bias)|multiple_choice_head\..*")

# What DataParallel, torch.compile and the usual trainers put before every name of the model they hold.
WRAPPERS = ("module.", "_orig_mod.", "model.", "_forward_module.")

# Enough rows to be fast; few enough that temporaries stay small beside the embedding.
ROWS_AT_ONCE = 4096


class CanonicalModel(NamedTuple):
    """The architecture with `tied_head` as the tensors have it, and exactly its tensors, canonically named."""

    architecture: GPT2Architecture
    tensors: dict[str, StoredTensor]


def canonical_tensors(stored: dict[str, StoredTensor], architecture: GPT2Architecture, where: Path) -> CanonicalModel:
    """Name the tensors of a checkpoint, and see whether its head is tied.

    Canonical is without the prefix "transformer.", and without those of WRAPPERS that all names have. `where` names
    the checkpoint in errors. Raises BundleError when tensors are missing, unknown or of another shape.
    """
    named: dict[str, StoredTensor] = {}
    for name, tensor in _unwrapped(stored).items():
        short = name.removeprefix("transformer.")
        if IGNORED.fullmatch(short):
            continue
        if short in named:
            raise BundleError(
                f'{where} holds {short} twice, with and without the prefix "transformer."; save the model again'
            )
        named[short] = tensor
    architecture = replace(architecture, tied_head=_settle_head(named, architecture))
    _check(named, architecture, where)
    return CanonicalModel(architecture, {name: named[name] for name in architecture.tensor_shapes()})


def _unwrapped(stored: dict[str, StoredTensor]) -> dict[str, StoredTensor]:
    while prefix := next(
        (prefix for prefix in WRAPPERS if stored and all(name.startswith(prefix) for name in stored)), None
    ):
        stored = {name.removeprefix(prefix): tensor for name, tensor in stored.items()}
    return stored


def _settle_head(named: dict[str, StoredTensor], architecture: GPT2Architecture) -> bool:
    """Whether the head is tied, by what transformers 5.23.0 does (PreTrainedModel.tie_weights).

    Both matrices stored: tied only if they are equal, whatever the config says. One stored: it serves as
    both if the config ties them. Moves a lone lm_head.weight to wte.weight; drops an equal one.
    """
    head, embedding = named.get("lm_head.weight"), named.get("wte.weight")
    if head is None:
        return architecture.tied_head  # an untied one is then reported missing
    if embedding is None:
        if architecture.tied_head:
            named["wte.weight"] = named.pop("lm_head.weight")
        return architecture.tied_head
    if head.shape != embedding.shape or not _equal(head.read(), embedding.read()):
        return False
    del named["lm_head.weight"]
    return True


def _equal(head: torch.Tensor, embedding: torch.Tensor) -> bool:
    if (
        head.data_ptr() == embedding.data_ptr()
        and head.dtype == embedding.dtype
        and head.stride() == embedding.stride()
    ):
        return True  # a .bin stores tied matrices once
    return all(
        torch.equal(a.float(), b.float()) for a, b in zip(head.split(ROWS_AT_ONCE), embedding.split(ROWS_AT_ONCE))
    )


def _check(named: dict[str, StoredTensor], architecture: GPT2Architecture, where: Path) -> None:
    if architecture.layers > len(named):  # an absurd number must not become a list of tensors
        raise BundleError(
            f"{where}: the config says {architecture.layers} layers, but the weights hold {len(named)} "
            "tensors in all; they do not belong together"
        )
    shapes = architecture.tensor_shapes()
    if named and not any(name in shapes for name in named):
        prefix = os.path.commonprefix(list(named)).rpartition(".")[0]
        advice = (
            f"All begin with {prefix + '.'!r}: where you load the state dict, say "
            f"{{name.removeprefix({prefix + '.'!r}): tensor for name, tensor in "
            "state.items()}, and save that"
            if prefix
            else "Give a GPT-2, or save the model with transformers' save_pretrained"
        )
        raise BundleError(
            f"{where} holds {_listed(list(named))} of names that no GPT-2 has; wte.weight, h.0.ln_1.weight and so on "
            "were expected, "
            f'with or without "transformer.". {advice}'
        )
    if missing := [name for name in shapes if name not in named]:
        raise BundleError(
            f"{where} lacks {_listed(missing)} of the {len(shapes)} tensors of the GPT-2 its config "
            "describes; save or download the whole model again"
        )
    if unknown := [name for name in named if name not in shapes]:
        raise BundleError(
            f"{where} holds {_listed(unknown)} that the GPT-2 its config describes does not have: it is "
            "another model, or the config is another's. Save it as a GPT2LMHeadModel"
        )
    for name, shape in shapes.items():
        if named[name].shape != shape:
            raise BundleError(
                f"{where}: {name} has the shape {list(named[name].shape)}, but its config makes it "
                f"{list(shape)}; give the config that belongs to these weights"
            )


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
    return f"{len(names)} tensor{'s' if len(names) > 1 else ''} ({shown})"
