"""The report finds what is wrong, names it, and counts it; and the gate holds."""

import dataclasses
import json

import pytest

from tokenizer_tools import texts
from tokenizer_tools.deviations import KNOWN_PATTERNS
from tokenizer_tools.generators import GENERATORS, generate
from tokenizer_tools.report import Comparison, compare
from tokenizer_tools.report_html import report_html
from tokenizer_tools.sentencepiece_model import build_sentencepiece
from tokenizer_tools.vocabulary import GPT2_PATTERN
from tokenizer_tools.vocabulary_files import read_vocabulary, tokenizer_json

KEYS = (
    "strings",
    "mismatched_strings",
    "tokens",
    "mismatched_tokens",
    "unknown_tokens",
    "round_trip_failures",
    "alias_rows",
    "by_class",
)


@pytest.fixture(scope="module")
def wrong(code):
    """A model of the code vocabulary with two ids exchanged."""
    swapped = list(code.tokens)
    equals, bracket = code.ids["Ġ="], code.ids["Ġ("]
    swapped[equals], swapped[bracket] = swapped[bracket], swapped[equals]
    return build_sentencepiece(dataclasses.replace(code, tokens=tuple(swapped)))


def test_wrong_ids_are_counted_and_shown(code, wrong, tmp_path):
    (tmp_path / "a.py").write_text("self.x = 1\n\ny = 2\nprint(y)\n", encoding="utf-8")
    (tmp_path / "b.bin").write_bytes(b"\xff\xfe\0self")
    report = compare(code, wrong, [tmp_path], generated=0)
    assert {
        name: (counts.strings, counts.mismatched_strings, counts.mismatched_tokens)
        for name, counts in report.by_class.items()
    } == {"documents": (1, 1, 2), "paragraphs": (2, 2, 2), "lines": (3, 2, 2)}
    example = report.by_class["lines"].examples[0]
    assert (
        example.text.startswith("self.x")
        and example.expected[0] == code.ids["Ġ="]
        and example.found[0] == code.ids["Ġ("]
    )
    assert report.by_class["lines"].causes == {"not known": 2}
    html = report_html(report)
    assert "self.x" in html and "not known" in html


def test_json_object(code, models):
    report = compare(code, models["code"][1], generated=5, built_in=True)
    value = json.loads(json.dumps(report.to_json()))
    assert all(key in value for key in KEYS)
    assert value["mismatched_tokens"] == 0 and value["strings"] == sum(c["strings"] for c in value["by_class"].values())
    assert set(GENERATORS) <= set(value["by_class"])
    assert value["alias_rows"] == len(models["code"][1].alias_of) and value["load_ms"] > 0


def test_a_deviating_tokenizer_is_measured(code, tmp_path):
    """With another regex the ids differ; the report says why and how often."""
    pattern = next(pattern for pattern in KNOWN_PATTERNS if pattern != GPT2_PATTERN)
    document = json.loads(tokenizer_json(code))
    document["pre_tokenizer"] = {
        "type": "Sequence",
        "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False},
            {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False},
        ],
    }
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    vocabulary = read_vocabulary(path)
    report = compare(vocabulary, build_sentencepiece(vocabulary), generated=0, built_in=True)
    assert report.mismatched_tokens > 0
    assert "another regex" in report.deviations[0] and "another regex" in report_html(report)
    assert "a deviation of the tokenizer from GPT-2's rules" in report.by_class["built-in lines"].causes


def test_strings_beyond_reach_stay_out_of_the_totals(code, models):
    comparison = Comparison(code, models["code"][1])
    comparison.add([("too many", "(''''''s")], beyond=True)
    report = comparison.report()
    assert report.total("strings") == 0 and report.beyond_reach["too many"].mismatched_strings == 1


def test_unknown_tokens_are_counted(code, models):
    comparison = Comparison(code, models["code"][1])
    comparison.add([("nul", "a\0b\0\0")])
    counts = comparison.report().by_class["nul"]
    assert counts.unknown_tokens == 2 and counts.mismatched_strings == 1  # SentencePiece joins a run of unknowns


def test_generators_repeat_themselves(code):
    for name in GENERATORS:
        first, again, reseeded = (generate(name, code, seed) for seed in (1, 1, 2))
        assert (
            [next(first) for _ in range(50)] == [next(again) for _ in range(50)] != [next(reseeded) for _ in range(50)]
        )


def test_documents_are_cut_without_loss(tmp_path):
    text = "line é中\n" * 60_000 + "x" * 300_000
    path = tmp_path / "long.txt"
    path.write_text(text, encoding="utf-8")
    stretches = list(texts.read_documents(path))
    assert "".join(stretches) == text and max(map(len, stretches)) <= 1 << 18 and len(stretches) > 2


def test_text_before_a_binary_part_is_not_half_a_document(tmp_path):
    path = tmp_path / "broken.txt"
    path.write_bytes(b"good\n" + b"\xff")
    assert list(texts.read_documents(path)) == []


def test_missing_path():
    with pytest.raises(FileNotFoundError, match="no/such"):
        list(texts.text_files(["no/such"]))


def test_cut_document():
    pieces = list(texts.cut_document("a\nb\n \n\nc"))
    assert pieces == [
        ("documents", "a\nb\n \n\nc"),
        ("paragraphs", "a\nb"),
        ("paragraphs", "c"),
        ("lines", "a"),
        ("lines", "b"),
        ("lines", " "),
        ("lines", "c"),
    ]
