"""GPT-2 as the on-device runtimes want it: KV cache and mask come in as tensors, the new cache goes out.

The arithmetic is that of Hugging Face's GPT2LMHeadModel; what differs is the interface.

* The cache is an argument and a result. Keys are [1, heads, context, head_dim], values
  [1, heads, head_dim, context]: the layout whose context length every runtime reads correctly.
* The attention mask is an argument. Built inside the graph it becomes operators that GPU delegates
  refuse.
* The fused `c_attn` is cut into q, k and v, so that a LoRA delta has one matrix to be added to. The two
  factors of each delta may be arguments: whoever runs the model then chooses the adapter.
* The embedding has more rows than the vocabulary: alias rows (copies of other rows, under which a
  SentencePiece tokenizer may name a token) and padding to a multiple of 4, which GPU samplers need.
  The head's bias keeps both from ever being generated.
"""

from __future__ import annotations

from typing import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from bundler.checkpoints.architecture import GPT2Architecture
from bundler.conversion.exported_weights import TokenRows

# The matrices of a layer that a LoRA delta can be added to, in the order of the adapter file.
PROJECTIONS = ("q", "k", "v", "o")


def _gelu_tanh(x: Tensor) -> Tensor:
    return functional.gelu(x, approximate="tanh")


# One entry for each of architecture.ACTIVATIONS. The names for the tanh form differ by rounding only.
FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu_new": _gelu_tanh,
    "gelu_pytorch_tanh": _gelu_tanh,
    "gelu_fast": _gelu_tanh,
    "gelu": functional.gelu,
    "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
    "relu": functional.relu,
    "silu": functional.silu,
    "swish": functional.silu,
    "tanh": torch.tanh,
}


class LayerNorm(nn.Module):
    """nn.LayerNorm with its weight and bias as [1, 1, width].

    With the usual [width] the converter multiplies them into the linear layers that follow, in the
    prefill signatures but not in decode: the file would hold most weights twice, and a LoRA delta would
    meet another input than the one it was trained on.
    """

    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.epsilon = epsilon
        self.weight, self.bias = nn.Parameter(torch.empty(1, 1, width)), nn.Parameter(torch.empty(1, 1, width))

    def forward(self, x: Tensor) -> Tensor:
        # Spelled out with means that keep their dimension: the converter's own form reshapes six times.
        centered = x - x.mean(-1, keepdim=True)
        scale = torch.rsqrt((centered * centered).mean(-1, keepdim=True) + self.epsilon)
        return centered * scale * self.weight + self.bias


