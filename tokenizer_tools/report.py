"""Compares the ids of a SentencePiece model with the reference tokenizer's, string by string, and counts.

Strings are taken from iterators in batches, so memory does not grow with the text.
"""

from __future__ import annotations

import itertools
import time
from dataclasses import asdict, dataclass, field
from typing import Iterable, Iterator

from tokenizer_tools import texts
from tokenizer_tools.generators import GENERATORS, generate
from tokenizer_tools.piece_vocabulary import PieceVocabulary
from tokenizer_tools.reach import beyond_reach
from tokenizer_tools.sentencepiece_model import SentencePieceModel
from tokenizer_tools.symbols import RAW_BYTES
from tokenizer_tools.vocabulary import BytePairVocabulary, bytes_to_symbols, reference_tokenizer

_BATCH_STRINGS = 1000
_BATCH_CHARACTERS = 1 << 20
_EXAMPLES = 5
_EXAMPLE_CHARACTERS = 24
# Speed and load time are the best of several runs: noise only ever adds time.
_LOADS = 5


@dataclass(frozen=True)
class Example:
    """One mismatch: the text around the first difference, and both tokenizers' ids from there."""

    text: str
    expected: list[int]
    found: list[int]
    cause: str


@dataclass
class ClassCounts:
    """Counts for one kind of string. A token is mismatched when the model has no such id at the same bytes."""

    strings: int = 0
    mismatched_strings: int = 0
    tokens: int = 0
    mismatched_tokens: int = 0
    unknown_tokens: int = 0
    round_trip_failures: int = 0
    bytes: int = 0
    causes: dict[str, int] = field(default_factory=dict)
    examples: list[Example] = field(default_factory=list)


_SUMMED = (
    "strings",
    "mismatched_strings",
    "tokens",
    "mismatched_tokens",
    "unknown_tokens",
    "round_trip_failures",
    "bytes",
)


@dataclass
class MismatchReport:
    """Counts by class. `beyond_reach` holds the generated strings the design cannot get right, outside the totals."""

    by_class: dict[str, ClassCounts]
    beyond_reach: dict[str, ClassCounts]
    vocabulary_size: int
    alias_rows: int
    model_bytes: int
    mode: str
    load_ms: float
    encode_mb_s: dict[str, float]
    deviations: list[str]

    def total(self, name: str) -> int:
        return sum(getattr(counts, name) for counts in self.by_class.values())

    @property
    def mismatched_tokens(self) -> int:
        return self.total("mismatched_tokens")

    def to_json(self) -> dict:
        """The report as one JSON object: totals, sizes and speeds, and `by_class`."""
        return {
            **{name: self.total(name) for name in _SUMMED},
            "alias_rows": self.alias_rows,
            "vocabulary_size": self.vocabulary_size,
            "model_bytes": self.model_bytes,
            "mode": self.mode,
            "load_ms": round(self.load_ms, 2),
            "encode_mb_s": {name: round(speed, 2) for name, speed in self.encode_mb_s.items()},
            "deviations": self.deviations,
            "by_class": {name: asdict(counts) for name, counts in self.by_class.items()},
            "beyond_reach": {name: asdict(counts) for name, counts in self.beyond_reach.items()},
        }


