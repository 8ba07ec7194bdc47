"""One step of training a LoRA adapter, as tensors in and tensors out: loss, gradients written out by hand, AdamW.

Automatic differentiation would do, but keeps and computes what nobody asks for: gradients of frozen weights, and of
everything below the first adapter. Written out, the backward pass is as short as the forward pass, and every operator
is one that TFLite has.

* The adapter is PEFT's: one A for q, k and v together, as GPT-2's `c_attn` has it, and one for o. All of it is one
  vector, so that a program which trains holds four arrays and knows nothing of layers; `lora_weights.flat_adapter` says
  where each matrix lies.
* The loss is the sum of each position's cross-entropy times its weight. Gradients are summed over calls until one of
  them updates: several sequences make a batch, in the memory of one.
* The logits' gradient is softmax(logits) minus the one-hot targets. Its product with the head's matrix takes the
  targets' part as rows of that matrix, so no one-hot tensor is made. softmax(logits) is the only other tensor as wide
  as the vocabulary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Callable, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from bundler.conversion.exported_weights import query_scale
from bundler.conversion.gpt2 import ExportableGPT2
from lora_weights.flat_adapter import FlatAdapter

# AdamW's, and the largest norm of a gradient: those of lora_weights/fine_tune.py and gpt2_training/loop.py.
BETAS = (0.9, 0.95)
EPSILON = 1e-8
LARGEST_NORM = 1.0
# The largest float32 loss is the negative logarithm of it; smaller probabilities are not told from 0.
SMALLEST = 1e-37
# Added to the scores of what a position must not see.
HIDDEN = -1.0e6


class Sequence(NamedTuple):
    """`tokens`, int32 [1, T], the `targets` after each, and the `weights` of their losses, float32 [1, T]."""

    tokens: Tensor
    targets: Tensor
    weights: Tensor


class Pair(NamedTuple):
    """A low-rank change of a linear layer: a [rank, in], b [out, rank], as PEFT has them."""

    a: Tensor
    b: Tensor


class Normed(NamedTuple):
    """A layer norm's output, and what its backward pass needs: x in units of its deviation, and 1 / deviation."""

    output: Tensor
    unit: Tensor
    inverse: Tensor


def _gelu_tanh(x: Tensor) -> tuple[Tensor, Tensor]:
    square = x * x
    tanh = torch.tanh(x * (square * 0.035677408136300125 + 0.7978845608028654))  # sqrt(2 / pi) (x + 0.044715 x^3)
    half = tanh * 0.5 + 0.5
    return x * half, half + x * (0.5 - 0.5 * tanh * tanh) * (square * 0.10703222440890037 + 0.7978845608028654)


def _gelu(x: Tensor) -> tuple[Tensor, Tensor]:
    half = torch.erf(x * 0.7071067811865476) * 0.5 + 0.5
    return x * half, half + x * torch.exp(x * x * -0.5) * 0.3989422804014327  # the density of a normal distribution


def _sigmoid_weighted(factor: float) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    def function(x: Tensor) -> tuple[Tensor, Tensor]:
        gate = torch.sigmoid(x * factor)
        return x * gate, gate + factor * x * gate * (1 - gate)

    return function


def _relu(x: Tensor) -> tuple[Tensor, Tensor]:
    return torch.relu(x), (x > 0).float()


def _tanh(x: Tensor) -> tuple[Tensor, Tensor]:
    y = torch.tanh(x)
    return y, 1 - y * y


# An activation and its derivative, one entry for each of architecture.ACTIVATIONS.
WITH_DERIVATIVE: dict[str, Callable[[Tensor], tuple[Tensor, Tensor]]] = {
    "gelu_new": _gelu_tanh,
    "gelu_pytorch_tanh": _gelu_tanh,
    "gelu_fast": _gelu_tanh,
    "gelu": _gelu,
    "quick_gelu": _sigmoid_weighted(1.702),
    "relu": _relu,
    "silu": _sigmoid_weighted(1.0),
    "swish": _sigmoid_weighted(1.0),
    "tanh": _tanh,
}


class Saved(NamedTuple):
    """What a layer's backward pass needs of its forward pass."""

    first: Normed
    heads: tuple[Tensor, Tensor, Tensor]
    attention: Tensor
    mixed: Tensor
    inner: tuple[Tensor, Tensor]
    second: Normed
    derivative: Tensor