class Block(nn.Module):
    """One transformer layer: x [1, N, width] and the layer's cache in, the same out.

    The scale of the attention scores is inside q's weights, see `exported_weights.query_scale`.
    """

    def __init__(self, architecture: GPT2Architecture) -> None:
        super().__init__()
        width, inner, epsilon = architecture.width, architecture.inner, architecture.layer_norm_epsilon
        self.heads, self.head_dim = architecture.heads, architecture.head_dim
        self.activation = FUNCTIONS[architecture.activation]
        self.ln_1, self.ln_2 = LayerNorm(width, epsilon), LayerNorm(width, epsilon)
        self.q, self.k, self.v, self.o = (nn.Linear(width, width) for _ in range(4))
        self.c_fc, self.c_proj = nn.Linear(width, inner), nn.Linear(inner, width)

    def forward(
        self,
        x: Tensor,
        start: Tensor,
        k_cache: Tensor,
        v_cache: Tensor,
        mask: Tensor,
        lora: dict[str, tuple[Tensor, Tensor]] | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        # litert-torch's operators: index_copy and einsum in PyTorch, DYNAMIC_UPDATE_SLICE and BATCH_MATMUL in TFLite.
        # Both factors of bmm_4d have the summed dimension last, as the caches do: nothing is transposed.
        from litert_torch.generative.custom_ops.bmm_4d import bmm_4d
        from litert_torch.generative.custom_ops.dynamic_update_slice import dynamic_update_slice

        batch, length, width = x.shape
        split = (batch, length, self.heads, self.head_dim)

        def project(name: str, x: Tensor) -> Tensor:
            linear = getattr(self, name)(x)
            return linear if lora is None else linear + x @ lora[name][0] @ lora[name][1]

        h = self.ln_1(x)
        q = project("q", h).view(split).transpose(1, 2)
        k = project("k", h).view(split).transpose(1, 2)
        v = project("v", h).view(split).permute(0, 2, 3, 1)
        zero = torch.zeros([], dtype=torch.int32)
        k_cache = dynamic_update_slice(k_cache, k, [zero, zero, start, zero])
        v_cache = dynamic_update_slice(v_cache, v, [zero, zero, zero, start])
        weights = torch.softmax(bmm_4d(q, k_cache) + mask, dim=-1)
        y = bmm_4d(weights, v_cache).transpose(1, 2).reshape(batch, length, width)
        x = x + project("o", y)
        return x + self.c_proj(self.activation(self.c_fc(self.ln_2(x)))), k_cache, v_cache


class ExportableGPT2(nn.Module):
    """See the module's text. `context`: for how many tokens there is room, at most the checkpoint's positions."""

    def __init__(self, architecture: GPT2Architecture, context: int, rows: TokenRows) -> None:
        super().__init__()
        self.architecture, self.context, self.rows = architecture, context, rows
        self.wte = nn.Embedding(rows.count, architecture.width)
        self.wpe = nn.Embedding(context, architecture.width)
        self.blocks = nn.ModuleList(Block(architecture) for _ in range(architecture.layers))
        self.ln_f = LayerNorm(architecture.width, architecture.layer_norm_epsilon)
        self.head = nn.Linear(architecture.width, rows.count)
        if architecture.tied_head:
            self.head.weight = self.wte.weight

    def forward(
        self,
        tokens: Tensor,
        input_pos: Tensor,
        kv_cache: dict[str, Tensor],
        mask: Tensor,
        lora: dict[str, Tensor] | None = None,
        logits: bool = True,
    ) -> dict:
        """Run `tokens` int32 [1, N] at positions `input_pos` int32 [N].

        `kv_cache` holds k_i and v_i of every layer; it may be of another length than the context. `mask` float32
        [1, 1, N, its length] is added to the attention scores (0 = seen, a large negative number = hidden). `lora`
        holds the tensors of an adapter, named as in `empty_adapter`. Returns the new `kv_cache` and, if asked for,
        `logits` float32 [1, N, rows].
        """
        x = self.wte(tokens) + self.wpe(input_pos)
        start = input_pos[0].reshape([])
        cache = {}
        for layer, block in enumerate(self.blocks):
            factors = (
                None
                if lora is None
                else {
                    projection: (lora[lora_name(projection, "a", layer)], lora[lora_name(projection, "b", layer)])
                    for projection in PROJECTIONS
                }
            )
            x, cache[f"k_{layer}"], cache[f"v_{layer}"] = block(
                x, start, kv_cache[f"k_{layer}"], kv_cache[f"v_{layer}"], mask, factors
            )
        return {"kv_cache": cache, "logits": self.head(self.ln_f(x))} if logits else {"kv_cache": cache}

    def empty_cache(self, length: int | None = None) -> dict[str, Tensor]:
        """A cache of zeros, the only content a runtime may start from: an undefined one can hold NaN, and 0 * NaN is
        NaN. `length`: in tokens, the context unless another is given.
        """
        length = length or self.context
        heads, head_dim = self.architecture.heads, self.architecture.head_dim
        cache = {}
        for layer in range(self.architecture.layers):
            cache[f"k_{layer}"] = torch.zeros(1, heads, length, head_dim)
            cache[f"v_{layer}"] = torch.zeros(1, heads, head_dim, length)
        return cache

    def empty_adapter(self, rank: int) -> dict[str, Tensor]:
        """The adapter of zeros, which changes nothing: a [width, rank] and b [rank, width] of each layer's projections.

        A delta is x @ a @ b. For q it counts in q's scaled terms, see `exported_weights.query_scale`.
        """
        width = self.architecture.width
        shapes = {"a": (width, rank), "b": (rank, width)}
        return {
            lora_name(projection, factor, layer): torch.zeros(shapes[factor])
            for layer in range(self.architecture.layers)
            for projection in PROJECTIONS
            for factor in "ab"
        }


def lora_name(projection: str, factor: str, layer: int) -> str:
    """The name of a LoRA tensor in the argument `lora`; the signatures' inputs have the prefix `lora_` before it.

    The names are those of litert-torch's generative.layers.lora, which both runtimes look for.
    """
    return f"atten_{projection}_{factor}_prime_weight_{layer}"


def weightless(architecture: GPT2Architecture, context: int, rows: TokenRows) -> ExportableGPT2:
    """Build the model without any weights: its parameters have shapes alone."""
    with torch.device("meta"):
        model = ExportableGPT2(architecture, context, rows)
    return model.requires_grad_(False).eval()
