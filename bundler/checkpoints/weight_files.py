"""The tensors stored in safetensors and pytorch_model.bin files: names and shapes now, data when asked.

A tensor is mapped from its file, so what is read is what is touched. Pickle is only ever opened by
lora_weights/torch_file.py, which runs no code from the file.
"""

from __future__ import annotations

import pickle
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Hashable, Iterable, NamedTuple

import torch
from safetensors import SafetensorError, safe_open

from bundler.checkpoints.architecture import read_json
from bundler.errors import BundleError
from bundler.system.file_identity import file_identity
from bundler.system.native_path import native_path
from lora_weights.torch_file import load_torch_file, unreadable
from tokenizer_tools.errors import brief

# In the order transformers looks for them.
SAFETENSORS, SAFETENSORS_INDEX = "model.safetensors", "model.safetensors.index.json"
BIN, BIN_INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"
WEIGHT_FILES = (SAFETENSORS, SAFETENSORS_INDEX, BIN, BIN_INDEX)

FLOATS = {torch.float16, torch.bfloat16, torch.float32, torch.float64}
SAFETENSORS_FLOATS = {"F16", "BF16", "F32", "F64"}

# GPT-2 XL's has 60 KB; what is parsed takes many times the memory.
LARGEST_HEADER = 8 << 20
LONGEST_NAME = 200


@dataclass(frozen=True)
class StoredTensor:
    """One tensor in a file. `read()` gives it as stored, sharing memory with the file's map: copy before writing."""

    file: Path
    shape: tuple[int, ...]
    read: Callable[[], torch.Tensor]


def find_weights(folder: Path) -> Path | None:
    """The weights file, or the index of the shards, that a Hugging Face folder is read from; None if there is none."""
    return next((folder / name for name in WEIGHT_FILES if (folder / name).is_file()), None)


def shard_names(index: Path) -> dict[str, str]:
    """An index's map from tensor to file name. Raises BundleError unless it names plain files of its own folder."""
    weight_map = read_json(index).get("weight_map")
    if (
        not isinstance(weight_map, dict)
        or not weight_map
        or not all(isinstance(file, str) for file in weight_map.values())
    ):
        raise BundleError(f"{index} has no weight_map from tensor to file; download it again")
    check_names(weight_map, index)
    suffix = ".safetensors" if index.name == SAFETENSORS_INDEX else ".bin"
    for file in set(weight_map.values()):
        # A path that leaves the folder would let a downloaded index read any file of this machine.
        if (
            "/" in file
            or "\\" in file
            or not file.endswith(suffix)
            or len(file) > LONGEST_NAME
            or not file.isprintable()
        ):
            raise BundleError(
                f"{index} names the shard {brief(file)}; the name of a {suffix} file beside it was expected"
            )
    return weight_map


class Weights(NamedTuple):
    """Tensors by stored name, and the files they are in."""

    tensors: dict[str, StoredTensor]
    files: list[Path]


def read_weights(path: Path) -> Weights:
    """All tensors of a weights file or a sharded index.

    Raises BundleError when a file is missing, truncated, holds code, or disagrees with its index.
    """
    if path.name not in (SAFETENSORS_INDEX, BIN_INDEX):
        return Weights(_read_file(path), [path])
    weight_map = shard_names(path)
    shards = {}
    for file in sorted(set(weight_map.values())):
        if not (path.parent / file).is_file():
            raise BundleError(
                f"{path.parent / file} is missing, though {path.name} names it; download the checkpoint again"
            )
        shards[file] = _read_file(path.parent / file)
    for name, file in weight_map.items():
        if name not in shards[file]:
            raise BundleError(
                f"{path.parent / file} does not hold {name}, though {path.name} says so; download the checkpoint again"
            )
    return Weights(
        {name: shards[file][name] for name, file in weight_map.items()},
        [path, *(path.parent / file for file in shards)],
    )


