"""Where a training computes, and in what precision: what this machine is fastest with, or what was asked for."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TypeVar

import torch

from gpt2_training.errors import RecipeError
from gpt2_training.loop import TrainConfig

DEVICES = ("cpu", "cuda", "mps")
# Bytes for each parameter: its value, its gradient, and AdamW's two moments, in float32.
_BYTES_TRAINED = 16

Config = TypeVar("Config", bound=TrainConfig)


def settled(config: Config) -> Config:
    """The config with `device` and `bfloat16` decided. Raises RecipeError for a device that is not there.

    bfloat16 pays where the hardware multiplies it: GPUs since Ampere, CPUs with AMX or AVX-512 BF16. Elsewhere a CPU
    emulates it, which takes longer than float32.
    """
    there = [name for name in DEVICES if _is_there(name)]
    device = config.device or there[-1]
    if device not in there:
        raise RecipeError(
            f"`device` {device}: PyTorch {torch.__version__} finds none here; it finds {', '.join(there)}; give one of "
            "them, or none"
        )
    bfloat16 = _has_bfloat16(device) if config.bfloat16 is None else config.bfloat16
    return replace(config, device=device, bfloat16=bfloat16)


def check_memory(parameters: int, device: str) -> None:
    """Raise RecipeError for a model that this machine has too little memory to train, before it is made."""
    if device == "cuda":
        memory = torch.cuda.mem_get_info()[1]
    else:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if (needed := parameters * _BYTES_TRAINED) > memory:
        raise RecipeError(
            f"a model of {parameters:,} parameters takes {needed / 1e9:,.1f} GB to train, and there are "
            f"{memory / 1e9:,.1f}; give a smaller `layers`, `width`, `vocabulary` or `context`"
        )


def _is_there(device: str) -> bool:
    return {
        "cpu": lambda: True,
        "cuda": torch.cuda.is_available,
        "mps": torch.backends.mps.is_available,
    }[device]()


def _has_bfloat16(device: str) -> bool:
    if device == "cuda":
        return torch.cuda.get_device_capability() >= (8, 0)
    if device == "cpu":  # torch's own names for what /proc/cpuinfo says; they are not there in every version
        probes = (
            getattr(torch.cpu, name, lambda: False) for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
        )
        return any(probe() for probe in probes)
    return False
