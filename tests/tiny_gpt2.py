"""A tiny GPT-2 with random weights and a vocabulary of its own. Not in conftest.py: every folder of tests may have one
of that name.
"""

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from bundler.verification.text import verification_text
from gpt2_training.vocabulary import save_vocabulary, train_vocabulary

VOCABULARY = 400


def write_tiny_checkpoint(folder, seed=0, **fields):
    """2 layers, width 32, 96 positions. Every tensor is random: biases of 0 and norms of 1 would hide mistakes."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    sizes = dict(
        vocab_size=VOCABULARY,
        n_positions=96,
        n_embd=32,
        n_layer=2,
        n_head=2,
        bos_token_id=VOCABULARY - 1,
        eos_token_id=VOCABULARY - 1,
    )
    model = GPT2LMHeadModel(GPT2Config(**{**sizes, **fields}))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(folder)
    save_vocabulary(train_vocabulary([verification_text()], VOCABULARY), folder)
    return folder
