"""A PEFT LoRA folder for GPT-2 -> Adapter: adapter_config.json with adapter_model.safetensors or adapter_model.bin.

GPT-2's attention has one fused matrix c_attn: its A is shared by q, k and v, its B is cut into three row blocks.
attn.c_proj is o.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Iterable, NamedTuple

import numpy as np

from lora_weights.adapter import Adapter, LowRank, check_finite
from lora_weights.card import licence_of
from lora_weights.errors import LoraError
from lora_weights.peft_config import (
    ATTENTION,
    CONFIG,
    KEEP,
    OTHER_LINEAR,
    Module,
    read_config,
    read_json,
    refuse_more_than_pairs,
    targeted_modules,
)
from tokenizer_tools.errors import brief
from tokenizer_tools.printable import printable

SAFETENSORS, BIN = "adapter_model.safetensors", "adapter_model.bin"
# Beside PEFT's own files, written by `task-bundler lora train`: how the adapter was made, and on which base.
RECORD = "training.json"

# A module's last two names -> what its rows of B are for.
_PROJECTIONS = {
    ("attn", "c_attn"): ("q", "k", "v"),
    ("attn", "c_proj"): ("o",),
    ("mlp", "c_fc"): ("c_fc",),
    ("mlp", "c_proj"): ("c_proj",),
}

# An adapter of rank 256 for every linear layer of GPT-2 XL has 340 MB.
LARGEST_WEIGHTS = 512 << 20
# GPT-2 XL has 48. The number comes from a tensor's name, and so many layers are then looked at.
MOST_LAYERS = 1000


def read_peft(folder: Path, layers: int | None = None, mlp: bool = False) -> Adapter:
    """Read a PEFT folder. `layers`: how many the base has; without it, the adapter's last layer is taken for the last.
    `mlp`: take pairs of the MLP too.

    Raises LoraError for what is no LoRA adapter of GPT-2's attention (or MLP), is incomplete, holds more than its
    config says, or has NaN or infinite values.
    """
    config = read_config(folder)
    refuse_more_than_pairs(config, folder / CONFIG)
    stored = read_tensors(folder)
    file = stored.file
    matrices = {_split_key(key, file): tensor for key, tensor in stored.tensors.items()}
    in_layers = [
        int(match[1]) for module, _ in matrices if (match := re.match(r"(?:transformer\.)?h\.(\d+)\.", module))
    ]
    if layers is not None and in_layers and max(in_layers) >= layers:
        deep = next(key for key in stored.tensors if f"h.{max(in_layers)}." in key)
        raise LoraError(f"{file} holds {deep}, but the base has only {layers} layers; give the model it was trained on")
    if in_layers and max(in_layers) >= MOST_LAYERS:
        raise LoraError(
            f"{file} holds tensors of layer {max(in_layers)}; no GPT-2 has more than {MOST_LAYERS} layers. Give an "
            "adapter of a GPT-2"
        )
    layers = layers if layers is not None else max(in_layers, default=-1) + 1
    prefix = "transformer." if any(module.startswith("transformer.") for module, _ in matrices) else ""
    allowed = (*ATTENTION, *OTHER_LINEAR) if mlp else ATTENTION
    modules = targeted_modules(config, layers, prefix, folder / CONFIG, allowed)
    _check_complete(modules, matrices, file)
    first = modules[0].name
    narrow = matrices[first, "B"].shape[:1] if first.endswith("mlp.c_proj") else matrices[first, "A"].shape[-1:]
    width = (narrow or (0,))[0]
    pairs = {}
    for module in modules:
        pairs.update(_pairs(module, matrices[module.name, "A"], matrices[module.name, "B"], width, file))
    return Adapter(
        adapter_name(folder),
        layers,
        width,
        pairs,
        alpha=config.get("lora_alpha"),
        licence=licence_of(folder),
        base_fingerprint=_fingerprint(folder),
    )


def adapter_name(folder: Path) -> str:
    """The folder's name; for a snapshot in huggingface_hub's cache, whose name is a commit, that of the repository."""
    path = folder.resolve()
    repository = path.parent.parent.name
    if path.parent.name == "snapshots" and repository.startswith("models--"):
        return printable(repository.rpartition("--")[2])
    return printable(path.name)


class StoredAdapter(NamedTuple):
    """Every tensor as float32 by PEFT's key, and the file."""

    tensors: dict[str, np.ndarray]
    file: Path


