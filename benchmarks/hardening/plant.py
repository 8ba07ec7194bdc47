"""Writes bundles, adapters and tokenizers with one defect each, and a list of them; run as a program (see `bundles`).

Arguments: the inputs, a folder of sound files, where to write, how many files with random damage, and the seed of it.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY / "tests" / "bundler" / "doctor"), str(REPOSITORY / "benchmarks")]
DAMAGED = (".task", ".litertlm", ".tflite", ".model")


def main() -> None:
    inputs, sound, target, trials, seed = (
        Path(sys.argv[1]),
        Path(sys.argv[2]),
        Path(sys.argv[3]),
        int(sys.argv[4]),
        int(sys.argv[5]),
    )
    entries = [
        *planted(inputs, target),
        *damaged(
            sorted(path for path in sound.iterdir() if path.suffix in DAMAGED), target, trials, random.Random(seed)
        ),
    ]
    (target / "list.json").write_text(json.dumps(entries))


def planted(inputs: Path, target: Path) -> list[dict]:
    from doctor_files import Good
    from planted_defects import PLANTED

    from tokenizer_tools.sentencepiece_model import build_sentencepiece
    from tokenizer_tools.vocabulary_files import read_vocabulary

    plain, fp32, lora = (inputs / name / "tiny" for name in ("plain", "fp32", "lora"))
    zero = inputs / "lora" / "adapters" / "zero.tflite"
    good = Good(
        plain.with_suffix(".task"),
        plain.with_suffix(".litertlm"),
        fp32.with_suffix(".task"),
        fp32.with_suffix(".litertlm"),
        lora.with_suffix(".task"),
        lora.with_suffix(".litertlm"),
        zero,
        zero,
        inputs / "plain" / "tokenizer.model",
        build_sentencepiece(read_vocabulary(inputs / "base"), mode="byte-mapped").proto,
    )
    entries = []
    for number, (code, breaks) in enumerate(PLANTED):
        folder = target / f"planted{number}"
        folder.mkdir()
        entries.append(
            {"name": f"{code}: {breaks.__name__}", "file": str(breaks(good, folder)), "expected": code, "source": None}
        )
    return entries


def damaged(sources: list[Path], target: Path, trials: int, chance: random.Random) -> list[dict]:
    from doctor_fuzz import damage

    entries = []
    for number in range(trials):
        source = sources[number % len(sources)]
        path = target / f"damaged{number}{source.suffix}"
        path.write_bytes(damage(source.read_bytes(), chance))
        entries.append(
            {"name": f"damage {number} of {source.name}", "file": str(path), "expected": None, "source": source.name}
        )
    return entries


if __name__ == "__main__":
    main()
