"""Tokens as parts of characters, and the search for pieces that lie across a cut."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenizer_tools import code_points
from tokenizer_tools.boundaries import crossings, remove_crossings
from tokenizer_tools.spellings import Spellings, split_token, whole_characters
from tokenizer_tools.symbols import Symbols, choose_symbols
from tokenizer_tools.vocabulary import reference_tokenizer


@pytest.mark.parametrize(
    "token, parts",
    [
        (b"abc", (b"", (97, 98, 99), b"")),
        ("é中".encode(), (b"", (0xE9, 0x4E2D), b"")),
        (b"\xa9 \xe4\xb8", (b"\xa9", (32,), b"\xe4\xb8")),
        (b"\x80\x80\x80", (b"\x80\x80\x80", (), b"")),
        (b"\x80\x80\x80\x80", None),
        (b"a\x80", None),
        (b"\xc0\x80", None),
        (b"\xe0\x80\x80", None),
        (b"\xed\xa0\x80", None),
        (b"\xe4a", None),
        (b"\xff", None),
    ],
)
def test_split_token(token, parts):
    assert split_token(token) == parts


@given(st.text(min_size=1, max_size=5), st.integers(0, 3), st.integers(0, 3))
def test_any_stretch_of_text_can_be_split(text, start, end):
    data = text.encode()
    token = data[start : len(data) - end]
    parts = split_token(token)
    assert parts is not None
    assert parts.tail + "".join(map(chr, parts.characters)).encode() + parts.head == token


def settled(vocabulary, mode="raw-bytes"):
    tokens = [vocabulary.token_bytes(index) for index in vocabulary.ordinary]
    spellings = Spellings(
        choose_symbols(mode, tokens), whole_characters(vocabulary) if mode == "raw-bytes" else frozenset()
    )
    return spellings, *remove_crossings(spellings, tokens)


@pytest.mark.parametrize("mode", ["raw-bytes", "byte-mapped"])
def test_no_crossing_is_left(multilingual, mode):
    spellings, forms, stuck = settled(multilingual, mode)
    assert stuck == 0
    assert spellings.inner_space and 0x0A in spellings.final and spellings.planes
    for token, spelled in forms.items():
        for form in spelled:
            if not token.isascii() or not token.strip():
                assert not list(crossings(spellings, token, form)), token


def test_crossings_are_found_before_they_are_removed(multilingual):
    spellings = Spellings(Symbols("raw-bytes"))
    spellings.index_fragments([b"\n\n", b" \xe2\x80"])
    assert list(crossings(spellings, b"\n\n", "\n\n"))
    # A space that joins a dash, or a space and a thin space that is cut off before text.
    assert list(crossings(spellings, b" \xe2\x80", spellings.symbols.plain(b" \xe2\x80")))


def test_whole_characters_always_become_one_token(multilingual):
    """In any surroundings of one class, a whole character's bytes end up in one token."""
    whole = whole_characters(multilingual)
    assert whole
    reference, chance = reference_tokenizer(multilingual), random.Random(0)
    names = code_points.classes()
    letters = [chr(code) for code in code_points.covered() if names[code] == "L" and code < 0xE000]
    for code in sorted(whole):
        for _ in range(20):
            text = "".join(chance.choices(letters, k=2)) + chr(code) + "".join(chance.choices(letters, k=2))
            ends = {0}
            for token in reference.encode(text).ids:
                ends.add(max(ends) + len(multilingual.token_bytes(token)))
            start = len(text[:2].encode())
            assert not any(start < end < start + len(chr(code).encode()) for end in ends), text


def test_private_symbols_give_way_to_the_vocabularys_own_characters():
    assert choose_symbols("raw-bytes", ["\ue400".encode(), b"a"]) != choose_symbols("raw-bytes", [b"a"])
