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
from bundler.checkpoints.stored_model import StoredModel
from bundler.checkpoints.weight_files import StoredTensor, check_names, load_pickle, tensor_in_pickle
from bundler.errors import BundleError
from tokenizer_tools.errors import brief

EXPECTED = "nanoGPT's ckpt.pt, or the folder that holds it"
CHECKPOINT, CHARACTERS = "ckpt.pt", "meta.pkl"
TORCH_FILES = (b"PK", b"\x80")  # as files of torch.save begin, a ZIP since PyTorch 1.6 and a pickle before

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


def recognize(path: Path) -> bool:
    """Is this a ckpt.pt, a folder with one that is no Hugging Face folder, or another file that torch.save wrote?"""
    if path.is_dir():
        return (path / CHECKPOINT).is_file() and not (path / "config.json").exists()
    if path.suffix in (".pt", ".pth") or path.name == CHARACTERS:
        return True
    with open(path, "rb") as file:
        return path.suffix != ".bin" and file.read(2).startswith(TORCH_FILES)


def read(path: Path) -> StoredModel:
    """The model in a ckpt.pt, or in the folder that holds it, named and oriented as transformers' GPT2LMHeadModel.

    The file is mapped: the optimizer's state in it is never read. A model without biases gets zero biases,
    which compute the same. Raises BundleError when it is not a checkpoint of nanoGPT's train.py.
    """
    if path.name == CHARACTERS:
        raise BundleError(
            f"{path} is nanoGPT's character vocabulary, not a checkpoint; give the ckpt.pt that was trained with it"
        )
    if path.is_dir():
        path = path / CHECKPOINT
    architecture, tensors = _read_file(path)
    name = path.resolve().parent.name if path.stem == "ckpt" else path.stem
    return StoredModel("nanogpt", name, path, architecture, tensors, (path,))


def _read_file(path: Path) -> tuple[GPT2Architecture, dict[str, StoredTensor]]:
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
        weight = tensor_in_pickle(path, name, tensor)
        stored[name] = _transposed(weight) if name.endswith(LINEAR) and len(weight.shape) == 2 else weight
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
