"""A trained adapter -> the folder that PEFT's `save_pretrained` would write, without PyTorch and PEFT."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Mapping

import numpy as np

from lora_weights.peft_adapter import SAFETENSORS
from lora_weights.peft_config import ATTENTION, CONFIG


def write_peft_folder(
    folder: Path, tensors: Mapping[str, np.ndarray], rank: int, alpha: float, base: str = "", rslora: bool = False
) -> None:
    """Write `tensors`, float32 by PEFT's names, as an adapter of both attention modules in all layers."""
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        **({"base_model_name_or_path": base} if base else {}),
        "r": rank,
        "lora_alpha": alpha,
        "use_rslora": rslora,
        "target_modules": list(ATTENTION),
        "fan_in_fan_out": True,
        "bias": "none",
        "inference_mode": True,
    }
    (folder / CONFIG).write_text(json.dumps(config))
    save_file(
        {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, folder / SAFETENSORS, {"format": "pt"}
    )
