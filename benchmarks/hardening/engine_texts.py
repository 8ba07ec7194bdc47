"""Prints what LiteRT-LM writes from a bundle, as JSON; run as a program, because a broken bundle may end the process.

Arguments: the bundle, the rank of its LoRA inputs or 0, an adapter file for it or nothing.
"""

import json
import sys
import tempfile

import litert_lm

PROMPTS = ("def f(x):", "The sea is calm")

path, rank, adapter = sys.argv[1:]
litert_lm.set_min_log_severity(litert_lm.LogSeverity.ERROR)
with tempfile.TemporaryDirectory() as cache:
    ranks = {"lora_rank_config": litert_lm.LoraRankConfig(lora_rank=int(rank))} if int(rank) else {}
    lora = litert_lm.LoraConfig(lora_path=adapter) if int(rank) else None
    sampling = litert_lm.SamplerConfig(top_k=1, top_p=1.0, temperature=1.0, seed=1)
    with litert_lm.Engine(path, backend=litert_lm.Backend.CPU(thread_count=1), cache_dir=cache, **ranks) as engine:
        texts = []
        for prompt in PROMPTS:
            with engine.create_session(
                apply_prompt_template=False, sampler_config=sampling, max_output_tokens=8, lora_config=lora
            ) as session:
                session.run_prefill([prompt])
                texts.append("".join(response.texts[0] for response in session.run_decode_async()))
        print(json.dumps(texts))
