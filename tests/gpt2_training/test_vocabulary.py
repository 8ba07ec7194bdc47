"""Vocabularies of characters and of bytes: what a token is, and that the engines' tokenizer gives the same ids."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt2_training.errors import RecipeError
from gpt2_training.vocabulary import (
    END_OF_TEXT,
    alphabet_of,
    character_vocabulary,
    make_vocabulary,
    outside_alphabet,
    save_vocabulary,
)
from tokenizer_tools.report import compare
from tokenizer_tools.sentencepiece_model import build_sentencepiece
from tokenizer_tools.vocabulary_files import read_vocabulary

PROSE = "“É cedo”, disse a avó — amanhã haverá pão, 1 café e canções…\n\tO mar está calmo.  日本 🌊\n"


@given(st.text(alphabet=sorted(set(PROSE))))
def test_a_character_of_the_alphabet_is_a_token(text):
    tokenizer = character_vocabulary(alphabet_of([PROSE]), 4096)
    encoding = tokenizer.encode(text)
    assert [tokenizer.decode([token]) for token in encoding.ids] == list(text)


@given(st.text())
def test_what_is_outside_the_alphabet_is_spelled_in_bytes_and_comes_back(text):
    tokenizer = character_vocabulary(alphabet_of([PROSE]), 4096)
    ids = tokenizer.encode(text).ids
    inside = [character for character in text if character in PROSE]
    assert tokenizer.decode(ids) == text
    assert len(ids) <= len(inside) + sum(len(character.encode()) for character in text if character not in PROSE)


@pytest.mark.parametrize("kind", ["char", "bytes", "bpe"])
def test_sentencepiece_gives_the_same_ids(tmp_path, kind):
    tokenizer = make_vocabulary(kind, [PROSE * 20], 400)
    save_vocabulary(tokenizer, tmp_path)
    vocabulary = read_vocabulary(tmp_path)
    assert vocabulary.tokens[-1] == END_OF_TEXT and len(vocabulary) == tokenizer.get_vocab_size()
    assert kind != "bytes" or (len(vocabulary) == 257 and not vocabulary.merges)
    (tmp_path / "prose.txt").write_text(PROSE * 20 + "outside: ß, ł, 한, 🎈, ‘")
    report = compare(vocabulary, build_sentencepiece(vocabulary), [tmp_path / "prose.txt"], generated=40, built_in=True)
    assert report.total("tokens") > 10_000 and report.mismatched_tokens == report.total("round_trip_failures") == 0


def test_an_alphabet_that_is_too_large_is_refused():
    many = "".join(chr(number) for number in range(0x20, 0x12000) if not 0xD800 <= number < 0xE000)[:70_000]
    with pytest.raises(RecipeError, match="70,000 different characters.*`vocabulary` is 4,096"):
        make_vocabulary("char", [many], 4096)
    assert character_vocabulary(many, 100_000).get_vocab_size() > 70_000


def test_characters_outside_the_alphabet_are_named():
    assert outside_alphabet("ß! pão ß", alphabet_of(["pão "])) == "!ß"
