"""Reading vocabularies: every file form, and every kind of broken file."""

import json
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vocabularies import gpt2_folder

from tokenizer_tools.errors import TokenizerError
from tokenizer_tools.vocabulary import BYTE_SYMBOLS, bytes_to_symbols, symbols_to_bytes
from tokenizer_tools.vocabulary_files import read_vocabulary, read_vocabulary_files, reference_tokenizer, tokenizer_json


def small_files(folder, change_ids=None, merges="#version: 0.2\nh e\nhe l\n"):
    """vocab.json and merges.txt of the bytes, "he", "hel" and <|endoftext|>, after `change_ids(ids)`."""
    ids = {symbol: index for index, symbol in enumerate((*BYTE_SYMBOLS, "he", "hel", "<|endoftext|>"))}
    if change_ids:
        ids = change_ids(ids) or ids
    (folder / "vocab.json").write_text(json.dumps(ids), encoding="utf-8")
    (folder / "merges.txt").write_text(merges, encoding="utf-8")
    return folder


def test_gpt2(gpt2):
    assert len(gpt2) == 50257 and len(gpt2.merges) == 50000
    assert gpt2.special_tokens == ("<|endoftext|>",) and gpt2.end_of_text == 50256
    assert gpt2.token_bytes(gpt2.ids["Ġthe"]) == b" the" and gpt2.deviations == ()


def test_every_form_reads_the_same(gpt2, tmp_path):
    shutil.copy(gpt2_folder() / "encoder.json", tmp_path / "vocab.json")
    shutil.copy(gpt2_folder() / "vocab.bpe", tmp_path / "merges.txt")
    assert read_vocabulary(tmp_path) == gpt2
    assert read_vocabulary_files(gpt2_folder() / "encoder.json", gpt2_folder() / "vocab.bpe") == gpt2
    folder = tmp_path / "hub"
    folder.mkdir()
    document = json.loads(tokenizer_json(gpt2))
    for merges in (document["model"]["merges"], [" ".join(pair) for pair in document["model"]["merges"]]):
        document["model"]["merges"] = merges
        (folder / "tokenizer.json").write_text(json.dumps(document), encoding="utf-8")
        again = read_vocabulary(folder)
        assert (again.tokens, again.merges, again.special_tokens, again.deviations) == (
            gpt2.tokens,
            gpt2.merges,
            gpt2.special_tokens,
            (),
        )
        assert reference_tokenizer(again).encode("it's\n\n  me<|endoftext|>").ids == [270, 338, 628, 220, 502, 50256]


def test_tokenizer_json_counts_where_both_are(tmp_path, code):
    """Only it can say that the rules are others."""
    small_files(tmp_path)
    document = json.loads(tokenizer_json(code))
    document["normalizer"] = {"type": "NFC"}
    (tmp_path / "tokenizer.json").write_text(json.dumps(document), encoding="utf-8")
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    vocabulary = read_vocabulary(tmp_path)
    assert vocabulary.tokens == code.tokens and vocabulary.deviations


def test_reference_is_openai_gpt2(gpt2):
    reference = reference_tokenizer(gpt2)
    assert reference.encode("Hello world, it's\n\n  me").ids == [15496, 995, 11, 340, 338, 628, 220, 502]
    assert reference.encode("<|endoftext|>").ids == [50256]


def test_merging_equals_the_reference(gpt2):
    reference = reference_tokenizer(gpt2)
    for word in (" internationalization", "ſtraße", " 日本語", "!!!!!!", "zzzzzz"):
        parts, _ = gpt2.apply_merges(word.encode())
        assert parts == reference.encode(word).tokens


@given(st.binary(max_size=40))
def test_byte_alphabet_round_trip(data):
    assert symbols_to_bytes(bytes_to_symbols(data)) == data


def without(*tokens):
    def change(ids):
        for token in tokens:
            del ids[token]

    return change


@pytest.mark.parametrize(
    "change, message",
    [
        (without("he"), "no token has id 256"),
        (without("<|endoftext|>", "hel"), "merge 2"),
        (lambda ids: ids.update({"hel": 256}), "belongs to both"),
        (lambda ids: ids.update({"hel": "257"}), "'257'"),
        (lambda ids: ids.update({"hel": True}), "True"),
        (lambda ids: ids.update({"hel": -1}), "-1"),
        (lambda ids: ids.update({"": 259}), "empty token"),
        (lambda ids: ids.update({"Ġnever": 259}), "no merge makes"),
        (lambda ids: {("zz" if token == "A" else token): index for token, index in ids.items()}, "0x41"),
        (lambda ids: list(ids), "expected one object"),
    ],
)
def test_broken_ids(tmp_path, change, message):
    with pytest.raises(TokenizerError, match=message):
        read_vocabulary(small_files(tmp_path, change))


@pytest.mark.parametrize(
    "merges, message",
    [
        ("#version: 0.2\nh e\nhe l l\n", "line 3"),
        ("#version: 0.2\nh e\nhe", "line 3"),
        ("h e\nhe l\nx y\n", "merge 3"),
        ("h e\nhe l\nhe l\n", "twice"),
        ("h e\n", "cut short"),
        ("", "cut short"),
        ("h e\nhe l\n< |endoftext|>\n", "merge 3"),
    ],
)
def test_broken_merges(tmp_path, merges, message):
    with pytest.raises(TokenizerError, match=message):
        read_vocabulary(small_files(tmp_path, merges=merges))


@pytest.mark.parametrize(
    "content, message",
    [
        (b'{"a": 0, "b"', "line 1, column"),
        (b"", "not JSON"),
        (b'{"a": 0,\n "a": 1}', "'a' stands in one object twice"),
        (b'{"\xff": 0}', "not UTF-8: byte 0xff at offset 2"),
        (b"[" * 200_000, "not JSON|nested"),
        (b"[]", "expected one object"),
    ],
)
def test_broken_json(tmp_path, content, message):
    small_files(tmp_path)
    (tmp_path / "vocab.json").write_bytes(content)
    with pytest.raises(TokenizerError, match=message):
        read_vocabulary(tmp_path)


def test_huge_file_is_refused_unread(tmp_path):
    small_files(tmp_path)
    with (tmp_path / "vocab.json").open("r+b") as file:
        file.truncate(200 << 20)
    with pytest.raises(TokenizerError, match="210 MB"):
        read_vocabulary(tmp_path)


def test_missing_files(tmp_path):
    with pytest.raises(TokenizerError, match="no tokenizer.json, no vocab.json with merges.txt"):
        read_vocabulary(tmp_path)
    with pytest.raises(TokenizerError, match="no such file"):
        read_vocabulary(tmp_path / "tokenizer.json")


@pytest.mark.parametrize(
    "document, message",
    [
        ({}, 'no "model" object'),
        ({"model": {"type": "Unigram"}}, "'Unigram'"),
        ({"model": {"type": "BPE", "vocab": [], "merges": []}}, "must be an object"),
        ({"model": {"type": "BPE", "vocab": {}, "merges": [["a"]]}}, r"model.merges\[0\]"),
        ({"model": {"type": "BPE", "vocab": {}, "merges": []}, "added_tokens": [{}]}, r"added_tokens\[0\]"),
        (
            {"model": {"type": "BPE", "vocab": {"x": 1}, "merges": []}, "added_tokens": [{"content": "x", "id": 2}]},
            "has id 2",
        ),
    ],
)
def test_broken_tokenizer_json(tmp_path, document, message):
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(TokenizerError, match=message):
        read_vocabulary(path)