def _read_file(path: Path) -> dict[str, StoredTensor]:
    try:
        with open(path, "rb") as file:
            start = file.read(18)
    except OSError as error:
        raise BundleError(f"{path} cannot be read ({error.strerror}); check its permissions") from None
    if start == b"version https://gi":
        raise BundleError(f"{path} is a Git LFS pointer, not the weights; run `git lfs pull` in that folder")
    if path.suffix == ".safetensors":
        if len(start) >= 8 and LARGEST_HEADER < struct.unpack_from("<Q", start)[0] <= path.stat().st_size:
            raise BundleError(
                f"{path} has a header of more than {LARGEST_HEADER:,} bytes, which no GPT-2 needs; download or save it "
                "again"
            )
        stored = _read_safetensors(path)
    else:
        stored = _read_bin(path)
    check_names(stored, path)
    return stored


def check_names(names: Iterable[str], path: Path) -> None:
    """Raise BundleError unless tensors' names are fit to be printed. GPT-2's have 35 characters at most."""
    if strange := next((name for name in names if len(name) > LONGEST_NAME or not name.isprintable()), None):
        raise BundleError(
            f"{path} holds a tensor named {brief(strange)}; a printable name of at most {LONGEST_NAME} characters was "
            "expected. Download or save it again"
        )


def _read_safetensors(path: Path) -> dict[str, StoredTensor]:
    try:
        with safe_open(native_path(path, "safetensors"), framework="pt") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}
            found = {name: (tuple(part.get_shape()), part.get_dtype()) for name, part in slices.items()}
            identity = file_identity(path)
    except (SafetensorError, OSError, MemoryError) as error:
        raise BundleError(
            f"{path} is not a complete safetensors file ({str(error)[:200]}); download or save it again"
        ) from None
    return {
        name: StoredTensor(path, shape, _safetensors_reader(path, identity, name, dtype))
        for name, (shape, dtype) in found.items()
    }


def _safetensors_reader(path: Path, identity: Hashable, name: str, dtype: str) -> Callable[[], torch.Tensor]:
    def read() -> torch.Tensor:
        if dtype not in SAFETENSORS_FLOATS:
            raise BundleError(_not_floats(path, name, dtype))
        if not _is_still(path, identity):
            raise BundleError(f"{path} was changed or removed while it was read; start again when it is complete")
        # A map for each tensor: what was read of a file stays in memory as long as its map.
        with safe_open(native_path(path, "safetensors"), framework="pt") as file:
            return file.get_tensor(name)

    return read


def _is_still(path: Path, identity: Hashable) -> bool:
    try:
        return file_identity(path) == identity
    except OSError:
        return False


def _read_bin(path: Path) -> dict[str, StoredTensor]:
    state = load_pickle(path)
    if (
        not isinstance(state, dict)
        or not state
        or not all(isinstance(name, str) and isinstance(tensor, torch.Tensor) for name, tensor in state.items())
    ):
        raise BundleError(f"{path} does not hold named tensors; a state dict saved by transformers was expected")
    return {name: tensor_in_pickle(path, name, tensor) for name, tensor in state.items()}


def tensor_in_pickle(path: Path, name: str, tensor: torch.Tensor) -> StoredTensor:
    """A StoredTensor over an unpickled one, which is still mapped from the file."""

    def read() -> torch.Tensor:
        if reason := unreadable(tensor):
            raise BundleError(
                f"{path} holds {name} as {reason}; a plain tensor was expected. Save the model with save_pretrained"
            )
        if tensor.dtype not in FLOATS:
            raise BundleError(_not_floats(path, name, str(tensor.dtype).removeprefix("torch.")))
        return tensor.detach()

    return StoredTensor(path, tuple(tensor.shape), read)


def load_pickle(path: Path) -> object:
    """What torch.save wrote to `path`: tensors and plain values only, the tensors mapped from the file.

    A file from before PyTorch 1.6 is no zip and cannot be mapped: it is read whole.
    Raises BundleError when loading it would run code, or it is damaged.
    """
    native_path(path, "PyTorch")
    try:
        return load_torch_file(path)
    except pickle.UnpicklingError as error:
        raise BundleError(
            f"{path} cannot be loaded without running code from it, which is never done ({error}). If you trust it, "
            "convert it to safetensors: load it with what wrote it, and save the model with save_pretrained"
        ) from None
    except ValueError as error:
        raise BundleError(
            f"{path} is damaged or not written by torch.save ({error}); download or save it again"
        ) from None


def _not_floats(path: Path, name: str, dtype: str) -> str:
    return (
        f"{path} holds {name} as {dtype}; float16, bfloat16, float32 or float64 was expected. "
        "Give the checkpoint it was quantized from"
    )
