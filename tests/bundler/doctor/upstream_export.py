"""Exports a tiny Llama with litert-torch's own converter and packs it with its own packer; run as a program: FOLDER,
tokenizer.json.

Writes default_f32_ekv64.tflite as the converter does by itself, mask_f32_ekv64.tflite with the mask as an input and the
transposed cache, and a .litertlm of each.
"""

import importlib.machinery
import sys
import types
from pathlib import Path

from ai_edge_litert import schema_py_generated

# litert-torch's LoRA module imports TFLite's schema from tensorflow, which it does not install; LiteRT has the same
# schema.
for name in ("tensorflow", "tensorflow.lite", "tensorflow.lite.python"):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__spec__ = importlib.machinery.ModuleSpec(name, None)
sys.modules["tensorflow.lite.python"].schema_py_generated = schema_py_generated
sys.modules["tensorflow.lite.python.schema_py_generated"] = schema_py_generated

import torch  # noqa: E402
from litert_torch.generative.examples.tiny_llama import tiny_llama  # noqa: E402
from litert_torch.generative.layers import kv_cache  # noqa: E402
from litert_torch.generative.utilities import converter, export_config  # noqa: E402
from litert_torch.generative.utilities.litertlm_builder import build_litertlm  # noqa: E402

VOCABULARY, CONTEXT, END = 400, 64, 399

if __name__ == "__main__":
    folder, tokenizer = Path(sys.argv[1]), sys.argv[2]
    config = tiny_llama.get_fake_model_config()
    config.vocab_size, config.num_layers, config.max_seq_len, config.embedding_dim = VOCABULARY, 2, CONTEXT, 32
    block = config.block_config(0)
    block.attn_config.num_heads, block.attn_config.num_query_groups, block.attn_config.head_dim = 4, 2, 8
    block.ff_config.intermediate_size = 48
    torch.manual_seed(0)
    model = tiny_llama.TinyLlama(config, mask_cache_size=CONTEXT).eval()
    for parameter in model.parameters():
        parameter.data = torch.randn_like(parameter) * 0.1
    for name, options in (
        ("default", {}),
        ("mask", dict(mask_as_input=True, kvcache_layout=kv_cache.KV_LAYOUT_TRANSPOSED)),
    ):
        path = converter.convert_to_tflite(
            model,
            output_path=str(folder),
            output_name_prefix=name,
            prefill_seq_len=[16],
            kv_cache_max_len=CONTEXT,
            quantize="none",
            export_config=export_config.ExportConfig(**options),
        )
        build_litertlm(
            path,
            workdir=str(folder),
            output_path=str(folder),
            context_length=CONTEXT,
            hf_tokenizer_model_path=tokenizer,
            start_token_id=END,
            stop_token_ids=[END],
        )
