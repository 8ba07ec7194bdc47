"""A GPT-2 checkpoint as a GGUF file for llama.cpp, tensor by tensor.

Names, metadata and which tensors stay in fp32 are those of llama.cpp's convert_hf_to_gguf.py (its GPT2Model) and of its
quantization (llama_model_quantize): vectors and the table of positions are not quantized.
"""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

from bundler.checkpoints.checkpoint import Checkpoint
from tokenizer_tools.vocabulary import BytePairVocabulary

F32, Q8_0, Q4_0 = (gguf.GGMLQuantizationType[name] for name in ("F32", "Q8_0", "Q4_0"))
NAMES = {
    "wte": "token_embd",
    "wpe": "position_embd",
    "ln_f": "output_norm",
    "ln_1": "attn_norm",
    "attn.c_attn": "attn_qkv",
    "attn.c_proj": "attn_output",
    "ln_2": "ffn_norm",
    "mlp.c_fc": "ffn_up",
    "mlp.c_proj": "ffn_down",
    "lm_head": "output",
}


def write_gguf(
    checkpoint: Checkpoint,
    vocabulary: BytePairVocabulary,
    path: Path,
    layers: gguf.GGMLQuantizationType = F32,
    embedding: gguf.GGMLQuantizationType = F32,
) -> None:
    """Write `path` with the matrices of the layers and the embedding as the given types."""
    shape = checkpoint.architecture
    writer = gguf.GGUFWriter(path, "gpt2")
    writer.add_name(checkpoint.source.name)
    writer.add_block_count(shape.layers)
    writer.add_context_length(shape.positions)
    writer.add_embedding_length(shape.width)
    writer.add_feed_forward_length(shape.inner)
    writer.add_head_count(shape.heads)
    writer.add_layer_norm_eps(shape.layer_norm_epsilon)
    _add_vocabulary(writer, vocabulary, shape.vocabulary)

    def kind(name: str) -> gguf.GGMLQuantizationType:
        if name.startswith(("wte", "lm_head")):
            return embedding
        return layers if name.startswith("h.") and len(shapes[name]) == 2 else F32

    shapes = shape.tensor_shapes()
    for name, size in shapes.items():
        # A Conv1D is [in, out]; GGUF has the summed dimension last, as torch.nn.Linear.
        size = size[::-1] if name.startswith("h.") else size
        stored = gguf.quant_shape_to_byte_shape(size, kind(name)) if kind(name) != F32 else size
        type_ = np.dtype(np.float32 if kind(name) == F32 else np.uint8)
        writer.add_tensor_info(gguf_name(name), stored, type_, int(np.prod(stored)) * type_.itemsize, kind(name))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for name in shapes:
        tensor = checkpoint.tensor(name).numpy()
        tensor = np.ascontiguousarray(tensor.T) if name.startswith("h.") else tensor
        writer.write_tensor_data(tensor if kind(name) == F32 else gguf.quants.quantize(tensor, kind(name)))
    writer.close()


def gguf_name(name: str) -> str:
    """llama.cpp's name of a checkpoint's tensor."""
    stem, _, role = name.rpartition(".")
    if not stem.startswith("h."):
        return f"{NAMES[stem]}.{role}"
    _, layer, part = stem.split(".", 2)
    return f"blk.{layer}.{NAMES[part]}.{role}"


def _add_vocabulary(writer: gguf.GGUFWriter, vocabulary: BytePairVocabulary, rows: int) -> None:
    """The byte-level BPE. Rows of the embedding beyond it are tokens that no text becomes."""
    tokens = [*vocabulary.tokens, *(f"[PAD{index}]" for index in range(len(vocabulary), rows))]
    special = {*vocabulary.special_tokens}
    types = [
        gguf.TokenType.UNUSED
        if index >= len(vocabulary)
        else gguf.TokenType.CONTROL
        if token in special
        else gguf.TokenType.NORMAL
        for index, token in enumerate(tokens)
    ]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges([" ".join(pair) for pair in vocabulary.merges])
    writer.add_add_bos_token(False)
    end = next(iter(vocabulary.special_ids), None)
    if end is not None:
        writer.add_bos_token_id(end)
        writer.add_eos_token_id(end)