class Losses(nn.Module):
    """The losses of a sequence of `length` tokens under an adapter of `rank`."""

    def __init__(self, model: ExportableGPT2, length: int, rank: int) -> None:
        super().__init__()
        self.model, self.length = model, length
        architecture = model.architecture
        self.layout = FlatAdapter(architecture.layers, architecture.width, rank)
        self.activation = WITH_DERIVATIVE[architecture.activation]
        self.query_scales = [query_scale(architecture, layer) for layer in range(architecture.layers)]

    def forward(self, tokens: Tensor, targets: Tensor, scaling: Tensor, adapter: Tensor) -> Tensor:
        """float32 [1, length]: the cross-entropy at each position, in nats. `scaling` [1] is alpha / rank."""
        x, _ = self._run(tokens, self._pairs(adapter), scaling)
        return self._cross_entropy(self._probabilities(self._norm(self.model.ln_f, x).output), targets)

    def _pairs(self, adapter: Tensor) -> list[Pair]:
        """Two of each layer: of q, k and v, and of o."""
        matrices = [
            adapter[start : start + rows * columns].view(rows, columns)
            for start, (rows, columns) in self.layout.places()
        ]
        return [Pair(*matrices[i : i + 2]) for i in range(0, len(matrices), 2)]

    def _run(self, tokens: Tensor, pairs: list[Pair], scaling: Tensor) -> tuple[Tensor, list[Saved]]:
        """[length, width], what the last norm is given; and what each layer has saved."""
        x = self.model.wte(tokens[0]) + self.model.wpe(torch.arange(self.length, dtype=torch.int32))
        saved = []
        for layer, block in enumerate(self.model.blocks):
            first = self._norm(block.ln_1, x)
            qkv_pair, o_pair = pairs[2 * layer], pairs[2 * layer + 1]
            inner = functional.linear(first.output, qkv_pair.a) * scaling
            q, k, v = functional.linear(inner, qkv_pair.b).chunk(3, dim=-1)
            q = self._split(block.q(first.output) + q * self.query_scales[layer])
            k, v = self._split(block.k(first.output) + k), self._split(block.v(first.output) + v)
            attention = torch.softmax(q @ k.transpose(1, 2) + self._mask(), dim=-1)
            mixed = self._join(attention @ v)
            o_inner = functional.linear(mixed, o_pair.a) * scaling
            x = x + block.o(mixed) + functional.linear(o_inner, o_pair.b)
            second = self._norm(block.ln_2, x)
            active, derivative = self.activation(block.c_fc(second.output))
            x = x + block.c_proj(active)
            saved.append(Saved(first, (q, k, v), attention, mixed, (inner, o_inner), second, derivative))
        return x, saved

    def _norm(self, norm: nn.Module, x: Tensor) -> Normed:
        centered = x - x.mean(dim=-1, keepdim=True)
        inverse = torch.rsqrt((centered * centered).mean(dim=-1, keepdim=True) + norm.epsilon)
        unit = centered * inverse
        return Normed(unit * norm.weight[0] + norm.bias[0], unit, inverse)

    def _split(self, x: Tensor) -> Tensor:
        """[length, width] -> [heads, length, head_dim]"""
        architecture = self.model.architecture
        return x.view(self.length, architecture.heads, architecture.head_dim).transpose(0, 1)

    def _join(self, x: Tensor) -> Tensor:
        return x.transpose(0, 1).reshape(self.length, self.model.architecture.width)

    def _mask(self) -> Tensor:
        return torch.full((self.length, self.length), HIDDEN).triu(1)

    def _probabilities(self, x: Tensor) -> Tensor:
        return torch.softmax(self.model.head(x), dim=-1)

    def _cross_entropy(self, probabilities: Tensor, targets: Tensor) -> Tensor:
        rows = self.model.rows.count
        places = torch.arange(self.length, dtype=torch.int32) * rows + targets[0]
        chosen = functional.embedding(places, probabilities.reshape(-1, 1))[:, 0]
        return -torch.log(torch.clamp(chosen, min=SMALLEST)).reshape(1, -1)


