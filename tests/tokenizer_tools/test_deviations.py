"""A tokenizer.json that is not GPT-2's in every rule is named as such, never taken silently."""

import json

import pytest

from tokenizer_tools.deviations import KNOWN_PATTERNS
from tokenizer_tools.errors import TokenizerError
from tokenizer_tools.vocabulary import GPT2_PATTERN
from tokenizer_tools.vocabulary_files import read_vocabulary, reference_tokenizer, tokenizer_json


def write(folder, vocabulary, change):
    document = json.loads(tokenizer_json(vocabulary))
    change(document)
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def split(pattern):
    return {
        "type": "Sequence",
        "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False},
            {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False},
        ],
    }


DEVIATING = {
    "another regex": lambda d: d.update(pre_tokenizer=split(r"\p{N}{1,3}")),
    "use_regex is off": lambda d: d["pre_tokenizer"].update(use_regex=False),
    "add_prefix_space": lambda d: d["pre_tokenizer"].update(add_prefix_space=True),
    "normalizer": lambda d: d.update(normalizer={"type": "NFC"}),
    "Digits": lambda d: d.update(
        pre_tokenizer={
            "type": "Sequence",
            "pretokenizers": [{"type": "Digits", "individual_digits": True}, d["pre_tokenizer"]],
        }
    ),
    "ignore_merges": lambda d: d["model"].update(ignore_merges=True),
    "byte_fallback": lambda d: d["model"].update(byte_fallback=True),
    "lstrip": lambda d: d["added_tokens"][0].update(lstrip=True),
    "decoder": lambda d: d.update(decoder=None),
    "post-processor": lambda d: d.update(
        post_processor={
            "type": "TemplateProcessing",
            "single": [
                {"Sequence": {"id": "A", "type_id": 0}},
                {"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}},
            ],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {
                "<|endoftext|>": {
                    "id": "<|endoftext|>",
                    "ids": [d["added_tokens"][0]["id"]],
                    "tokens": ["<|endoftext|>"],
                }
            },
        }
    ),
}


@pytest.mark.parametrize("name", DEVIATING)
def test_named(code, tmp_path, name):
    vocabulary = read_vocabulary(write(tmp_path, code, DEVIATING[name]))
    assert len(vocabulary.deviations) == 1
    assert name in vocabulary.deviations[0]
    assert json.loads(tokenizer_json(vocabulary)) == json.loads((tmp_path / "tokenizer.json").read_bytes())
    assert reference_tokenizer(vocabulary).get_vocab_size() == len(vocabulary)


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d["pre_tokenizer"].pop("use_regex"),  # files from before the option existed
        lambda d: d.update(pre_tokenizer=split(GPT2_PATTERN)),
        lambda d: d.update(pre_tokenizer={"type": "Sequence", "pretokenizers": [d["pre_tokenizer"]]}),
        lambda d: d.update(post_processor={"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False}),
        lambda d: d["model"].update(continuing_subword_prefix="", end_of_word_suffix="", unk_token="<|endoftext|>"),
        lambda d: d.pop("added_tokens") and None,
    ],
)
def test_harmless_variants(code, tmp_path, change):
    assert read_vocabulary(write(tmp_path, code, change)).deviations == ()


def test_many_added_tokens_are_one_sentence(code, tmp_path):
    def add(document):
        first = document["added_tokens"][0]
        document["added_tokens"] += [
            {**first, "id": len(code) + number, "content": f"<{number}>", "lstrip": True} for number in range(23)
        ]

    deviations = read_vocabulary(write(tmp_path, code, add)).deviations
    assert deviations == (
        "23 added tokens, such as '<0>', have the rule lstrip, which takes more of a text than the token's own",
    )


def test_truncation_and_padding_are_left_to_the_caller_as_in_transformers(code, tmp_path):
    path = write(
        tmp_path,
        code,
        lambda document: document.update(
            normalizer={"type": "NFC"},
            truncation={"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0},
            padding={
                "strategy": {"Fixed": 10**9},
                "direction": "Right",
                "pad_to_multiple_of": None,
                "pad_id": 0,
                "pad_type_id": 0,
                "pad_token": "x",
            },
        ),
    )
    assert len(reference_tokenizer(read_vocabulary(path)).encode("def function(self): return").ids) > 2


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.update(pre_tokenizer=split(r"(\p{L}+)+\d")),
        lambda d: d.update(
            normalizer={
                "type": "Sequence",
                "normalizers": [{"type": "Replace", "pattern": {"Regex": "(a+)+$"}, "content": ""}],
            }
        ),
        lambda d: d.update(decoder={"type": "Replace", "pattern": {"Regex": "(a+)+$"}, "content": ""}),
    ],
)
def test_an_unknown_regex_is_not_run(code, tmp_path, change):
    with pytest.raises(TokenizerError, match="has the regex .*may never end"):
        read_vocabulary(write(tmp_path, code, change))


@pytest.mark.parametrize("pattern", KNOWN_PATTERNS)
def test_known_regexes_are_regexes(code, tmp_path, pattern):
    assert (
        reference_tokenizer(read_vocabulary(write(tmp_path, code, lambda d: d.update(pre_tokenizer=split(pattern)))))
        .encode("a 12 b's")
        .ids
    )
