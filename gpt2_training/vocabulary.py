"""A byte-level vocabulary in GPT-2's form, made for a text: of BPE, of characters, or of bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Iterable

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from gpt2_training.errors import RecipeError
from tokenizer_tools.vocabulary import BYTE_SYMBOLS, bytes_to_symbols

END_OF_TEXT = "<|endoftext|>"
TOKENIZERS = ("bpe", "char", "bytes")


def make_vocabulary(kind: str, documents: Iterable[str], size: int) -> Tokenizer:
    """A vocabulary of a kind of `TOKENIZERS` for a text. Raises RecipeError where `size` is too small for it."""
    if kind == "bpe":
        return train_vocabulary(documents, size)
    return character_vocabulary(alphabet_of(documents) if kind == "char" else "", size)


def train_vocabulary(documents: Iterable[str], size: int) -> Tokenizer:
    """Learn `size` tokens: the 256 bytes, the merges, and `<|endoftext|>` as the last id (as in GPT-2)."""
    if size < 257:
        raise RecipeError(
            f"a vocabulary of {size} tokens; byte-level BPE needs at least 257 (256 bytes and {END_OF_TEXT})"
        )
    tokenizer = _byte_level(models.BPE())
    trainer = trainers.BpeTrainer(
        vocab_size=size - 1, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False
    )
    tokenizer.train_from_iterator(documents, trainer)
    tokenizer.add_special_tokens([END_OF_TEXT])
    return tokenizer


def character_vocabulary(alphabet: str, most: int) -> Tokenizer:
    """A token for each character of `alphabet`, beside the 256 bytes, and `<|endoftext|>` as the last id.

    A character of several bytes has merges that join them from the left, and no merge joins two characters. So this is
    byte-level BPE as any other: what is outside the alphabet is spelled in bytes, and nothing is unknown. Raises
    RecipeError for more than `most` tokens.
    """
    tokens: dict[str, None] = dict.fromkeys(BYTE_SYMBOLS)
    merges: dict[tuple[str, str], None] = {}
    for character in alphabet:
        symbols = bytes_to_symbols(character.encode())
        for length in range(2, len(symbols) + 1):
            merges[symbols[: length - 1], symbols[length - 1]] = None
            tokens[symbols[:length]] = None
    if len(tokens) + 1 > most:
        raise RecipeError(
            f"the text has {len(alphabet):,} different characters, which take {len(tokens) + 1:,} tokens with the "
            f"bytes and {END_OF_TEXT}, and `vocabulary` is {most:,}; give a larger one, or the `tokenizer` bpe"
        )
    tokenizer = _byte_level(models.BPE({token: index for index, token in enumerate(tokens)}, list(merges)))
    tokenizer.add_special_tokens([END_OF_TEXT])
    return tokenizer


def alphabet_of(documents: Iterable[str]) -> str:
    """The different characters of a text, in order."""
    return "".join(sorted(set().union(*map(set, documents))))


def outside_alphabet(text: str, alphabet: str) -> str:
    """The characters of `text` that `alphabet` lacks, each once, in order."""
    return "".join(sorted(set(text) - set(alphabet)))


def save_vocabulary(tokenizer: Tokenizer, folder: Path) -> None:
    """Write tokenizer.json, and GPT-2's own pair vocab.json + merges.txt."""
    tokenizer.save(str(folder / "tokenizer.json"))
    # model.save leaves the added token out of vocab.json; GPT-2's own file has it.
    tokenizer.model.save(str(folder))
    vocabulary = sorted(tokenizer.get_vocab(with_added_tokens=True).items(), key=lambda item: item[1])
    (folder / "vocab.json").write_text(json.dumps(dict(vocabulary), ensure_ascii=False), encoding="utf-8")


def _byte_level(model: models.BPE) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer
