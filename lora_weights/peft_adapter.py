"""A PEFT LoRA folder for GPT-2 -> Adapter: adapter_config.json with adapter_model.safetensors or adapter_model.bin.

GPT-2's attention has one fused matrix c_attn: its A is shared by q, k and v, its B is cut into three row blocks.
attn.c_proj is o. Which modules a config targets, and with which rank and alpha, follows peft 0.21.2
(tuners_utils.check_target_module_exists, other.get_pattern_key), so that a tensor that should be there and is not
can be told from one that was never trained.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lora_weights.adapter import Adapter, LowRank, check_finite
from lora_weights.errors import LoraError
from tokenizer_tools.printable import printable

CONFIG, SAFETENSORS, BIN = "adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"
# Beside PEFT's own files, written by `task-bundler lora train`: how the adapter was made, and on which base.
RECORD = "training.json"

KEEP = "`task-bundler lora merge MODEL ADAPTER -o DIR` merges it into a checkpoint, which keeps it"

# Fields that make the adapter more, or something else, than two matrices beside a linear layer: the values that
# change nothing, and what the others do.
REFUSED_FIELDS = {
    "use_dora": ((False, None), "rescales the merged weights (DoRA)"),
    "modules_to_save": ((None, []), "replaces whole modules of the model"),
    "bias": (("none", None), "trains biases of the model"),
    "lora_bias": ((False, None), "gives the adapter a bias of its own"),
    "trainable_token_indices": ((None, [], {}), "trains rows of the embedding"),
    "target_parameters": ((None, []), "adapts parameters outside of linear layers"),
    "layer_replication": ((None, []), "changes which layers the model has"),
    "alora_invocation_tokens": ((None, []), "acts only after certain tokens"),
    "use_qalora": ((False, None), "pools the adapter's input"),
    "use_bdlora": ((None, False), "gives the adapter block-diagonal factors"),
    "arrow_config": ((None,), "mixes several adapters at run time"),
    "kasa_config": ((None,), "adds singular values to the adapter"),
    "monteclora_config": ((None,), "samples the adapter at random"),
    "megatron_config": ((None,), "is for layers that are split over machines"),
}
# Initialisations that take their start out of the base's weights: the adapter then belongs to weights that are not saved.
HARMLESS_INITIALISATIONS = (True, False, "gaussian", "eva", "orthogonal", None)
# Fields that do not change what the adapter computes, or that are taken account of below.
KNOWN_FIELDS = {
    "alpha_pattern", "auto_mapping", "base_model_name_or_path", "corda_config", "ensure_weight_tying", "eva_config", "exclude_modules",
    "fan_in_fan_out", "inference_mode", "init_lora_weights", "layers_pattern", "layers_to_transform", "loftq_config", "lora_alpha",
    "lora_dropout", "lora_ga_config", "megatron_core", "peft_type", "peft_version", "qalora_group_size", "r", "rank_pattern",
    "revision", "runtime_config", "target_modules", "task_type", "use_rslora", "velora_config"}

ATTENTION = ("attn.c_attn", "attn.c_proj")
OTHER_LINEAR = ("mlp.c_fc", "mlp.c_proj")
OUTSIDE_LAYERS = ("wte", "wpe", "lm_head")


@dataclass(frozen=True)
class _Module:
    name: str  # as in the model, such as transformer.h.0.attn.c_attn
    rank: int
    scaling: float


def read_peft(folder: Path, layers: int | None = None) -> Adapter:
    """Read a PEFT folder. `layers`: how many the base has; without it, the adapter's last layer is taken for the last.

    Raises LoraError for what is no LoRA adapter of GPT-2's attention, is incomplete, holds more than its config says,
    or has NaN or infinite values.
    """
    config = _read_config(folder)
    stored, file = _read_tensors(folder)
    found = {_split_key(key, file): tensor for key, tensor in stored.items()}
    in_layers = [int(match[1]) for module, _ in found if (match := re.match(r"(?:transformer\.)?h\.(\d+)\.", module))]
    if layers is not None and in_layers and max(in_layers) >= layers:
        deep = next(key for key in stored if f"h.{max(in_layers)}." in key)
        raise LoraError(f"{file} holds {deep}, but the base has only {layers} layers; give the model it was trained on")
    layers = layers if layers is not None else max(in_layers, default=-1) + 1
    prefix = "transformer." if any(module.startswith("transformer.") for module, _ in found) else ""
    try:
        modules = _targeted(config, layers, prefix)
    except (TypeError, AttributeError, OverflowError, re.error) as error:
        raise LoraError(f"{folder / CONFIG} has a field of another kind than PEFT's ({error}); save the adapter again") from error
    _check_complete(modules, found, file)
    width = found[modules[0].name, "A"].shape[-1]
    pairs = {}
    for module in modules:
        pairs.update(_pairs(module, found[module.name, "A"], found[module.name, "B"], width, file))
    return Adapter(printable(folder.resolve().name), layers, width, pairs, alpha=config.get("lora_alpha"), licence=_licence(folder),
                   base_fingerprint=_record(folder).get("base_fingerprint"))


def _read_config(folder: Path) -> dict:
    path = folder / CONFIG
    try:
        config = _read_json(path)
    except FileNotFoundError:
        raise LoraError(f"{folder} has no {CONFIG}; expected a folder that PEFT's save_pretrained wrote") from None
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        kind = config.get("peft_type") if isinstance(config, dict) else None
        raise LoraError(f"{path} has peft_type {kind!r}; only LoRA adapters (\"LORA\") can be exported")
    for field, (harmless, effect) in REFUSED_FIELDS.items():
        if config.get(field) not in harmless:
            raise LoraError(f"{path} sets {field}, which {effect}; an adapter file cannot carry that. {KEEP}")
    if config.get("init_lora_weights") not in HARMLESS_INITIALISATIONS:
        raise LoraError(f"{path} has init_lora_weights {config['init_lora_weights']!r}, which changes the base's weights too; save it "
                        "as a plain adapter (save_pretrained with path_initial_model_for_weight_conversion)")
    for field, value in config.items():
        if field not in KNOWN_FIELDS and field not in REFUSED_FIELDS and value:
            raise LoraError(f"{path} sets {field} to {value!r}, a field of PEFT not known here, which may change what the adapter "
                            f"computes; save it without. Or: {KEEP}")
    return config


def _read_tensors(folder: Path) -> tuple[dict[str, np.ndarray], Path]:
    """Every tensor as float32, by PEFT's key. Without PyTorch where possible, because its import takes 300 MB."""
    if (path := folder / SAFETENSORS).is_file():
        from safetensors import SafetensorError, deserialize

        try:
            stored = deserialize(path.read_bytes())
        except SafetensorError as error:
            raise LoraError(f"{path} is not a complete safetensors file ({error}); save or copy the adapter again") from None
        tensors = {name: _floats(name, part["dtype"], part["shape"], part["data"], path) for name, part in stored}
    elif (path := folder / BIN).is_file():
        import pickle

        import torch

        try:
            stored = torch.load(path, map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, OSError, EOFError, ValueError, LookupError, TypeError, AttributeError) as error:
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise LoraError(f"{path} cannot be loaded without running code from it, or is damaged ({first}); save the adapter as "
                            "safetensors") from None
        if not isinstance(stored, dict) or not all(isinstance(tensor, torch.Tensor) for tensor in stored.values()):
            raise LoraError(f"{path} does not hold named tensors; expected a file that PEFT's save_pretrained wrote")
        tensors = {name: tensor.float().numpy() for name, tensor in stored.items()}
    else:
        raise LoraError(f"{folder} has neither {SAFETENSORS} nor {BIN}; expected a folder that PEFT's save_pretrained wrote")
    if not tensors:
        raise LoraError(f"{path} holds no tensors; save the adapter again")
    for name, tensor in tensors.items():
        check_finite(name, tensor, str(path))
    return tensors, path