def read_tensors(folder: Path) -> StoredAdapter:
    """The tensors in a PEFT folder. Raises LoraError.

    Without PyTorch where possible, because its import takes 300 MB.
    """
    path = next((folder / name for name in (SAFETENSORS, BIN) if (folder / name).is_file()), None)
    if path is None:
        raise LoraError(
            f"{folder} has neither {SAFETENSORS} nor {BIN}; expected a folder that PEFT's save_pretrained wrote"
        )
    if path.stat().st_size > LARGEST_WEIGHTS:
        raise LoraError(
            f"{path} has {path.stat().st_size / 1e6:,.0f} MB, where {LARGEST_WEIGHTS / 1e6:,.0f} are the limit: no "
            "LoRA adapter of a GPT-2 is so large. Give the adapter, not the model"
        )
    try:
        tensors = _read_safetensors(path) if path.name == SAFETENSORS else _read_bin(path)
    except OSError as error:
        raise LoraError(f"{path} cannot be read ({error.strerror}); check its permissions") from None
    if not tensors:
        raise LoraError(f"{path} holds no tensors; save the adapter again")
    for name, tensor in tensors.items():
        check_finite(name, tensor, str(path))
    return StoredAdapter(tensors, path)


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError, deserialize

    try:
        stored = deserialize(path.read_bytes())
    except SafetensorError as error:
        raise LoraError(
            f"{path} is not a complete safetensors file ({str(error)[:200]}); save or copy the adapter again"
        ) from None
    _check_names((name for name, _ in stored), path)
    return {name: _floats(name, part["dtype"], part["shape"], part["data"], path) for name, part in stored}


def _read_bin(path: Path) -> dict[str, np.ndarray]:
    import pickle

    import torch

    from lora_weights.torch_file import load_torch_file, unreadable

    try:
        stored = load_torch_file(path)
    except pickle.UnpicklingError as error:
        raise LoraError(
            f"{path} cannot be loaded without running code from it ({error}); save the adapter as safetensors"
        ) from None
    except ValueError as error:
        raise LoraError(
            f"{path} is damaged or not written by torch.save ({error}); save the adapter as safetensors"
        ) from None
    if not isinstance(stored, dict) or not all(
        isinstance(name, str) and isinstance(tensor, torch.Tensor) for name, tensor in stored.items()
    ):
        raise LoraError(f"{path} does not hold named tensors; expected a file that PEFT's save_pretrained wrote")
    _check_names(stored, path)
    for name, tensor in stored.items():
        if (reason := unreadable(tensor)) or not tensor.is_floating_point():
            raise LoraError(
                f"{path} holds {name} as {reason or tensor.dtype}; floating-point numbers were expected; save it as "
                "safetensors"
            )
    return {name: tensor.detach().float().numpy() for name, tensor in stored.items()}


def _check_names(names: Iterable[str], path: Path) -> None:
    """Raise LoraError unless the names are fit to be printed. PEFT's have some 60 characters."""
    if strange := next((name for name in names if len(name) > 200 or not name.isprintable()), None):
        raise LoraError(
            f"{path} holds a tensor named {brief(strange)}; a printable name of at most 200 characters was expected"
        )


def _floats(name: str, dtype: str, shape: list[int], data: bytes, path: Path) -> np.ndarray:
    if dtype == "BF16":  # the upper half of a float32
        return (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32).reshape(shape)
    if dtype not in ("F16", "F32", "F64"):
        raise LoraError(
            f"{path} holds {name} as {dtype}; float16, bfloat16, float32 or float64 was expected; save it as one of "
            "them"
        )
    with np.errstate(over="ignore"):  # what overflows is refused as infinite
        return np.frombuffer(data, f"<f{int(dtype[1:]) // 8}").astype(np.float32).reshape(shape)


