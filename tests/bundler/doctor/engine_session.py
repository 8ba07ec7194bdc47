"""Opens a bundle in LiteRT-LM and lets it write; run as a program, because broken bundles end the process.

Arguments: the bundle, a prompt, the rank of its LoRA inputs or 0, an adapter file or nothing.
"""

import sys
import tempfile
from pathlib import Path

import litert_lm

path, prompt, rank, adapter = sys.argv[1:]
litert_lm.set_min_log_severity(litert_lm.LogSeverity.ERROR)
# Beside the bundle: where the process ends by itself, nobody would remove it.
with tempfile.TemporaryDirectory(dir=Path(path).parent) as cache:
    ranks = {"lora_rank_config": litert_lm.LoraRankConfig(lora_rank=int(rank))} if int(rank) else {}
    with litert_lm.Engine(path, backend=litert_lm.Backend.CPU(thread_count=1), cache_dir=cache, **ranks) as engine:
        lora = litert_lm.LoraConfig(lora_path=adapter) if adapter else None
        sampling = litert_lm.SamplerConfig(top_k=1, top_p=1.0, temperature=1.0, seed=1)
        with engine.create_session(
            apply_prompt_template=False, sampler_config=sampling, max_output_tokens=8, lora_config=lora
        ) as session:
            session.run_prefill([prompt])
            for _ in session.run_decode_async():
                pass
            print("WRITTEN")
