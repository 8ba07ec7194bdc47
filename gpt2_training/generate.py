"""Text from a checkpoint in PyTorch, token by token."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator

import torch
from tokenizers import Tokenizer
from transformers import GPT2LMHeadModel

from gpt2_training.errors import TrainingError
from gpt2_training.vocabulary import END_OF_TEXT


@dataclass(frozen=True)
class Sampler:
    """A model with its tokenizer. `start` is put before every prompt, if there is one, and ends the text when written.

    `prompt` is one that the checkpoint's own text gave; `alphabet` are the characters that it was trained on, None
    where these are not its tokens.
    """

    model: GPT2LMHeadModel
    tokenizer: Tokenizer
    start: int | None
    prompt: str = ""
    alphabet: str | None = None


def load_sampler(folder: Path) -> Sampler:
    """Read a Hugging Face GPT-2 folder with a tokenizer.json. Raises TrainingError when there is none, or a damaged
    one.
    """
    for name in ("config.json", "tokenizer.json"):
        if not (folder / name).is_file():
            raise TrainingError(f"{folder} has no {name}; expected a checkpoint written by `task-bundler pretrain`")
    try:
        model = GPT2LMHeadModel.from_pretrained(folder, dtype=torch.float32, use_safetensors=True).eval()
        tokenizer = Tokenizer.from_str((folder / "tokenizer.json").read_text(encoding="utf-8"))
    # What transformers, safetensors and tokenizers raise for damaged files is of many kinds.
    except Exception as error:
        first = (str(error).strip().splitlines() or [""])[0]
        raise TrainingError(
            f"{folder} cannot be read ({type(error).__name__}: {first}); expected a checkpoint that transformers "
            "wrote; save it again"
        ) from error
    start = tokenizer.token_to_id(END_OF_TEXT)
    if start is None:
        raise TrainingError(
            f"{folder / 'tokenizer.json'} has no token {END_OF_TEXT}, which is put before a prompt; give a checkpoint "
            "that has"
        )
    record = _record(folder)
    prompt, alphabet = record.get("prompt"), record.get("alphabet")
    return Sampler(
        model,
        tokenizer,
        start,
        prompt if isinstance(prompt, str) else "",
        alphabet if isinstance(alphabet, str) else None,
    )


def _record(folder: Path) -> dict:
    """What training wrote of itself; empty where it did not, or wrote something else."""
    try:
        record = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


@torch.inference_mode()
def sample(
    sampler: Sampler, prompt: str, tokens: int, temperature: float = 0.8, top_k: int = 40, seed: int = 0
) -> Iterator[str]:
    """Yield the continuation of `prompt`, piece by piece, up to `tokens` tokens or the end-of-text token.

    Temperature 0 is greedy. Older tokens are dropped when the model's context is full.
    """
    generator = torch.Generator().manual_seed(seed)
    ids = [sampler.start] if sampler.start is not None else []
    ids += sampler.tokenizer.encode(prompt, add_special_tokens=False).ids
    device = next(sampler.model.parameters()).device
    context = sampler.model.config.n_positions
    written: list[int] = []
    shown = ""
    for _ in range(tokens):
        logits = sampler.model(torch.tensor([(ids + written)[-context:]], device=device)).logits[0, -1].cpu()
        if temperature == 0:
            token = int(logits.argmax())
        else:
            values, indices = (logits / temperature).topk(min(top_k, len(logits)))
            token = int(indices[torch.multinomial(values.softmax(-1), 1, generator=generator)])
        if token == sampler.start:
            return
        written.append(token)
        text = sampler.tokenizer.decode(written)
        if not text.endswith("\ufffd"):  # wait until a character's bytes are complete
            yield text[len(shown) :]
            shown = text