def _split_key(key: str, file: Path) -> tuple[str, str]:
    """PEFT's key as (module, A or B)."""
    match = re.fullmatch(r"base_model\.model\.(.+)\.lora_([AB])\.weight", key)
    if not match or re.search(r"(^|\.)(modules_to_save|base_layer)(\.|$)", match[1]):
        raise LoraError(
            f"{file} holds {key}, which is no factor of a LoRA pair; an adapter file carries those of attention only. "
            f"{KEEP}"
        )
    return match[1], match[2]


def _check_complete(modules: list[Module], matrices: dict, file: Path) -> None:
    expected = {(module.name, factor) for module in modules for factor in "AB"}
    if missing := sorted(expected - matrices.keys()):
        raise LoraError(
            f"{file} lacks {_listed(missing)} of the {len(expected)} tensors its config describes for this base; save "
            "the adapter again, or give the model it was trained on"
        )
    if extra := sorted(matrices.keys() - expected):
        raise LoraError(f"{file} holds {_listed(extra)} that its config does not target; save the adapter again")


def _listed(names: list[tuple[str, str]]) -> str:
    shown = ", ".join(f"{module}.lora_{factor}.weight" for module, factor in names[:3]) + (
        ", …" if len(names) > 3 else ""
    )
    return f"{len(names)} tensor{'s' if len(names) > 1 else ''} ({shown})"


def _pairs(module: Module, a: np.ndarray, b: np.ndarray, width: int, file: Path) -> dict[tuple[int, str], LowRank]:
    if not width:
        raise LoraError(
            f"{file}: {module.name}.lora_A.weight has the shape {list(a.shape)}; rank and width were expected to be "
            "positive"
        )
    projections = _PROJECTIONS[tuple(module.name.split(".")[-2:])]
    # How wide the MLP is inside, only the adapter's own matrices say here; the base is held against them later.
    inputs = (a.shape or (0,))[-1] if projections == ("c_proj",) else width
    outputs = (b.shape or (0,))[0] if projections == ("c_fc",) else len(projections) * width
    for factor, tensor, shape in (("A", a, (module.rank, inputs)), ("B", b, (outputs, module.rank))):
        if tensor.shape != shape:
            raise LoraError(
                f"{file}: {module.name}.lora_{factor}.weight has the shape {list(tensor.shape)}, but rank "
                f"{module.rank} and a width of {width} make it {list(shape)}; the config and the weights do not belong "
                "together"
            )
    layer = int(re.search(r"h\.(\d+)\.", module.name)[1])
    with np.errstate(over="ignore"):
        scaled = np.ascontiguousarray((a.T.astype(np.float64) * module.scaling).astype(np.float32))
    check_finite(f"{module.name}.lora_A.weight times {module.scaling:g} (alpha / rank)", scaled, str(file))
    return {
        (layer, projection): _without_zeros(scaled, np.ascontiguousarray(block.T))
        for projection, block in zip(projections, np.split(b, len(projections)))
    }


def _without_zeros(a: np.ndarray, b: np.ndarray) -> LowRank:
    """The pair without the columns of `a` whose row of `b` is zeros: in an A for q, k and v, some may be for one of
    them. At least one is left.
    """
    used = b.any(axis=1)
    if used.all():
        return LowRank(a, b)
    used[0] |= not used.any()
    return LowRank(np.ascontiguousarray(a[:, used]), b[used])


def _fingerprint(folder: Path) -> str | None:
    """The base's, from the record of the training, if there is one."""
    path = folder / RECORD
    record = read_json(path, "remove it, or train the adapter again") if path.is_file() else {}
    fingerprint = record.get("base_fingerprint") if isinstance(record, dict) else None
    if fingerprint is not None and not isinstance(fingerprint, str):
        raise LoraError(
            f"{path} has base_fingerprint {brief(fingerprint)}; a SHA-256 was expected. Remove it, or train the "
            "adapter again"
        )
    return fingerprint
