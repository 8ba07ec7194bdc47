"""PEFT adapters of tiny GPT-2s, made and saved by peft itself, with both factors random (a new one's B is zero)."""

import json
import warnings

import torch
from peft import LoraConfig, get_peft_model
from transformers import GPT2Config, GPT2LMHeadModel

WIDTH, LAYERS = 32, 2


def tiny_model(seed=0, **fields):
    torch.manual_seed(seed)
    return GPT2LMHeadModel(
        GPT2Config(
            **{
                **dict(
                    vocab_size=61,
                    n_positions=24,
                    n_embd=WIDTH,
                    n_layer=LAYERS,
                    n_head=2,
                    resid_pdrop=0,
                    embd_pdrop=0,
                    attn_pdrop=0,
                    bos_token_id=0,
                    eos_token_id=0,
                ),
                **fields,
            }
        )
    ).eval()


def write_adapter(folder, model=None, seed=1, strength=0.3, safe=True, **options):
    """Save an adapter of `model` to `folder`; returns the PEFT model. `options` are LoraConfig's."""
    torch.manual_seed(seed)
    config = LoraConfig(
        **{**dict(r=4, lora_alpha=8, target_modules=["attn.c_attn", "attn.c_proj"], task_type="CAUSAL_LM"), **options}
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = get_peft_model(model or tiny_model(), config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.normal_(0, strength)
    model.save_pretrained(folder, safe_serialization=safe)
    return model.eval()


def edit_config(folder, **fields):
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def edit_tensors(folder, change):
    """Rewrite adapter_model.safetensors after `change(tensors)`."""
    from safetensors.torch import load_file, save_file

    tensors = {name: tensor.clone() for name, tensor in load_file(folder / "adapter_model.safetensors").items()}
    change(tensors)
    save_file(
        {name: tensor.clone() for name, tensor in tensors.items()},
        folder / "adapter_model.safetensors",
        {"format": "pt"},
    )