def _floats(name: str, dtype: str, shape: list[int], data: bytes, path: Path) -> np.ndarray:
    if dtype == "BF16":  # the upper half of a float32
        return (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32).reshape(shape)
    if dtype not in ("F16", "F32", "F64"):
        raise LoraError(f"{path} holds {name} as {dtype}; float16, bfloat16, float32 or float64 was expected; save it as one of them")
    return np.frombuffer(data, f"<f{int(dtype[1:]) // 8}").astype(np.float32).reshape(shape)


def _split_key(key: str, file: Path) -> tuple[str, str]:
    """PEFT's key as (module, A or B)."""
    match = re.fullmatch(r"base_model\.model\.(.+)\.lora_([AB])\.weight", key)
    if not match or re.search(r"(^|\.)(modules_to_save|base_layer)(\.|$)", match[1]):
        raise LoraError(f"{file} holds {key}, which is no factor of a LoRA pair; an adapter file carries those of attention only. {KEEP}")
    return match[1], match[2]


def _targeted(config: dict, layers: int, prefix: str) -> list[_Module]:
    """The attention modules a config targets. Raises LoraError if it targets others."""
    names = [f"{prefix}h.{layer}.{part}" for layer in range(layers) for part in (*ATTENTION, *OTHER_LINEAR)]
    names += [f"{prefix}{part}" if part != "lm_head" else part for part in OUTSIDE_LAYERS]
    targeted = [name for name in names if _is_target(config, name)]
    for name in targeted:
        if not name.endswith(ATTENTION):
            raise LoraError(f"the adapter's target_modules {config.get('target_modules')!r} include {name}, but an adapter file can carry "
                            f"{' and '.join(ATTENTION)} only. Train with these two as target_modules; or, {KEEP}")
    if not targeted:
        raise LoraError(f"the adapter's target_modules {config.get('target_modules')!r} match no attention layer of a GPT-2; expected some "
                        f"of {', '.join(ATTENTION)}")
    modules = []
    for name in targeted:
        rank = _of_pattern(config.get("rank_pattern") or {}, name, config.get("r"))
        alpha = _of_pattern(config.get("alpha_pattern") or {}, name, config.get("lora_alpha"))
        if type(rank) is not int or rank < 1 or type(alpha) not in (int, float):
            raise LoraError(f"{CONFIG}: rank {rank!r} and alpha {alpha!r} for {name}; a positive whole number and a number were expected")
        modules.append(_Module(name, rank, alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)))
    return modules