class Comparison:
    """Both tokenizers, and the counts so far."""

    def __init__(self, vocabulary: BytePairVocabulary, model: SentencePieceModel) -> None:
        import numpy
        import sentencepiece

        self.vocabulary, self.model = vocabulary, model
        self.reference = reference_tokenizer(vocabulary)
        loads = []
        for _ in range(_LOADS):
            start = time.perf_counter()
            self.processor = sentencepiece.SentencePieceProcessor()
            self.processor.LoadFromSerializedProto(model.proto)
            loads.append(time.perf_counter() - start)
        self.load_ms = 1000 * min(loads)
        self._original = numpy.array([*range(model.vocabulary_size), *model.alias_of])
        self._lengths = numpy.array([len(vocabulary.token_bytes(index)) for index in range(len(vocabulary))])
        self.seconds = {"sentencepiece": 0.0, "tokenizers": 0.0}
        self.timed_bytes = 0
        self.by_class: dict[str, ClassCounts] = {}
        self.beyond: dict[str, ClassCounts] = {}

    def prompt(self, text: str) -> str:
        """The text as the model wants it: as it is (mode raw-bytes), or in GPT-2's byte alphabet (mode byte-mapped)."""
        return text if self.model.mode == RAW_BYTES else bytes_to_symbols(text.encode())

    def add(self, strings: Iterable[tuple[str, str]], beyond: bool = False) -> None:
        """Compare (class, string) pairs; `beyond` counts them apart from the totals."""
        into = self.beyond if beyond else self.by_class
        for batch in _batches(strings):
            inputs = [text for _, text in batch]
            prompts = list(map(self.prompt, inputs))
            start = time.perf_counter()
            expected = self.reference.encode_batch_fast(inputs, add_special_tokens=False)
            middle = time.perf_counter()
            found = self.processor.encode(prompts, num_threads=1)
            end = time.perf_counter()
            self.seconds["tokenizers"] += middle - start
            self.seconds["sentencepiece"] += end - middle
            self.timed_bytes += sum(len(text.encode()) for text in inputs)
            decoded = self.processor.decode(found, out_type=bytes, num_threads=1)
            for (name, text), prompt, wanted, ids, back in zip(batch, prompts, expected, found, decoded):
                self._count(into.setdefault(name, ClassCounts()), text, prompt, wanted.ids, ids, back)

    def _count(
        self, counts: ClassCounts, text: str, prompt: str, expected: list[int], found: list[int], back: bytes
    ) -> None:
        import numpy

        counts.strings += 1
        counts.tokens += len(expected)
        counts.bytes += len(text.encode())
        unknown = self.processor.unk_id()
        if unknown in found:
            counts.unknown_tokens += found.count(unknown)
        # With a space before the text, the reference gives it back with that space.
        sent = self.vocabulary.decode(expected) if self.vocabulary.prefix_space else prompt.encode()
        if back != sent:
            counts.round_trip_failures += 1
        ids = self._original[found] if found else numpy.zeros(0, int)
        wanted = numpy.array(expected, int)
        if len(ids) == len(wanted) and (ids == wanted).all():
            return
        counts.mismatched_strings += 1
        ends, wanted_ends = self._lengths[ids].cumsum(), self._lengths[wanted].cumsum()
        spans = set(zip((ends - self._lengths[ids]).tolist(), ids.tolist()))
        starts = (wanted_ends - self._lengths[wanted]).tolist()
        counts.mismatched_tokens += max(1, sum(pair not in spans for pair in zip(starts, wanted.tolist())))
        same = next((index for index, (a, b) in enumerate(zip(ids, wanted)) if a != b), min(len(ids), len(wanted)))
        at = len(text.encode()[: int(wanted_ends[same - 1]) if same else 0].decode(errors="ignore"))
        around = text[max(0, at - _EXAMPLE_CHARACTERS) : at + _EXAMPLE_CHARACTERS]
        cause = beyond_reach(around) or (
            "a deviation of the tokenizer from GPT-2's rules" if self.vocabulary.deviations else "not known"
        )
        counts.causes[cause] = counts.causes.get(cause, 0) + 1
        if len(counts.examples) < _EXAMPLES:
            counts.examples.append(Example(around, expected[same : same + 8], ids[same : same + 8].tolist(), cause))

    def report(self) -> MismatchReport:
        """What was counted. Speeds are over all strings so far, each tokenizer on one thread if
        TOKENIZERS_PARALLELISM=false was set before the first string."""
        speeds = {name: self.timed_bytes / 1e6 / seconds if seconds else 0.0 for name, seconds in self.seconds.items()}
        return MismatchReport(
            self.by_class,
            self.beyond,
            len(self.vocabulary),
            len(self.model.alias_of),
            len(self.model.proto),
            self.model.mode,
            self.load_ms,
            speeds,
            list(self.vocabulary.deviations),
        )


def compare(
    vocabulary: BytePairVocabulary,
    model: SentencePieceModel,
    paths: Iterable = (),
    generated: int = 2000,
    seed: int = 0,
    built_in: bool = False,
) -> MismatchReport:
    """Compare ids on files and folders, on `generated` strings of each named generator, and on the built-in texts.

    Raises FileNotFoundError for a path that does not exist.
    """
    comparison = Comparison(vocabulary, model)
    if built_in:
        comparison.add(
            ("built-in " + kind, string) for document in texts.BUILT_IN for kind, string in texts.cut_document(document)
        )
    for path in texts.text_files(paths):
        comparison.add(pair for document in texts.read_documents(path) for pair in texts.cut_document(document))
    # The generators look for what GPT-2's rules make hard. A model of the checkpoint's own has other rules.
    for name in GENERATORS if generated and not isinstance(vocabulary, PieceVocabulary) else ():
        add_generated(comparison, name, generated, seed)
    return comparison.report()


def add_generated(comparison: Comparison, name: str, count: int, seed: int = 0) -> None:
    """Compare `count` strings of a generator; those beyond the design's reach come on top, counted apart."""
    within: list[tuple[str, str]] = []
    beyond: list[tuple[str, str]] = []
    for text, why in itertools.islice(generate(name, comparison.vocabulary, seed), 4 * count):
        (within if why is None else beyond).append((name, text) if why is None else (why, text))
        if len(within) >= count:
            break
    comparison.add(within)
    comparison.add(beyond, beyond=True)


def _batches(strings: Iterable[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    batch, size = [], 0
    for pair in strings:
        batch.append(pair)
        size += len(pair[1])
        if len(batch) >= _BATCH_STRINGS or size >= _BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
