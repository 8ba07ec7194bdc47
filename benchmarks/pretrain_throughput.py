"""Tokens a second of pretraining: `task-bundler pretrain`'s loop, nanoGPT's, and transformers' Trainer, in turns.

    python benchmarks/pretrain_throughput.py --preset sample --rounds 3

nanoGPT's model and loop are written here as its model.py and train.py have them (flash attention, tied head,
gradients clipped to 1, AdamW in two groups; fused, as ours). All three have the same shapes and precision. A round runs
some steps of each; the figure is the median over the steps of all rounds, without the first two of each.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from gpt2_training.corpus import Corpus, read_corpus
from gpt2_training.device import settled
from gpt2_training.pretrain import PRESETS, PretrainConfig, TrainingOutput, Watch, pretrain

_TEXT = 400_000  # characters of the standard library; enough for any shape
_WARM = 2  # steps of each run that do not count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="sample", choices=sorted(PRESETS))
    parser.add_argument("--batch", type=int, help="sequences, in place of the preset's")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=8, help="of each loop in a round")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--without", nargs="*", default=[], choices=["trainer"], help="what to leave out")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    config = settled(
        replace(
            PRESETS[arguments.preset],
            steps=arguments.steps,
            evaluate_every=arguments.steps,
            threads=arguments.threads,
            **({"batch": arguments.batch} if arguments.batch else {}),
        )
    )
    corpus = _corpus()
    loops = {"ours": _ours, "nanoGPT": _nanogpt, "transformers' Trainer": _trainer}
    if "trainer" in arguments.without:
        del loops["transformers' Trainer"]
    speeds: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(arguments.rounds):
        for name, loop in loops.items():
            speeds[name] += loop(config, corpus)[_WARM:]
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    figures = {
        "preset": arguments.preset,
        "batch": config.batch,
        "bfloat16": config.bfloat16,
        "threads": arguments.threads,
        "tokens_per_second": {name: round(value) for name, value in medians.items()},
        "ours_over": {name: round(medians["ours"] / value, 3) for name, value in medians.items() if name != "ours"},
    }
    print(json.dumps(figures, indent=1))


def _corpus() -> Corpus:
    whole = read_corpus("python-stdlib")
    text = "".join(whole.train)[:_TEXT]
    return Corpus([text], ["".join(whole.held_out)[: _TEXT // 20]], "")


def _ours(config: PretrainConfig, corpus: Corpus) -> list[float]:
    speeds: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        watch = Watch(lambda step: speeds.append(step.tokens_per_second))
        pretrain(corpus, TrainingOutput(Path(folder)), config, watch)
    return speeds


def _vocabulary(config: PretrainConfig, corpus: Corpus) -> int:
    if config.tokenizer == "bpe":
        return config.vocabulary
    from gpt2_training.vocabulary import make_vocabulary

    return make_vocabulary(config.tokenizer, corpus.train, config.vocabulary).get_vocab_size()


class _Attention(nn.Module):
    def __init__(self, config: PretrainConfig) -> None:
        super().__init__()
        self.c_attn = nn.Linear(config.width, 3 * config.width)
        self.c_proj = nn.Linear(config.width, config.width)
        self.resid_dropout = nn.Dropout(config.dropout)
        self.heads, self.dropout = config.heads, config.dropout

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, width = x.shape
        q, k, v = (
            part.view(batch, length, self.heads, width // self.heads).transpose(1, 2)
            for part in self.c_attn(x).split(width, dim=2)
        )
        y = F.scaled_dot_product_attention(q, k, v, dropout_p=self.dropout if self.training else 0, is_causal=True)
        return self.resid_dropout(self.c_proj(y.transpose(1, 2).contiguous().view(batch, length, width)))


class _Block(nn.Module):
    def __init__(self, config: PretrainConfig) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(config.width), nn.LayerNorm(config.width)
        self.attn = _Attention(config)
        self.c_fc, self.c_proj = (
            nn.Linear(config.width, 4 * config.width),
            nn.Linear(4 * config.width, config.width),
        )
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attn(self.ln_1(x))
        # nanoGPT has the exact GELU, GPT-2 and ours the tanh form; the same one here, so that the loops alone differ.
        hidden = F.gelu(self.c_fc(self.ln_2(x)), approximate="tanh")
        return x + self.dropout(self.c_proj(hidden))


class _Gpt(nn.Module):
    def __init__(self, config: PretrainConfig, vocabulary: int) -> None:
        super().__init__()
        self.wte, self.wpe = nn.Embedding(vocabulary, config.width), nn.Embedding(config.context, config.width)
        self.drop = nn.Dropout(config.dropout)
        self.h = nn.ModuleList(_Block(config) for _ in range(config.layers))
        self.ln_f = nn.LayerNorm(config.width)
        self.lm_head = nn.Linear(config.width, vocabulary, bias=False)
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.normal_(module.weight, std=0.02)
        self.wte.weight = self.lm_head.weight

    def forward(self, ids: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        x = self.drop(self.wte(ids) + self.wpe(torch.arange(ids.shape[1], device=ids.device)))
        for block in self.h:
            x = block(x)
        logits = self.lm_head(self.ln_f(x))
        return F.cross_entropy(logits.view(-1, logits.size(-1)), targets.view(-1), ignore_index=-1)


def _nanogpt(config: PretrainConfig, corpus: Corpus) -> list[float]:
    vocabulary = _vocabulary(config, corpus)
    model = _Gpt(config, vocabulary).to(config.device).train()
    parameters = list(model.parameters())
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": config.weight_decay},
            {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
        ],
        lr=config.learning_rate,
        betas=(0.9, config.beta2),
        fused=True,
    )
    data = torch.randint(vocabulary, (_TEXT,)).to(torch.int32)
    speeds = []

    def batch() -> tuple[torch.Tensor, torch.Tensor]:
        starts = torch.randint(len(data) - config.context, (config.batch,))
        x = torch.stack([data[i : i + config.context].long() for i in starts])
        y = torch.stack([data[i + 1 : i + 1 + config.context].long() for i in starts])
        return x.to(config.device), y.to(config.device)

    x, y = batch()
    for step in range(config.steps):
        started = time.perf_counter()
        rate = config.learning_rate * min(1, (step + 1) / 100) * 0.5 * (1 + math.cos(math.pi * step / config.steps))
        for group in optimizer.param_groups:
            group["lr"] = rate
        for _ in range(config.accumulate):
            with torch.autocast(config.device, torch.bfloat16, enabled=config.bfloat16):
                loss = model(x, y) / config.accumulate
            x, y = batch()
            loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        loss.item()
        speeds.append(_tokens(config) / (time.perf_counter() - started))
    return speeds


class _Sequences(torch.utils.data.Dataset):
    def __init__(self, config: PretrainConfig, vocabulary: int) -> None:
        self._ids = torch.randint(vocabulary, (_TEXT,))
        self._config = config

    def __len__(self) -> int:
        return len(self._ids) - self._config.context

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        ids = self._ids[index : index + self._config.context]
        return {"input_ids": ids, "labels": ids}


def _trainer(config: PretrainConfig, corpus: Corpus) -> list[float]:
    from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainerCallback, TrainingArguments

    vocabulary, speeds, started = _vocabulary(config, corpus), [], [0.0]

    class Clock(TrainerCallback):
        def on_step_begin(self, *arguments: object, **rest: object) -> None:
            started[0] = time.perf_counter()

        def on_step_end(self, *arguments: object, **rest: object) -> None:
            speeds.append(_tokens(config) / (time.perf_counter() - started[0]))

    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=vocabulary,
            n_positions=config.context,
            n_embd=config.width,
            n_layer=config.layers,
            n_head=config.heads,
            bos_token_id=0,
            eos_token_id=0,
            resid_pdrop=config.dropout,
            embd_pdrop=config.dropout,
            attn_pdrop=config.dropout,
        )
    )
    with tempfile.TemporaryDirectory() as folder:
        options = TrainingArguments(
            folder,
            max_steps=config.steps,
            per_device_train_batch_size=config.batch,
            gradient_accumulation_steps=config.accumulate,
            learning_rate=config.learning_rate,
            lr_scheduler_type="cosine",
            max_grad_norm=1.0,
            optim="adamw_torch_fused",
            bf16=bool(config.bfloat16),
            use_cpu=config.device == "cpu",
            report_to=[],
            logging_strategy="no",
            save_strategy="no",
            disable_tqdm=True,
        )
        Trainer(model, options, train_dataset=_Sequences(config, vocabulary), callbacks=[Clock()]).train()
    return speeds


def _tokens(config: PretrainConfig) -> int:
    return config.batch * config.accumulate * config.context


if __name__ == "__main__":
    main()
