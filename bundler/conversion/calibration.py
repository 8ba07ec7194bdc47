"""What the matrices of a checkpoint meet: a text, by default the model's own, and the Hessians of each layer's inputs.

A text that the model writes itself need not be found by anybody, and has the tokens in the contexts that the model
meets at work. The text runs through one layer after the other. In memory are this layer's weights, the activations
before it, and its Hessians.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Callable, Iterator, NamedTuple, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from bundler.checkpoints.architecture import GPT2Architecture
from bundler.checkpoints.checkpoint import Checkpoint
from bundler.conversion.exported_weights import query_scale
from bundler.conversion.gpt2 import FUNCTIONS

# Of the text that is written: its tokens, and how many of them stand in one sequence.
TOKENS, LENGTH = 16_384, 512
# What the keys and values of the sequences that are written at the same time may take, in bytes.
CACHE = 1 << 29
# More sequences at the same time are hardly faster.
SEQUENCES_AT_ONCE = 32
# The steps of a model narrower than this are so short that a second thread costs more than it brings.
NARROW = 512
# The inner activations of this many tokens are in memory at the same time.
TOKENS_AT_ONCE = 2048
SEED = 0


class Inputs(NamedTuple):
    """What the matrices of a layer are multiplied with, [sequences, length, in] each; q, k and v share theirs."""

    qkv: Tensor
    o: Tensor
    c_fc: Tensor
    c_proj: Tensor


class Hessians(NamedTuple):
    """X^T X float32 [in, in] over all tokens, for each of `Inputs`."""

    qkv: np.ndarray
    o: np.ndarray
    c_fc: np.ndarray
    c_proj: np.ndarray


# The keys and values of a layer, each [sequences, heads, length, head_dim].
KeysAndValues = tuple[Tensor, Tensor]


class Layer:
    """A layer of a checkpoint. Its weights stay in the file: each is read when it is used."""

    def __init__(self, checkpoint: Checkpoint, index: int) -> None:
        self._architecture = checkpoint.architecture
        self._scale = query_scale(checkpoint.architecture, index)
        self._activation = FUNCTIONS[checkpoint.architecture.activation]
        self._checkpoint, self._prefix = checkpoint, f"h.{index}."
        self._changed: dict[str, Tensor] = {}

    def weight(self, name: str) -> Tensor:
        """One of its weights in float32, as the checkpoint has it; not to be written to."""
        return self._changed[name] if name in self._changed else self._checkpoint.view(self._prefix + name)

    def __call__(self, x: Tensor, cache: KeysAndValues | None = None, position: int = 0) -> tuple[Tensor, Inputs]:
        """The layer of x [sequences, length, width]. A `cache` gets its keys and values, from `position` on; then x is
        one token that sees all before it.
        """
        shape = self._architecture
        qkv = self._norm("ln_1", x)
        split = (*x.shape[:2], shape.heads, shape.head_dim)
        q, k, v = (part.reshape(split).transpose(1, 2) for part in self._linear("attn.c_attn", qkv).chunk(3, dim=-1))
        if cache is not None:
            for stored, new in zip(cache, (k, v)):
                stored[:, :, position] = new[:, :, 0]
            k, v = (stored[:, :, : position + 1] for stored in cache)
        seen = functional.scaled_dot_product_attention(q, k, v, is_causal=cache is None, scale=self._scale)
        o = seen.transpose(1, 2).reshape(x.shape)
        x = x + self._linear("attn.c_proj", o)
        c_fc = self._norm("ln_2", x)
        c_proj = self._activation(self._linear("mlp.c_fc", c_fc))
        return x + self._linear("mlp.c_proj", c_proj), Inputs(qkv, o, c_fc, c_proj)

    def with_weight(self, name: str, weight: Tensor) -> Layer:
        """The same layer, but for one of its weights."""
        layer = copy.copy(self)
        layer._changed = self._changed | {name: weight}
        return layer

    def _linear(self, name: str, x: Tensor) -> Tensor:
        weight, bias = (self.weight(f"{name}.{part}") for part in ("weight", "bias"))
        return functional.linear(x, weight.T, bias)

    def _norm(self, name: str, x: Tensor) -> Tensor:
        weight, bias = (self.weight(f"{name}.{part}") for part in ("weight", "bias"))
        return functional.layer_norm(x, x.shape[-1:], weight, bias, self._architecture.layer_norm_epsilon)


def embed(checkpoint: Checkpoint, tokens: Tensor, position: int = 0) -> Tensor:
    """x [sequences, length, width] before the first layer, of `tokens` [sequences, length] from `position` on."""
    positions = checkpoint.part("wpe.weight", slice(position, position + tokens.shape[1]))
    return checkpoint.part("wte.weight", tokens) + positions


def next_token_logits(checkpoint: Checkpoint, x: Tensor) -> Tensor:
    """Logits [..., vocabulary] of x [..., width] after the last layer."""
    weight, bias = (checkpoint.view(f"ln_f.{part}") for part in ("weight", "bias"))
    head = checkpoint.view(checkpoint.head)
    x = functional.layer_norm(x, x.shape[-1:], weight, bias, checkpoint.architecture.layer_norm_epsilon)
    return functional.linear(x, head)


def sequence_length(context: int) -> int:
    """How many tokens a sequence of the text has, for a cache of `context`."""
    return min(context, LENGTH)


def write_tokens(path: Path, tokens: Tensor) -> None:
    """Write sequences to a file, for another process."""
    np.save(path, tokens.numpy())


def read_tokens(path: Path) -> Tensor:
    """What `write_tokens` wrote."""
    return torch.from_numpy(np.load(path))


def cut_text(ids: Sequence[int], start: int, length: int, tokens: int = TOKENS) -> Tensor:
    """int64 [sequences, at most length]: the beginning of a text in sequences of one length, each from the start token
    on. What does not fill the last one is left out.
    """
    length = min(length, len(ids) + 1)
    sequences = max(1, min(tokens // length, len(ids) // (length - 1)))
    cut = torch.tensor(ids[: sequences * (length - 1)], dtype=torch.int64).reshape(sequences, length - 1)
    return functional.pad(cut, (1, 0), value=start)


@torch.inference_mode()
def write_text(
    checkpoint: Checkpoint,
    start: int,
    vocabulary: int,
    shape: tuple[int, int],
    advance: Callable[[int], None] = lambda tokens: None,
) -> Tensor:
    """int64 [sequences, length], which is `shape`: text of the model's own, each sequence from the start token on.

    Every token is drawn as the model has it likely, among the first `vocabulary`, with a fixed seed. `advance` is told
    of tokens as they are written.
    """
    sequences, length = shape
    architecture = checkpoint.architecture
    threads = torch.get_num_threads()
    torch.set_num_threads(1 if architecture.width < NARROW else threads)
    layers = [Layer(checkpoint, index) for index in range(architecture.layers)]
    generator = torch.Generator().manual_seed(SEED)
    at_once = CACHE // (2 * 4 * length * architecture.width * architecture.layers)
    rounds = -(-sequences // max(1, min(at_once, SEQUENCES_AT_ONCE)))
    texts = []
    for count in map(len, np.array_split(range(sequences), rounds)):
        text = torch.full((count, length), start)
        size = (count, architecture.heads, length, architecture.head_dim)
        caches = [(torch.zeros(size), torch.zeros(size)) for _ in layers]
        for position in range(length - 1):
            x = embed(checkpoint, text[:, position, None], position)
            for layer, cache in zip(layers, caches):
                x, _ = layer(x, cache, position)
            likely = next_token_logits(checkpoint, x[:, 0])[:, :vocabulary].softmax(dim=-1)
            text[:, position + 1] = torch.multinomial(likely, 1, generator=generator)[:, 0]
            advance(count)
        texts.append(text)
    torch.set_num_threads(threads)
    return torch.cat(texts)


@torch.inference_mode()
def layer_hessians(checkpoint: Checkpoint, tokens: Tensor) -> Iterator[Hessians]:
    """The Hessians of every layer in turn, of `tokens` int64 [sequences, length]."""
    x = embed(checkpoint, tokens)
    for index in range(checkpoint.architecture.layers):
        layer = Layer(checkpoint, index)
        hessians = [torch.zeros(size, size) for size in _input_sizes(checkpoint.architecture)]
        for part in x.split(max(1, TOKENS_AT_ONCE // tokens.shape[1])):
            part[:], inputs = layer(part)
            for hessian, values in zip(hessians, inputs):
                rows = values.flatten(0, 1)
                hessian.addmm_(rows.T, rows)
        yield Hessians(*(hessian.numpy() for hessian in hessians))


def _input_sizes(architecture: GPT2Architecture) -> Inputs:
    return Inputs(architecture.width, architecture.width, architecture.width, architecture.inner)
