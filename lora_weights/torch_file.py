"""What torch.save wrote, opened without running code from it and within bounds.

torch.load(weights_only=True) runs no code, but a file can still make it take all memory (a compressed archive, a
tensor that claims more elements than its storage has) or end the process (tuples nested so deep that hashing them
overflows the stack). So the instructions of the pickle are read first.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import re
import struct
import zipfile
from pathlib import Path
from typing import BinaryIO

import torch

# GPT-2 XL's has 100 KB, and nanoGPT's with its optimizer three times as much.
_LARGEST_PICKLE = 2 << 20
_LARGEST_TUPLE = 10_000
_PICKLES_BEFORE_ZIP = 5  # magic number, protocol, system, the object, its storages' keys
# What tensors and plain values are made of. torch's own list has more, some of which allocate whatever they are told
# to.
_HARMLESS = re.compile(
    r"collections OrderedDict|"
    r"torch\._utils _rebuild_(tensor|tensor_v2|parameter|parameter_with_state|sparse_tensor|qtensor)|"
    r"torch\.nn\.parameter Parameter|torch \w+Storage|torch\.storage (Untyped|Typed)Storage|"
    r"_codecs encode|(__builtin__|builtins) (set|complex)|"
    r"torch\.serialization _get_layout|torch (Size|device|bool|per_\w+|(b?float|u?int|complex|quint|qint)\w+)"
)


def load_torch_file(path: Path) -> object:
    """The object in the file. Its tensors are mapped, except from a file of PyTorch before 1.6, which is no zip.

    Raises pickle.UnpicklingError when loading it would run code, and ValueError when it is damaged or built to exhaust
    the machine. Each message is one short reason.
    """
    try:
        with open(path, "rb") as file:
            zipped = file.read(4) == b"PK\x03\x04"
            file.seek(0)
            if zipped:
                _check_archive(file)
            else:
                for _ in range(_PICKLES_BEFORE_ZIP):
                    _check_pickle(file)
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except pickle.UnpicklingError as error:
        raise pickle.UnpicklingError(_first_line(error)) from None
    except (
        ValueError,
        RuntimeError,
        OSError,
        EOFError,
        LookupError,
        AttributeError,
        TypeError,
        AssertionError,
        MemoryError,
        struct.error,
        zipfile.BadZipFile,
    ) as error:
        raise ValueError(_first_line(error)) from None


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _check_archive(file: BinaryIO) -> None:
    with zipfile.ZipFile(file) as archive:
        for entry in archive.infolist():
            if entry.compress_type != zipfile.ZIP_STORED:
                raise ValueError(f"{entry.filename[:80]!r} in it is compressed, which torch.save never does")
            if entry.filename.lower().endswith("data.pkl"):  # torch's reader takes no notice of case
                if entry.file_size > _LARGEST_PICKLE:
                    raise ValueError(
                        f"its pickle has {entry.file_size:,} bytes, where {_LARGEST_PICKLE:,} are the limit"
                    )
                entry.CRC = None  # torch can save without
                _check_pickle(io.BytesIO(archive.read(entry)))


def _check_pickle(file: BinaryIO) -> None:
    """Follow one pickle up to its end, keeping of each value only its size: how many values a tuple holds, on all
    levels.

    Tuples alone can be hashed, as keys of a dict or members of a set, and hold others at the same time.
    """
    stack, marks, memo = [], [], {}
    start = file.tell()
    for code, argument, position in pickletools.genops(file):
        if code.name == "GLOBAL" and not _HARMLESS.fullmatch(argument):
            raise pickle.UnpicklingError(f"it names {argument.replace(' ', '.', 1)[:100]!r}")
        if code.name in (
            "STACK_GLOBAL",
            "INST",
            "OBJ",
        ):  # torch.save writes protocol 2, which names things by GLOBAL alone
            raise pickle.UnpicklingError(f"it has the instruction {code.name}")
        if position - start > _LARGEST_PICKLE:
            raise ValueError(f"its pickle has more than {_LARGEST_PICKLE:,} bytes")
        if code.name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            memo[len(memo) if argument is None else argument] = stack[-1]
            continue
        if code.name == "MARK":
            marks.append(len(stack))
            continue
        before = code.stack_before
        first = (
            marks.pop() - before.index(pickletools.markobject)
            if pickletools.markobject in before
            else len(stack) - len(before)
        )
        if first < 0:
            raise ValueError("its pickle takes more from the stack than there is")
        size = memo[argument] if code.name in ("GET", "BINGET", "LONG_BINGET") else 1
        if code.name.startswith("TUPLE"):
            size += sum(stack[first:])
            if size > _LARGEST_TUPLE:
                raise ValueError(f"it nests tuples of more than {_LARGEST_TUPLE:,} values")
        stack[first:] = [size] * len(code.stack_after)


def unreadable(tensor: torch.Tensor) -> str | None:
    """Why a loaded tensor cannot be read as what its file stores; None if it can."""
    if tensor.layout != torch.strided or tensor.device.type != "cpu":
        return f"{tensor.layout} on {tensor.device.type}"
    if tensor.is_quantized:
        return str(tensor.dtype).removeprefix("torch.")
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        return f"{tensor.numel():,} elements over a storage of {tensor.untyped_storage().nbytes():,} bytes"
    return None
