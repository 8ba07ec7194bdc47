"""How fast LiteRT-LM reads and writes with bundles, in turns in one process, after prompts of several lengths.

    python benchmarks/decode_speed.py out/g/g.litertlm
    python benchmarks/decode_speed.py before/g.litertlm after/g.litertlm --after 128 850

For each file and length it prints the median and the range, in tokens a second: of decode between the first token and
the last, and of prefill up to the first token. The ratio is that to the first file, round by round. All files have to
share their vocabulary. On a machine that others use too, trust the ratios.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from contextlib import ExitStack
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from bundler.engines.litertlm import LiteRtLmEngine, open_engine  # noqa: E402
from bundler.verification.text import verification_text  # noqa: E402


def prompt_of(engine: LiteRtLmEngine, length: int) -> str:
    """The longest text of whole words that takes at most `length` tokens."""
    words = (verification_text() + " ").split(" ") * (1 + length // 100)
    fewest, most = 1, len(words)
    while fewest < most:
        middle = (fewest + most + 1) // 2
        fits = len(engine.tokenize(" ".join(words[:middle]))) <= length
        fewest, most = (middle, most) if fits else (fewest, middle - 1)
    return " ".join(words[:fewest])


def measure(engine: LiteRtLmEngine, prompt: str, tokens: int) -> dict[str, float]:
    """Tokens a second of one completion; a piece that the engine hands out is one token."""
    started = time.perf_counter()
    times = [time.perf_counter() for _ in engine.generate(prompt, tokens)]
    if len(times) < 2:
        raise SystemExit(f"the model wrote {len(times)} tokens after {prompt[-20:]!r}; at least two were expected")
    return {
        "decode": (len(times) - 1) / (times[-1] - times[0]),
        "prefill": len(engine.tokenize(prompt)) / (times[0] - started),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--after", nargs="+", type=int, default=[16, 128, 850], help="lengths of prompts, in tokens")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    options = parser.parse_args()
    results = []
    with ExitStack() as opened:
        engines = [opened.enter_context(open_engine(path, threads=options.threads)) for path in options.files]
        for length in options.after:
            prompt = prompt_of(engines[0], length)
            # Each round begins otherwise: a session does not compute again what it has read before. The first warms up.
            rounds = [
                [measure(engine, f"{number}{prompt}", options.tokens) for engine in engines]
                for number in range(options.rounds + 1)
            ][1:]
            for kind in ("prefill", "decode"):
                for number, path in enumerate(options.files):
                    speeds = [figures[number][kind] for figures in rounds]
                    results.append(
                        {
                            "kind": kind,
                            "after": length,
                            "file": str(path),
                            "tokens_per_second": round(statistics.median(speeds), 1),
                            "range": [round(min(speeds), 1), round(max(speeds), 1)],
                            "ratio": round(statistics.median(f[number][kind] / f[0][kind] for f in rounds), 3),
                        }
                    )
    if options.json:
        print(json.dumps(results, indent=1))
        return
    for result in results:
        low, high = result["range"]
        print(
            f"{result['kind']:8}{result['after']:5} tokens: {result['tokens_per_second']:8.1f} tokens/s "
            f"({low:.1f} to {high:.1f}), {result['ratio']:.2f} x  {result['file']}"
        )


if __name__ == "__main__":
    main()
