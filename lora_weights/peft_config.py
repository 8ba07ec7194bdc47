"""A PEFT folder's adapter_config.json: its kinds checked, and the modules it targets, with their ranks and scalings.

Which modules those are follows peft 0.21.2 (tuners_utils.check_target_module_exists, other.get_pattern_key), so that a
tensor that should be there and is not can be told from one that was never trained.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Sequence

from lora_weights.errors import LoraError
from lora_weights.patterns import ANY_LAYERS, Matched, match_patterns
from tokenizer_tools.errors import brief

CONFIG = "adapter_config.json"

KEEP = "`task-bundler lora merge MODEL ADAPTER -o DIR` merges it into a checkpoint, which keeps it"

# No engine swaps adapters of the MLP, but its matrices can be changed.
MERGE_MLP = (
    "`task-bundler lora merge NAME.task ADAPTER -o NEW.task` merges it into a bundle, or with MODEL into a checkpoint"
)

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
# Initialisations that take their start out of the base's weights: the adapter then belongs to weights that are not
# saved.
HARMLESS_INITIALISATIONS = (True, False, "gaussian", "eva", "orthogonal", None)
# Fields that do not change what the adapter computes, or that are taken account of below.
KNOWN_FIELDS = {
    "alpha_pattern",
    "auto_mapping",
    "base_model_name_or_path",
    "corda_config",
    "ensure_weight_tying",
    "eva_config",
    "exclude_modules",
    "fan_in_fan_out",
    "inference_mode",
    "init_lora_weights",
    "layers_pattern",
    "layers_to_transform",
    "loftq_config",
    "lora_alpha",
    "lora_dropout",
    "lora_ga_config",
    "megatron_core",
    "peft_type",
    "peft_version",
    "qalora_group_size",
    "r",
    "rank_pattern",
    "revision",
    "runtime_config",
    "target_modules",
    "task_type",
    "use_rslora",
    "velora_config",
}

ATTENTION = ("attn.c_attn", "attn.c_proj")
OTHER_LINEAR = ("mlp.c_fc", "mlp.c_proj")
OUTSIDE_LAYERS = ("wte", "wpe", "lm_head")

LARGEST_JSON = 1 << 20  # bytes; a config has a few thousand
LARGEST_RANK, LARGEST_ALPHA = 100_000, 1e6


@dataclass(frozen=True)
class Module:
    """A targeted module; `name` as in the model, such as transformer.h.0.attn.c_attn. `scaling`: alpha / rank, or as
    rsLoRA has it.
    """

    name: str
    rank: int
    scaling: float


def read_config(folder: Path) -> dict[str, Any]:
    """adapter_config.json of a LoRA adapter, the fields that shape its matrices being of the kinds that PEFT writes.
    Raises LoraError.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise LoraError(f"{folder} has no {CONFIG}; expected a folder that PEFT's save_pretrained wrote")
    config = read_json(path, "save the adapter again")
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        kind = config.get("peft_type") if isinstance(config, dict) else None
        raise LoraError(f'{path} has peft_type {brief(kind)}; only LoRA adapters ("LORA") are read')
    for fields, (fits, expected) in FIELD_KINDS.items():
        for field in fields:
            if config.get(field) is not None and not fits(config[field]):
                raise LoraError(
                    f"{path} has {field} {brief(config[field])}; {expected} was expected. Save the adapter again"
                )
    return config


def _is_rank(value: Any) -> bool:
    return type(value) is int and 1 <= value <= LARGEST_RANK


def _is_alpha(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) <= LARGEST_ALPHA


def _is_list_of(value: Any, kind: type) -> bool:
    return isinstance(value, list) and all(type(entry) is kind for entry in value)


# Fields, what their values must be, and that in words.
FIELD_KINDS = {
    ("r",): (_is_rank, f"a whole number from 1 to {LARGEST_RANK:,}"),
    ("lora_alpha",): (_is_alpha, f"a number of at most {LARGEST_ALPHA:,.0f} either side of 0"),
    ("use_rslora", "use_dora", "fan_in_fan_out"): (lambda value: isinstance(value, bool), "true or false"),
    ("target_modules", "exclude_modules", "layers_pattern"): (
        lambda value: isinstance(value, str) or _is_list_of(value, str),
        "a name or a list of names",
    ),
    ("modules_to_save",): (lambda value: _is_list_of(value, str), "a list of names"),
    ("layers_to_transform",): (
        lambda value: type(value) is int or _is_list_of(value, int),
        "a layer or a list of layers",
    ),
    ("rank_pattern",): (
        lambda value: isinstance(value, dict) and all(map(_is_rank, value.values())),
        "an object from module to rank",
    ),
    ("alpha_pattern",): (
        lambda value: isinstance(value, dict) and all(map(_is_alpha, value.values())),
        "an object from module to alpha",
    ),
}


def refuse_more_than_pairs(config: dict[str, Any], path: Path) -> None:
    """Raise LoraError for what an adapter file cannot carry."""
    for field, (harmless, effect) in REFUSED_FIELDS.items():
        if config.get(field) not in harmless:
            raise LoraError(f"{path} sets {field}, which {effect}; an adapter file cannot carry that. {KEEP}")
    if config.get("init_lora_weights") not in HARMLESS_INITIALISATIONS:
        raise LoraError(
            f"{path} has init_lora_weights {brief(config['init_lora_weights'])}, which changes the base's weights too; "
            "save it as a plain adapter (save_pretrained with path_initial_model_for_weight_conversion)"
        )
    for field, value in config.items():
        if field not in KNOWN_FIELDS and field not in REFUSED_FIELDS and value:
            raise LoraError(
                f"{path} sets {brief(field)} to {brief(value)}, a field of PEFT not known here, which may change what "
                f"the adapter computes; save it without. Or: {KEEP}"
            )


def read_json(path: Path, advice: str) -> Any:
    """What a JSON file beside an adapter holds; `advice` ends the sentence of the LoraError for one that cannot be
    read.
    """
    try:
        if path.stat().st_size > LARGEST_JSON:
            raise ValueError(f"{path.stat().st_size:,} bytes, where {LARGEST_JSON:,} are the limit")
        return json.loads(path.read_text(encoding="utf-8"))
    # ValueError: no UTF-8, no JSON, or a number of thousands of digits.
    except (OSError, ValueError, RecursionError) as error:
        raise LoraError(f"{path} cannot be read ({str(error)[:200]}); expected JSON; {advice}") from None


def targeted_modules(
    config: dict[str, Any], layers: int, prefix: str, path: Path, allowed: tuple[str, ...] = ATTENTION
) -> list[Module]:
    """The modules a config targets. Raises LoraError if some are not `allowed`; `path` names the config."""
    names = [f"{prefix}h.{layer}.{part}" for layer in range(layers) for part in (*ATTENTION, *OTHER_LINEAR)]
    names += [f"{prefix}{part}" if part != "lm_head" else part for part in OUTSIDE_LAYERS]
    matched = check_patterns(config, names, path)
    selected = _targets(config, names, matched) - _selected(config.get("exclude_modules"), names, matched)
    targeted = [name for name in names if name in selected]
    targets = brief(config.get("target_modules"))
    for name in targeted:
        if not name.endswith(allowed):
            merge = MERGE_MLP if name.endswith(OTHER_LINEAR) else KEEP
            raise LoraError(
                f"the adapter's target_modules {targets} include {name}, but an adapter file can carry "
                f"{' and '.join(ATTENTION)} only. Train with these two as target_modules; or, {merge}"
            )
    if not targeted:
        raise LoraError(
            f"the adapter's target_modules {targets} match no attention layer of a GPT-2; expected some "
            f"of {', '.join(ATTENTION)}"
        )
    modules = []
    for name in targeted:
        rank = _of_pattern(config.get("rank_pattern"), name, matched, config.get("r"))
        alpha = _of_pattern(config.get("alpha_pattern"), name, matched, config.get("lora_alpha"))
        if rank is None or alpha is None:
            raise LoraError(
                f"{path} has rank {rank} and alpha {alpha} for {name}; a positive whole number and a number were "
                "expected. Save the adapter again"
            )
        modules.append(Module(name, rank, alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)))
    return modules


def check_patterns(config: dict[str, Any], names: Sequence[str], path: Path) -> Matched:
    """What each regex of the config matches among the modules' names. Raises LoraError for one that is none, or does
    not end.
    """
    wanted = [
        ("targets", config[field])
        for field in ("target_modules", "exclude_modules")
        if isinstance(config.get(field), str)
    ]
    wanted += [
        ("module", pattern) for field in ("rank_pattern", "alpha_pattern") for pattern in config.get(field) or {}
    ]
    wanted += [("layers", pattern) for pattern in _layer_patterns(config)]
    wanted += [("saved", pattern) for pattern in config.get("modules_to_save") or ()]
    try:
        return match_patterns(wanted, names)
    except ValueError as error:
        raise LoraError(
            f"{path} holds {error}; patterns such as '.*attn.c_attn' were expected. Name the modules one by one"
        ) from None


def _layer_patterns(config: dict[str, Any]) -> list[str]:
    patterns = config.get("layers_pattern") or [ANY_LAYERS]
    return [patterns] if isinstance(patterns, str) else patterns


def _targets(config: dict[str, Any], names: list[str], matched: Matched) -> set[str]:
    targets, chosen = config.get("target_modules"), config.get("layers_to_transform")
    if isinstance(targets, str) and targets.lower() == "all-linear":
        return {name for name in names if ".h." in f".{name}"}
    selected = _selected(targets, names, matched)
    if isinstance(targets, str) or chosen is None or chosen == []:
        return selected
    layers, named = {chosen} if isinstance(chosen, int) else set(chosen), set(targets or ())
    return {name for name in selected if name in named or _layer_of(name, config, matched) in layers}


def _selected(pattern: str | list[str] | None, names: list[str], matched: Matched) -> set[str]:
    """The names that a regex matches whole, or that are in a list or end, after a dot, with an entry of it."""
    if isinstance(pattern, str):
        return set(matched["targets", pattern])
    endings = set(pattern or ())
    return {
        name for name in names if any(name[at:] in endings for at in range(len(name)) if at == 0 or name[at - 1] == ".")
    }


def _layer_of(name: str, config: dict[str, Any], matched: Matched) -> int | None:
    layers = (matched["layers", pattern].get(name) for pattern in _layer_patterns(config))
    return next((int(layer) for layer in layers if layer is not None), None)


def _of_pattern(patterns: dict[str, Any] | None, name: str, matched: Matched, default: Any) -> Any:
    return next((value for pattern, value in (patterns or {}).items() if name in matched["module", pattern]), default)
