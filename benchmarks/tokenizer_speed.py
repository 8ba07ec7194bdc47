"""Build time, load time, size and encoding speed of the rebuilt tokenizer beside Hugging Face tokenizers, on one
thread.

    python benchmarks/tokenizer_speed.py [--tokenizer PATH] [--mode raw-bytes] [--json] [FILE…]

Without FILEs it takes text found on this machine (see tokenizer_texts.py). All numbers are the best of several
runs, in processor time, so a busy machine spoils them less.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

os.environ["TOKENIZERS_PARALLELISM"] = "false"
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.tokenizer_texts import gather, gpt2_folder  # noqa: E402
from tokenizer_tools.report import Comparison  # noqa: E402
from tokenizer_tools.sentencepiece_model import build_sentencepiece  # noqa: E402
from tokenizer_tools.symbols import MODES, RAW_BYTES
from tokenizer_tools.vocabulary_files import read_vocabulary  # noqa: E402

_RUNS = 5
_STRETCH = 4000  # characters: about a prompt of 1,000 tokens


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", help="text files or folders")
    parser.add_argument("--tokenizer", default=str(gpt2_folder() or ""), help="folder or tokenizer.json [GPT-2's]")
    parser.add_argument("--mode", choices=MODES, default=RAW_BYTES)
    parser.add_argument("--megabytes", type=float, default=1.0, help="of each kind of text at most")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    arguments = parser.parse_args()

    vocabulary = read_vocabulary(arguments.tokenizer)
    start = time.process_time()
    model = build_sentencepiece(vocabulary, arguments.mode)
    build_s = time.process_time() - start
    comparison = Comparison(vocabulary, model)

    kinds = (
        ("given",)
        if arguments.files
        else ("Python", "C", "Markdown", "manual de", "manual ru", "manual ja", "language zh_CN")
    )
    texts: dict[str, list[str]] = {kind: [] for kind in kinds}
    for kind, text in gather(arguments.files, int(arguments.megabytes * 1e6), found_here=not arguments.files):
        if kind in texts:
            texts[kind] += [text[at : at + _STRETCH] for at in range(0, len(text), _STRETCH)]
    rows = {kind: _speeds(comparison, stretches) for kind, stretches in texts.items() if stretches}
    everything = [text for stretches in texts.values() for text in stretches]
    rows["all"] = _speeds(comparison, everything)
    result = {
        "tokenizer": arguments.tokenizer,
        "mode": model.mode,
        "build_s": round(build_s, 2),
        "load_ms": round(comparison.load_ms, 2),
        "model_bytes": len(model.proto),
        "alias_rows": len(model.alias_of),
        "keys": model.keys,
        "encode_mb_s": rows,
    }
    if arguments.json:
        print(json.dumps(result, indent=1))
        return
    print(
        f"{len(vocabulary):,} tokens, mode {model.mode}: build {build_s:.1f} s, {len(model.proto):,} bytes, "
        f"load {comparison.load_ms:.1f} ms, {len(model.alias_of):,} alias rows, {model.keys:,} keys"
    )
    print(f"{'text':16}{'bytes':>12}{'sentencepiece':>16}{'tokenizers':>16}   MB/s")
    for kind, row in rows.items():
        print(f"{kind:16}{row['bytes']:12,}{row['sentencepiece']:16.2f}{row['tokenizers']:16.2f}")


def _speeds(comparison: Comparison, texts: list[str]) -> dict[str, float]:
    size = sum(len(text.encode()) for text in texts)
    prompts = list(map(comparison.prompt, texts))
    return {
        "bytes": size,
        "sentencepiece": round(size / 1e6 / _best(lambda: comparison.processor.encode(prompts, num_threads=1)), 2),
        "tokenizers": round(size / 1e6 / _best(lambda: comparison.reference.encode_batch_fast(texts)), 2),
    }


def _best(run) -> float:
    times = []
    for _ in range(_RUNS):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return min(times)


if __name__ == "__main__":
    main()
