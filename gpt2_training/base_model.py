"""A model that training starts from, with its tokenizer, and a text as its tokens."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import GPT2LMHeadModel

from gpt2_training.corpus import Corpus
from gpt2_training.errors import RecipeError, TrainingError
from gpt2_training.loop import TrainConfig
from gpt2_training.vocabulary import END_OF_TEXT


@dataclass(frozen=True)
class EncodedText:
    """Token ids (1-D) to train on, and those held out."""

    train: torch.Tensor
    held_out: torch.Tensor


@dataclass(frozen=True)
class BaseModel:
    """A model to train, with its tokenizer. `name` is what it is called, `fingerprint` tells its weights; both are
    empty for one that has learned nothing yet. `start` is the id put before each document, None for `<|endoftext|>`'s.
    `vocabulary_files` are those of the tokenizer, where it came from files.
    """

    model: GPT2LMHeadModel
    tokenizer: Tokenizer
    name: str = ""
    fingerprint: str | None = None
    start: int | None = None
    vocabulary_files: tuple[Path, ...] = ()

    def encode(self, corpus: Corpus, config: TrainConfig) -> EncodedText:
        """The text in tokens. Raises RecipeError for a context that the model has no positions for, TrainingError where
        a part of the text does not fill a context.
        """
        if config.context > self.model.config.n_positions:
            raise RecipeError(
                f"`context` {config.context}: the model has {self.model.config.n_positions} positions; give that many "
                "or fewer"
            )
        return encode_text(self.tokenizer, corpus, config, self.start)


def encode_text(tokenizer: Tokenizer, corpus: Corpus, config: TrainConfig, start: int | None = None) -> EncodedText:
    """Both parts of a corpus in tokens. Raises TrainingError where one of them does not fill a context."""
    text = EncodedText(
        encode_split(tokenizer, corpus.train, config.split_spaces, config.seed, start),
        encode(tokenizer, corpus.held_out, start),
    )
    if len(text.train) <= config.context + 1 or len(text.held_out) < config.context:
        raise TrainingError(
            f"the text gives {len(text.train)} tokens to train on and {len(text.held_out)} to hold out; each has to "
            f"fill a `context` of {config.context}; give more text or a smaller context"
        )
    return text


def encode(tokenizer: Tokenizer, documents: list[str], start: int | None = None) -> torch.Tensor:
    """All documents as one 1-D int32 tensor, each preceded by the token `start`, else by `<|endoftext|>` if there is
    one.
    """
    start = tokenizer.token_to_id(END_OF_TEXT) if start is None else start
    ids = []
    for encoding in tokenizer.encode_batch(documents, add_special_tokens=False):
        if start is not None:
            ids.append(start)
        ids.extend(encoding.ids)
    return torch.tensor(ids, dtype=torch.int32)


def encode_split(
    tokenizer: Tokenizer, documents: list[str], share: float, seed: int, start: int | None = None
) -> torch.Tensor:
    """As `encode`, but a random `share` of the words are split from the space before them.

    A prompt often ends in a space ("def "), which is then a token of its own; in ordinary text a space before a
    word is always part of the word's token, so a model that never saw one alone cannot go on from it.
    """
    ids = encode(tokenizer, documents, start)
    space = tokenizer.token_to_id("Ġ")
    if not share or space is None:
        return ids
    parts = {
        id_: [space, *tokenizer.encode(token[1:]).ids]
        for token, id_ in tokenizer.get_vocab().items()
        if token[:1] == "Ġ" and token[1:2].isascii() and token[1:2].isprintable() and token[1:2]
    }
    chosen = torch.rand(len(ids), generator=torch.Generator().manual_seed(seed)) < share
    result = []
    for id_, split in zip(ids.tolist(), chosen.tolist()):
        result.extend(parts.get(id_, (id_,)) if split else (id_,))
    return torch.tensor(result, dtype=torch.int32)
