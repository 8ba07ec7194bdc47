"""Reads a Hugging Face folder: config.json and the weights that transformers takes from it."""

from __future__ import annotations

from pathlib import Path

from bundler.checkpoints.architecture import architecture_of, read_json
from bundler.checkpoints.stored_model import SpecialTokens, StoredModel
from bundler.checkpoints.weight_files import WEIGHT_FILES, find_weights, read_weights
from bundler.errors import BundleError
from tokenizer_tools.errors import brief

EXPECTED = f"a folder with config.json and weights ({', '.join(WEIGHT_FILES)}), as save_pretrained writes it"
CONFIG, GENERATION_CONFIG, ADAPTER_CONFIG = "config.json", "generation_config.json", "adapter_config.json"


def recognize(path: Path) -> bool:
    """Is this a folder with one of the files that make a checkpoint of transformers or PEFT, or one file of such?"""
    if path.is_dir():
        return any((path / name).exists() for name in (CONFIG, ADAPTER_CONFIG, *WEIGHT_FILES))
    return path.suffix in (".safetensors", ".json", ".bin")


def read(path: Path) -> StoredModel:
    """The model in a folder. Raises BundleError for an adapter, and for what is incomplete or no GPT-2."""
    if not path.is_dir():
        raise BundleError(f"{path} is one file of a checkpoint; give the folder it is in, {path.parent}")
    if (path / ADAPTER_CONFIG).exists():
        raise BundleError(
            f"{path} holds {ADAPTER_CONFIG}: it is a LoRA adapter, not a model. Give the model it "
            "was trained on, and the adapter with `adapters`"
        )
    weights_file = find_weights(path)
    if not (path / CONFIG).is_file() or weights_file is None:
        lacks = CONFIG if weights_file is not None else f"weights ({', '.join(WEIGHT_FILES)})"
        raise BundleError(f"{path} is no checkpoint: it has no {lacks}. Give {EXPECTED}")
    config = read_json(path / CONFIG)
    architecture = architecture_of(config, str(path / CONFIG))
    generation = read_json(path / GENERATION_CONFIG) if (path / GENERATION_CONFIG).is_file() else {}
    weights = read_weights(weights_file)
    settings = [path / name for name in (CONFIG, GENERATION_CONFIG) if (path / name).is_file()]
    files, special = (*settings, *weights.files), _special_tokens(config, generation)
    return StoredModel("folder", path.resolve().name, path, architecture, weights.tensors, files, special)


def _special_tokens(config: dict, generation: dict) -> SpecialTokens:
    def ids(field: str) -> list[int]:
        value = generation.get(field) if generation.get(field) is not None else config.get(field)
        values = value if isinstance(value, list) else [] if value is None else [value]
        for id_ in values:
            if type(id_) is not int:
                raise BundleError(
                    f"{field} is {brief(id_)}; a token id was expected. Correct config.json or generation_config.json"
                )
        return values

    return SpecialTokens(next(iter(ids("bos_token_id")), None), tuple(dict.fromkeys(ids("eos_token_id"))))
