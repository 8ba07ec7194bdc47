"""nanoGPT's ckpt.pt with random weights."""

import torch
from tiny_checkpoint import write_vocabulary

ARGUMENTS = dict(n_layer=2, n_head=3, n_embd=12, block_size=16, bias=True, vocab_size=64, dropout=0.2)


def random_state(arguments):
    """nanoGPT's state dict: Linear weights are [out, in]; the head and wte are one tensor."""
    generator = torch.Generator().manual_seed(0)
    width, bias = arguments["n_embd"], arguments.get("bias", True)

    def normal(*shape):
        return torch.randn(shape, generator=generator) * 0.3

    state = {
        "transformer.wte.weight": normal(arguments["vocab_size"], width),
        "transformer.wpe.weight": normal(arguments["block_size"], width),
    }
    for layer in range(arguments["n_layer"]):
        for name, shape in (
            ("ln_1", (width,)),
            ("attn.c_attn", (3 * width, width)),
            ("attn.c_proj", (width, width)),
            ("ln_2", (width,)),
            ("mlp.c_fc", (4 * width, width)),
            ("mlp.c_proj", (width, 4 * width)),
        ):
            state[f"transformer.h.{layer}.{name}.weight"] = normal(*shape)
            if bias:
                state[f"transformer.h.{layer}.{name}.bias"] = normal(shape[0])
    state["transformer.ln_f.weight"] = normal(width)
    if bias:
        state["transformer.ln_f.bias"] = normal(width)
    state["lm_head.weight"] = state["transformer.wte.weight"]
    return state


def write_checkpoint(folder, prefix="", change=lambda checkpoint: None, **arguments):
    """What nanoGPT's train.py saves, optimizer and all."""
    arguments = {name: value for name, value in {**ARGUMENTS, **arguments}.items() if value is not None}
    state = random_state(arguments)
    checkpoint = {
        "model": {prefix + name: tensor for name, tensor in state.items()},
        "model_args": arguments,
        "iter_num": 2000,
        "optimizer": {
            "state": {0: {"step": torch.tensor(5.0), "exp_avg": torch.ones(3)}},
            "param_groups": [{"lr": 6e-4, "betas": (0.9, 0.95), "fused": True, "params": [0]}],
        },
        "best_val_loss": torch.tensor(1.5),
        "config": {"dataset": "openwebtext", "compile": True, "init_from": "scratch"},
    }
    change(checkpoint)
    folder.mkdir(exist_ok=True)
    torch.save(checkpoint, folder / "ckpt.pt")
    write_vocabulary(folder)
    return folder / "ckpt.pt", state, arguments