def _is_target(config: dict, name: str) -> bool:
    targets, excluded = config.get("target_modules"), config.get("exclude_modules")
    if excluded and (re.fullmatch(excluded, name) if isinstance(excluded, str) else _ends_with(name, excluded)):
        return False
    if isinstance(targets, str):
        return ".h." in f".{name}" if targets.lower() == "all-linear" else bool(re.fullmatch(targets, name))
    if not targets or not _ends_with(name, targets):
        return False
    chosen = config.get("layers_to_transform")
    if chosen is None or chosen == [] or name in targets:
        return True
    patterns = config.get("layers_pattern") or [r"[^.]*"]
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        if match := re.match(rf"(?:^|.*?\.){pattern}\.(\d+)\.", name):
            return int(match[1]) in ([chosen] if isinstance(chosen, int) else chosen)
    return False


def _ends_with(name: str, endings: list[str]) -> bool:
    return any(name == ending or name.endswith(f".{ending}") for ending in endings)


def _of_pattern(patterns: dict, name: str, default):
    return next((value for pattern, value in patterns.items() if re.match(rf"(.*\.)?({pattern})$", name)), default)


def _check_complete(modules: list[_Module], found: dict, file: Path) -> None:
    expected = {(module.name, factor) for module in modules for factor in "AB"}
    if missing := sorted(expected - found.keys()):
        raise LoraError(f"{file} lacks {_listed(missing)} of the {len(expected)} tensors its config describes for this base; save the "
                        "adapter again, or give the model it was trained on")
    if extra := sorted(found.keys() - expected):
        raise LoraError(f"{file} holds {_listed(extra)} that its config does not target; save the adapter again")


def _listed(names: list[tuple[str, str]]) -> str:
    shown = ", ".join(f"{module}.lora_{factor}.weight" for module, factor in names[:3]) + (", …" if len(names) > 3 else "")
    return f"{len(names)} tensor{'s' if len(names) > 1 else ''} ({shown})"


def _pairs(module: _Module, a: np.ndarray, b: np.ndarray, width: int, file: Path) -> dict[tuple[int, str], LowRank]:
    projections = "qkv" if module.name.endswith("c_attn") else "o"
    for factor, tensor, shape in (("A", a, (module.rank, width)), ("B", b, (len(projections) * width, module.rank))):
        if tensor.shape != shape:
            raise LoraError(f"{file}: {module.name}.lora_{factor}.weight has the shape {list(tensor.shape)}, but rank {module.rank} and a "
                            f"width of {width} make it {list(shape)}; the config and the weights do not belong together")
    layer = int(re.search(r"h\.(\d+)\.", module.name)[1])
    scaled = np.ascontiguousarray((a.T.astype(np.float64) * module.scaling).astype(np.float32))
    return {(layer, projection): LowRank(scaled, np.ascontiguousarray(block.T))
            for projection, block in zip(projections, np.split(b, len(projections)))}


def _record(folder: Path) -> dict:
    try:
        record = _read_json(folder / RECORD)
    except FileNotFoundError:
        return {}
    return record if isinstance(record, dict) else {}


def _read_json(path: Path) -> object:
    """What a JSON file holds. Raises FileNotFoundError, and LoraError for what is no JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise
    # ValueError: no UTF-8, no JSON, or a number of more digits than Python reads (sys.set_int_max_str_digits).
    except (OSError, ValueError, RecursionError) as error:
        raise LoraError(f"{path} cannot be read ({error}); expected JSON as it was saved; save the adapter again") from None


def _licence(folder: Path) -> str | None:
    """What the model card's header says, if there is one."""
    try:
        card = (folder / "README.md").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    header = re.match(r"---\n(.*?)\n---", card, re.DOTALL)
    named = re.search(r"^license:\s*(\S+)\s*$", header[1], re.MULTILINE) if header else None
    return named[1] if named else None
