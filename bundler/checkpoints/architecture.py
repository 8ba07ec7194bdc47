"""A GPT-2's architecture, read from config.json and checked field by field.

The fields and their defaults are those of transformers 5.23.0's GPT2Config; which of them change the
computation was read from its modeling_gpt2.py and masking_utils.py.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from bundler.errors import BundleError
from tokenizer_tools.errors import brief

# Of transformers' activations (ACT2FN), those a bundle can compute. The first three are one function and
# differ by rounding; so are silu and swish.
ACTIVATIONS = ("gelu_new", "gelu_pytorch_tanh", "gelu_fast", "gelu", "quick_gelu", "relu", "silu", "swish", "tanh")

# The names transformers lets a config use in place of GPT-2's own (GPT2Config.attribute_map), and n_ctx,
# which old configs carry beside n_positions and nothing reads any more.
OTHER_NAMES = {
    "n_embd": ("hidden_size",),
    "n_positions": ("max_position_embeddings", "n_ctx"),
    "n_head": ("num_attention_heads",),
    "n_layer": ("num_hidden_layers",),
}

# Fields that would make the model compute something else: the values that change nothing, and what the others do.
REFUSED_FIELDS = {
    "add_cross_attention": ((False, None), "adds cross-attention to an encoder, which GPT-2 lacks"),
    "is_encoder_decoder": ((False, None), "makes the model half of an encoder-decoder"),
    "is_causal": ((True, None), "lets tokens see the tokens after them"),
    "sliding_window": ((None,), "limits how far attention sees"),
    "attention_chunk_size": ((None,), "limits how far attention sees"),
    "layer_types": ((None,), "gives layers different kinds of attention"),
    "per_layer_config": ((None, {}, []), "gives layers different shapes"),
    "kv_sharing_modes": ((None,), "shares the KV cache between layers"),
    "pruned_heads": ((None, {}), "removes attention heads"),
    "quantization_config": ((None, {}), "says that the weights are already quantized"),
    "auto_map": ((None, {}), "names Python code that comes with the model, which is never run"),
}
ADVICE = {
    "quantization_config": "Give the checkpoint it was quantized from.",
    "auto_map": "If the weights are those of a plain GPT-2, remove auto_map from config.json.",
}

# The index of a model in many shards has a line for each tensor: GPT-2 XL's, 50 KB.
LARGEST_JSON = 8 << 20
# A number beyond this is a mistake or an attack: GPT-2 XL's largest is its vocabulary, 50,257.
LARGEST_SIZE = 1 << 31


@dataclass(frozen=True)
class GPT2Architecture:
    """What shapes a GPT-2's computation; sizes in elements.

    `activation` is one of ACTIVATIONS. Attention scores are multiplied by head_dim**-0.5 under
    `scale_attention` and divided by (layer + 1) under `scale_by_inverse_layer`. `tied_head`: the logits use
    wte.weight. (reorder_and_upcast_attn changes the order of roundings in half precision only: not kept.)
    """

    vocabulary: int
    positions: int
    width: int
    layers: int
    heads: int
    inner: int
    activation: str
    layer_norm_epsilon: float
    scale_attention: bool
    scale_by_inverse_layer: bool
    tied_head: bool

    @property
    def head_dim(self) -> int:
        return self.width // self.heads

    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        """Every tensor's canonical name and shape, in the model's order; matrices are [in, out] (HF's Conv1D)."""
        width, inner = self.width, self.inner
        shapes: dict[str, tuple[int, ...]] = {
            "wte.weight": (self.vocabulary, width),
            "wpe.weight": (self.positions, width),
        }
        for layer in range(self.layers):
            for name, shape in (
                ("ln_1", (width,)),
                ("attn.c_attn", (width, 3 * width)),
                ("attn.c_proj", (width, width)),
                ("ln_2", (width,)),
                ("mlp.c_fc", (width, inner)),
                ("mlp.c_proj", (inner, width)),
            ):
                shapes[f"h.{layer}.{name}.weight"] = shape
                shapes[f"h.{layer}.{name}.bias"] = shape[-1:]
        shapes["ln_f.weight"] = shapes["ln_f.bias"] = (width,)
        if not self.tied_head:
            shapes["lm_head.weight"] = (self.vocabulary, width)
        return shapes


def read_json(path: Path) -> dict:
    """The object in a JSON file. Raises BundleError when it is missing, unreadable, too large or no object."""
    if not path.is_file():
        raise BundleError(f"{path} is missing; a Hugging Face checkpoint has one")
    try:
        if (size := path.stat().st_size) > LARGEST_JSON:
            raise BundleError(
                f"{path} has {size:,} bytes, where {LARGEST_JSON:,} are the limit; give the file that belongs to the "
                "weights"
            )
        return parse_json(path.read_bytes(), str(path))
    except OSError as error:
        raise BundleError(f"{path} cannot be read ({error.strerror}); check its permissions") from None


def parse_json(data: bytes, where: str) -> dict:
    """The object that JSON in UTF-8 holds. `where` names it in errors. Raises BundleError."""
    try:
        value = json.loads(data.decode())
    # ValueError: no UTF-8, no JSON, or a number of more digits than Python reads (sys.set_int_max_str_digits).
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{where} is not valid JSON ({str(error)[:200]}); save or download it again") from None
    if not isinstance(value, dict):
        raise BundleError(f"{where} holds {_kind(value)} where a JSON object was expected; save or download it again")
    return value


def architecture_of(config: dict, where: str = "config.json") -> GPT2Architecture:
    """The architecture a config.json describes, absent fields taking GPT2Config's defaults.

    `where` names the file in errors. Raises BundleError on another model type, a field that changes the
    computation in a way that is not supported, or a value of the wrong kind.
    """
    model_type = config.get("model_type")
    if model_type != "gpt2":
        named = "no model_type" if model_type is None else f"model_type {brief(model_type)}"
        raise BundleError(f'{where} has {named}; only GPT-2 models (model_type "gpt2") can be bundled')
    for field, (harmless, effect) in REFUSED_FIELDS.items():
        if config.get(field) not in harmless:
            raise BundleError(
                f"{where} sets {field}, which {effect}; that is not supported. "
                + ADVICE.get(field, "Give a GPT-2 without it.")
            )

    width, heads = _positive(config, "n_embd", 768, where), _positive(config, "n_head", 12, where)
    if width % heads:
        raise BundleError(
            f"{where}: n_embd {width} is not divisible by n_head {heads}; "
            "every head needs the same whole width. Correct the config"
        )
    activation = config.get("activation_function", "gelu_new")
    if not isinstance(activation, str) or activation not in ACTIVATIONS:
        raise BundleError(
            f"{where}: activation_function is {brief(activation)}; supported are {', '.join(ACTIVATIONS)}"
        )
    _boolean(config, "reorder_and_upcast_attn", False, where)
    return GPT2Architecture(
        vocabulary=_positive(config, "vocab_size", 50257, where),
        positions=_positive(config, "n_positions", 1024, where),
        width=width,
        layers=_positive(config, "n_layer", 12, where),
        heads=heads,
        inner=4 * width if config.get("n_inner") is None else _positive(config, "n_inner", None, where),
        activation=activation,
        layer_norm_epsilon=_epsilon(config, where),
        scale_attention=_boolean(config, "scale_attn_weights", True, where),
        scale_by_inverse_layer=_boolean(config, "scale_attn_by_inverse_layer_idx", False, where),
        tied_head=_boolean(config, "tie_word_embeddings", True, where),
    )


def _positive(config: dict, field: str, default: int | None, where: str) -> int:
    names = [name for name in (field, *OTHER_NAMES.get(field, ())) if name in config]
    name = names[0] if names else field
    value = config.get(name, default)
    if type(value) is not int or not 1 <= value < LARGEST_SIZE:
        raise BundleError(
            f"{where}: {name} is {brief(value)}; a positive whole number below 2^31 was expected. Correct the config"
        )
    return value


def _boolean(config: dict, field: str, default: bool, where: str) -> bool:
    value = config.get(field, default)
    if not isinstance(value, bool):
        raise BundleError(f"{where}: {field} is {brief(value)}; true or false was expected. Correct the config")
    return value


def _epsilon(config: dict, where: str) -> float:
    value = config.get("layer_norm_epsilon", 1e-5)
    if type(value) not in (int, float) or not 0 < value <= 1:  # false for NaN
        raise BundleError(
            f"{where}: layer_norm_epsilon is {brief(value)}; a small positive number was expected. Correct the config"
        )
    return float(value)


def _kind(value: object) -> str:
    return {list: "a list", str: "a string", type(None): "null", bool: "a boolean"}.get(type(value), "a number")