class Gradient(Losses):
    """The gradient of the weighted loss of a sequence by the adapter."""

    def forward(self, sequence: Sequence, scaling: Tensor, adapter: Tensor) -> tuple[Tensor, Tensor]:
        """The gradient, a vector like the adapter, and the weighted loss, [1]."""
        pairs = self._pairs(adapter)
        x, saved = self._run(sequence.tokens, pairs, scaling)
        last = self._norm(self.model.ln_f, x)
        probabilities = self._probabilities(last.output)
        losses = self._cross_entropy(probabilities, sequence.targets)
        loss = (losses * sequence.weights).sum().reshape(1)
        head = self.model.head.weight
        mean = product(probabilities, head)
        back = (mean - functional.embedding(sequence.targets[0], head)) * sequence.weights.reshape(-1, 1)
        back = self._norm_back(self.model.ln_f, last, back)
        gradients: list[Pair] = []
        for layer in reversed(range(len(self.model.blocks))):
            back, of_layer = self._block_back(layer, saved[layer], pairs[2 * layer : 2 * layer + 2], scaling, back)
            gradients = [*of_layer, *gradients]
        return torch.cat([matrix.reshape(-1) for pair in gradients for matrix in pair]), loss

    def _block_back(
        self, layer: int, saved: Saved, pairs: list[Pair], scaling: Tensor, back: Tensor
    ) -> tuple[Tensor, list[Pair]]:
        """From the gradient of a layer's output, that of its input (not of the first layer, where nothing needs it),
        and those of its pairs.
        """
        block = self.model.blocks[layer]
        inner = product(product(back, block.c_proj.weight) * saved.derivative, block.c_fc.weight)
        back = back + self._norm_back(block.ln_2, saved.second, inner)

        o_inner = product(back, pairs[1].b) * scaling
        o_gradient = Pair(transposed_product(o_inner, saved.mixed), transposed_product(back, saved.inner[1]))
        mixed = self._split(product(back, block.o.weight) + product(o_inner, pairs[1].a))
        q, k, v = saved.heads
        scores = mixed @ v.transpose(1, 2)
        scores = saved.attention * (scores - (scores * saved.attention).sum(dim=-1, keepdim=True))
        q_back, k_back = self._join(scores @ k), self._join(scores.transpose(1, 2) @ q)
        v_back = self._join(saved.attention.transpose(1, 2) @ mixed)
        qkv_back = torch.cat([q_back * self.query_scales[layer], k_back, v_back], dim=-1)
        qkv_inner = product(qkv_back, pairs[0].b) * scaling
        gradient = Pair(transposed_product(qkv_inner, saved.first.output), transposed_product(qkv_back, saved.inner[0]))
        if layer == 0:
            return back, [gradient, o_gradient]
        first = product(q_back, block.q.weight) + product(k_back, block.k.weight) + product(v_back, block.v.weight)
        first = first + product(qkv_inner, pairs[0].a)
        return back + self._norm_back(block.ln_1, saved.first, first), [gradient, o_gradient]

    def _norm_back(self, norm: nn.Module, normed: Normed, back: Tensor) -> Tensor:
        back = back * norm.weight[0]
        along = (back * normed.unit).mean(dim=-1, keepdim=True)
        return (back - back.mean(dim=-1, keepdim=True) - normed.unit * along) * normed.inverse


def product(back: Tensor, matrix: Tensor) -> Tensor:
    """[rows, out] times a linear layer's [out, in]: how a gradient goes through the layer."""
    return back @ matrix


def transposed_product(left: Tensor, right: Tensor) -> Tensor:
    """[rows, m] and [rows, n] -> [m, n], summed over rows."""
    return left.T @ right


@dataclass(frozen=True)
class Schedule:
    """Scalars of an update, each float32 [1]: which one it is, from 1; the step size; weight decay."""

    step: Tensor
    rate: Tensor
    decay: Tensor


class Moments(NamedTuple):
    """AdamW's state: running means of the gradient and of its square."""

    first: Tensor
    second: Tensor


class Updated(NamedTuple):
    adapter: Tensor
    moments: Moments


def update(adapter: Tensor, moments: Moments, gradient: Tensor, schedule: Schedule) -> Updated:
    """One update as torch.optim.AdamW's, after a gradient larger than LARGEST_NORM is cut as by clip_grad_norm_."""
    norm = torch.sqrt((gradient * gradient).sum().reshape(1))
    gradient = gradient * torch.clamp(LARGEST_NORM / (norm + 1e-6), max=1.0)
    first = moments.first * BETAS[0] + gradient * (1 - BETAS[0])
    second = moments.second * BETAS[1] + gradient * gradient * (1 - BETAS[1])
    corrections = [1 - torch.exp(schedule.step * math.log(beta)) for beta in BETAS]
    change = first / (torch.sqrt(second) / torch.sqrt(corrections[1]) + EPSILON)
    kept = 1 - schedule.rate * schedule.decay
    return Updated(adapter * kept - change * (schedule.rate / corrections[0]), Moments(first, second))
