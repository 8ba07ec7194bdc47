"""Reads nanoGPT's ckpt.pt as the tensors of a Hugging Face GPT-2.

Source: nanoGPT's model.py and train.py. The computation is that of GPT-2 with the exact GELU, layer norms
with epsilon 1e-5 and tied embeddings; what differs is that its Linear weights are [out, in] where GPT-2's
are [in, out], and that biases may be absent.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from bundler.checkpoints.architecture import GPT2Architecture, architecture_of
from bundler.checkpoints.weight_files import StoredTensor, check_names, load_pickle, tensor_in_pickle
from bundler.errors import BundleError
from tokenizer_tools.errors import brief

# model_args' names to config.json's; dropout shapes training only.
ARGUMENTS = {
    "n_layer": "n_layer",
    "n_head": "n_head",
    "n_embd": "n_embd",
    "block_size": "n_positions",
    "vocab_size": "vocab_size",
    "bias": None,
    "dropout": None,
}
LAYER_NORM = (".ln_1.weight", ".ln_2.weight", ".ln_f.weight")
LINEAR = (".attn.c_attn.weight", ".attn.c_proj.weight", ".mlp.c_fc.weight", ".mlp.c_proj.weight")


def read_nanogpt(path: Path) -> tuple[GPT2Architecture, dict[str, StoredTensor]]:
    """The architecture and tensors of a ckpt.pt, named and oriented as transformers' GPT2LMHeadModel has them.

    The file is mapped: the optimizer's state in it is never read. A model without biases gets zero biases,
    which compute the same. Raises BundleError when it is not a checkpoint of nanoGPT's train.py.
    """
    checkpoint = load_pickle(path)
    arguments = checkpoint.get("model_args") if isinstance(checkpoint, dict) else None
    state = checkpoint.get("model") if isinstance(checkpoint, dict) else None
    if not isinstance(arguments, dict) or not _is_state(state):
        raise BundleError(
            f"{path} is not nanoGPT's: it holds {_contents(checkpoint)}, where a dict with 'model' (tensors) and "
            "'model_args' was expected. For another trainer's GPT-2, load its tensors into transformers' "
            "GPT2LMHeadModel and give the folder that save_pretrained writes"
        )
    if unknown := [name for name in arguments if name not in ARGUMENTS]:
        raise BundleError(
            f"{path}: model_args has {_listed(unknown)}, which nanoGPT's GPT does not know; a changed "
            "nanoGPT may compute something else than GPT-2. Convert it to a Hugging Face folder yourself"
        )
    bias = arguments.get("bias", True)
    if not isinstance(bias, bool):
        raise BundleError(f"{path}: model_args has bias {brief(bias)}; True or False was expected")

    check_names(state, path)
    architecture = _architecture(arguments, path)
    stored = {}
    for name, tensor in state.items():
        one = tensor_in_pickle(path, name, tensor)
        stored[name] = _transposed(one) if name.endswith(LINEAR) and len(one.shape) == 2 else one
    if not bias:
        _add_zero_biases(stored, path)
    return architecture, stored


def _is_state(value: object) -> bool:
    return isinstance(value, dict) and all(
        isinstance(name, str) and isinstance(tensor, torch.Tensor) for name, tensor in value.items()
    )


def _contents(checkpoint: object) -> str:
    """What a trainer saved, for the message."""
    if not isinstance(checkpoint, dict):
        return f"a {type(checkpoint).__name__}"
    if not checkpoint:
        return "an empty dict"
    return (
        f"tensors alone ({_listed(list(checkpoint))})"
        if _is_state(checkpoint)
        else f"a dict with {_listed(list(checkpoint))}"
    )


def _listed(names: list) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(map(brief, names[:5])) + more


def _architecture(arguments: dict, path: Path) -> GPT2Architecture:
    config = {"model_type": "gpt2", "activation_function": "gelu"}
    for name, field in ARGUMENTS.items():
        if field is None:
            continue
        if name not in arguments:
            raise BundleError(f"{path}: model_args lacks {name}; give a ckpt.pt of nanoGPT's train.py")
        if type(arguments[name]) is not int or arguments[name] < 1:
            raise BundleError(
                f"{path}: model_args has {name} {brief(arguments[name])}; a positive whole number was "
                "expected. Give a ckpt.pt of nanoGPT's train.py"
            )
        config[field] = arguments[name]
    return architecture_of(config, f"model_args in {path}")


def _transposed(tensor: StoredTensor) -> StoredTensor:
    return replace(tensor, shape=tensor.shape[::-1], read=lambda: tensor.read().t())


def _add_zero_biases(stored: dict[str, StoredTensor], path: Path) -> None:
    for name, tensor in list(stored.items()):
        bias = name.removesuffix("weight") + "bias"
        if not name.endswith(LINEAR + LAYER_NORM):
            continue
        if bias in stored:
            raise BundleError(
                f"{path} holds {bias} although its model_args say bias=False; nanoGPT writes no such "
                "file. Convert it to a Hugging Face folder yourself"
            )
        stored[bias] = _zeros(path, tensor.shape[-1:])


def _zeros(path: Path, shape: tuple[int, ...]) -> StoredTensor:
    return StoredTensor(path, shape, lambda: torch.zeros(shape))
