"""The full-size comparison: real text in many languages and programming languages, and 400,000 generated strings.

    python benchmarks/tokenizer_exactness.py [--tokenizer PATH] [--mode raw-bytes] [--train code:16000] [--json] [FILE…]

Documents, paragraphs, lines and windows of 2,000 characters cut anywhere are compared. FILEs (and folders) are read in
full; besides, text is found on this machine (see tokenizer_texts.py), at most --megabytes of each kind.
--train KIND:SIZE first trains a vocabulary, rich in white-space tokens and tokens of partial characters, on that text:
KIND is code, or multilingual (everything). Exit code 3 on any mismatch.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Iterable, Iterator

os.environ["TOKENIZERS_PARALLELISM"] = "false"
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.tokenizer_texts import COVERED_BYTES, PROGRAMMING, gather, gpt2_folder  # noqa: E402
from gpt2_training.vocabulary import train_vocabulary  # noqa: E402
from tokenizer_tools import texts  # noqa: E402
from tokenizer_tools.generators import GENERATORS  # noqa: E402
from tokenizer_tools.report import Comparison, add_generated  # noqa: E402
from tokenizer_tools.sentencepiece_model import build_sentencepiece  # noqa: E402
from tokenizer_tools.symbols import MODES, RAW_BYTES
from tokenizer_tools.vocabulary_files import BytePairVocabulary, read_vocabulary  # noqa: E402

_WINDOW = 2000
_STRETCH = 1 << 18


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", help="text files or folders to compare besides")
    parser.add_argument("--tokenizer", default=str(gpt2_folder() or ""), help="folder or tokenizer.json [GPT-2's]")
    parser.add_argument(
        "--train", metavar="KIND:SIZE", help="train the vocabulary instead: code:16000, multilingual:32000"
    )
    parser.add_argument("--mode", choices=MODES, default=RAW_BYTES)
    parser.add_argument("--megabytes", type=float, default=0.5, help="of each kind of text found at most [0.5]")
    parser.add_argument("--only-given", action="store_true", help="take no text from this machine besides FILEs")
    parser.add_argument("--generated", type=int, default=22_000, help="strings per generator [22000]")
    parser.add_argument("--json", action="store_true", help="print the whole report as one JSON object on stdout")
    arguments = parser.parse_args()

    texts_by_kind: dict[str, list[str]] = {}
    for kind, text in gather(arguments.files, int(arguments.megabytes * 1e6), not arguments.only_given):
        texts_by_kind.setdefault(kind, []).append(text)
    vocabulary = _train(texts_by_kind, arguments.train) if arguments.train else read_vocabulary(arguments.tokenizer)
    start = time.process_time()
    model = build_sentencepiece(vocabulary, arguments.mode)
    build_s = time.process_time() - start

    comparison = Comparison(vocabulary, model)
    for kind, documents in texts_by_kind.items():
        comparison.add(_cut(kind, documents))
    for name in GENERATORS:
        add_generated(comparison, name, arguments.generated)
    report = comparison.report()
    if arguments.json:
        print(json.dumps({"build_s": round(build_s, 2), **report.to_json()}, ensure_ascii=False, indent=1))
    _summary(texts_by_kind, report, build_s)
    return 3 if report.mismatched_tokens or report.total("round_trip_failures") else 0


def _cut(kind: str, documents: Iterable[str]) -> Iterator[tuple[str, str]]:
    family = "code" if kind in PROGRAMMING.values() else kind.split()[0]
    for document in documents:
        for at in range(0, len(document), _STRETCH):
            yield from ((f"{family} {form}", text) for form, text in texts.cut_document(document[at : at + _STRETCH]))
        for at in range(0, len(document), _WINDOW):
            yield f"{family} windows", document[at : at + _WINDOW]


def _train(texts_by_kind: dict[str, list[str]], asked: str) -> BytePairVocabulary:
    kind, _, size = asked.partition(":")
    chance = random.Random(5)
    stretches = [
        text[at : at + 1500]
        for name, documents in texts_by_kind.items()
        if kind == "multilingual" or name in PROGRAMMING.values()
        for text in documents
        for at in range(0, len(text), 1500)
    ]
    chance.shuffle(stretches)
    # White space of many kinds side by side, so that the vocabulary gets the tokens that are hardest to keep apart.
    mixed = [" ", "  ", "\n", "\t", "\r\n", "\xa0", "\u3000", "x", "\u2009", "é ", "中\n"]
    stretches = stretches[:9000] + ["".join(chance.choices(mixed, k=60)) for _ in range(1500)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tokenizer.json"
        train_vocabulary(stretches, int(size)).save(str(path))
        return read_vocabulary(path)


def _summary(texts_by_kind: dict[str, list[str]], report, build_s: float) -> None:
    sizes = {kind: sum(len(text.encode()) for text in documents) for kind, documents in texts_by_kind.items()}
    languages = {
        kind.split()[1].split("_")[0]
        for kind, size in sizes.items()
        if kind.startswith(("language ", "manual ")) and size >= COVERED_BYTES
    }
    programming = [kind for kind, size in sizes.items() if kind in PROGRAMMING.values() and size >= COVERED_BYTES]

    def say(text: str) -> None:
        print(text, file=sys.stderr)

    say(
        f"text: {sum(sizes.values()) / 1e6:.1f} MB, {len(languages)} languages and {len(programming)} programming and "
        f"markup languages with {COVERED_BYTES // 1000} kB or more ({', '.join(sorted(programming))})"
    )
    say(
        f"model: mode {report.mode}, {report.vocabulary_size:,} tokens, {report.alias_rows:,} alias rows, "
        f"{report.model_bytes:,} bytes, built in {build_s:.1f} s, loads in {report.load_ms:.1f} ms"
    )
    say(f"{'class':32}{'strings':>12}{'wrong':>8}{'tokens':>14}{'wrong':>8}")
    for apart, classes in (("", report.by_class), ("(apart) ", report.beyond_reach)):
        for name, counts in classes.items():
            say(
                f"{(apart + name)[:31]:32}{counts.strings:12,}{counts.mismatched_strings:8,}{counts.tokens:14,}"
                f"{counts.mismatched_tokens:8,}"
            )
    say(
        f"{'total':32}{report.total('strings'):12,}{report.total('mismatched_strings'):8,}{report.total('tokens'):14,}"
        f"{report.mismatched_tokens:8,}   unknown {report.total('unknown_tokens'):,}, round-trip failures "
        f"{report.total('round_trip_failures'):,}"
    )
    for name, counts in report.by_class.items():
        for example in counts.examples:
            say(f"  {name}, {example.cause}: {ascii(example.text)} expected {example.expected}, found {example.found}")


if __name__ == "__main__":
    sys.exit(main())
