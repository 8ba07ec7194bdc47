"""The classes of code points, against the reference's pre-tokenizer one by one."""

import random

from tokenizers import pre_tokenizers

from tokenizer_tools import code_points


def test_classes_are_the_pre_tokenizers():
    cut = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True).pre_tokenize_str
    names = code_points.classes()
    chance = random.Random(0)
    anywhere = [*range(0x3100), *(chance.randrange(0x3100, 0x110000) for _ in range(8000)), *code_points.white_space()]
    for code in anywhere:
        if 0xD800 <= code < 0xE000:
            continue
        joins = [name for name, neighbor in (("L", "a"), ("N", "1"), ("O", "!")) if len(cut(neighbor + chr(code))) == 1]
        assert joins == [names[code]] or (not joins and names[code] == "W"), hex(code)


def test_white_space_is_unicodes():
    assert len(code_points.white_space()) == 25
    assert {0x09, 0x0A, 0x0D, 0x20, 0x85, 0xA0, 0x1680, 0x2003, 0x2028, 0x202F, 0x3000} < set(code_points.white_space())


def test_symbols_are_covered_and_wide():
    assert code_points.punctuation() <= code_points.common_symbols() <= code_points.symbol_set()
    assert set(code_points.symbols()) <= set(code_points.covered())
    assert min(code_points.symbols()) >= 0x80 and not set(code_points.symbols()) & set(
        range(0xE000, 0xF900)
    )  # private use
