"""A byte-level BPE vocabulary in GPT-2's form, trained on a text by the `tokenizers` library."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Iterable

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from gpt2_training.errors import RecipeError

END_OF_TEXT = "<|endoftext|>"


def train_vocabulary(documents: Iterable[str], size: int) -> Tokenizer:
    """Learn `size` tokens: the 256 bytes, the merges, and `<|endoftext|>` as the last id (as in GPT-2)."""
    if size < 257:
        raise RecipeError(
            f"a vocabulary of {size} tokens; byte-level BPE needs at least 257 (256 bytes and {END_OF_TEXT})"
        )
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size - 1, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False
    )
    tokenizer.train_from_iterator(documents, trainer)
    tokenizer.add_special_tokens([END_OF_TEXT])
    return tokenizer


def save_vocabulary(tokenizer: Tokenizer, folder: Path) -> None:
    """Write tokenizer.json, and GPT-2's own pair vocab.json + merges.txt."""
    tokenizer.save(str(folder / "tokenizer.json"))
    # model.save leaves the added token out of vocab.json; GPT-2's own file has it.
    tokenizer.model.save(str(folder))
    vocabulary = sorted(tokenizer.get_vocab(with_added_tokens=True).items(), key=lambda item: item[1])
    (folder / "vocab.json").write_text(json.dumps(dict(vocabulary), ensure_ascii=False), encoding="utf-8")
