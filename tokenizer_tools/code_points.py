"""The class GPT-2's pre-tokenizer puts every Unicode code point in, asked of the reference tokenizer itself.

Asking avoids a quiet error: Python's tables, the regex engine's and the reference's come from different
Unicode versions.
"""

from __future__ import annotations

import functools
from typing import Callable

LETTER, NUMBER, OTHER, WHITE_SPACE = "L", "N", "O", "W"

# Planes 4 to 13 and what follows the tags and variation selectors of plane 14 have never had a character
# in them, and planes 15 and 16 are private: all are "other". They are three quarters of all code points.
_ASKED = ((0, 0xD800), (0xE000, 0x40000), (0xE0000, 0xE0200))
_LAST = 0x110000


@functools.cache
def classes() -> str:
    """One letter of L, N, O, W for each of the 0x110000 code points ('X' for surrogates)."""
    from tokenizers import pre_tokenizers

    cut = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True).pre_tokenize_str
    letters = bytearray(OTHER.encode() * _LAST)
    letters[0xD800:0xE000] = b"X" * 0x800
    for first, end in _ASKED:
        # One call cuts all code points into stretches of one class; then one of each stretch is asked.
        for _, (start, stop) in cut("".join(map(chr, range(first, end)))):
            start, stop = first + start, first + stop
            if start == 0x20:  # a space joins the punctuation behind it
                letters[start] = ord(WHITE_SPACE)
                start += 1
            if start < stop:
                letters[start:stop] = _class_of(chr(stop - 1), cut).encode() * (stop - start)
    return letters.decode("ascii")


def _class_of(character: str, cut: Callable[[str], list]) -> str:
    """What `character` joins to: a letter, a digit, punctuation or none of them."""
    for neighbor, name in (("a", LETTER), ("1", NUMBER), ("!", OTHER)):
        if len(cut(neighbor + character)) == 1:
            return name
    return WHITE_SPACE


@functools.cache
def white_space() -> tuple[int, ...]:
    """The code points of the regex's \\s, in order."""
    return tuple(index for index, name in enumerate(classes()) if name == WHITE_SPACE)


@functools.cache
def covered() -> tuple[int, ...]:
    """The code points whose tokens are promised to be right, in order.

    All letters, numbers and white space; the whole basic plane but surrogates; the emoji blocks; beyond these the
    others that are assigned. Not U+0000, which SentencePiece cannot hold in a piece, and not the rare letters
    (historic scripts, CJK extensions) that are newer than the reference's tables and count as "other" there.
    """
    import regex

    passed_over = regex.compile(r"[\p{Cn}\p{Co}\p{Cs}\p{L}\p{Nd}\p{Nl}]").match
    names = classes()
    known = [*range(1, 0xD800), *range(0xE000, 0x10000)]
    for code in (*range(0x10000, 0x40000), *range(0xE0000, 0xE0200)):
        if names[code] != OTHER or 0x1F000 <= code < 0x1FC00 or not passed_over(chr(code)):
            known.append(code)
    return tuple(known)


@functools.cache
def symbols() -> tuple[int, ...]:
    """The assigned non-ASCII code points of class "other": punctuation, signs, marks, emoji; not private use."""
    import regex

    symbol = regex.compile(r"[^\p{Cn}\p{Co}\p{Cs}\p{L}]").match
    names = classes()
    return tuple(
        code
        for code in covered()
        if code >= 0x80 and names[code] == OTHER and (0x1F000 <= code < 0x1FC00 or symbol(chr(code)))
    )


@functools.cache
def symbol_set() -> frozenset[int]:
    return frozenset(symbols())


# Punctuation and signs that stand beside words and quotation marks in running text of some language.
_PUNCTUATION = (
    "“”‘’‚„‹›«»¿¡—–―‐‑…·•†‡′″§¶©®™°±×÷−≠≈≤≥→←↑↓⇒√∞€£¥¢₹₽₩、。，．：；！？（）［］｛｝「」『』【】《》〈〉〔〕〜～・￥％＋－＝＆＠＃／＼｜＊＂＇｀"
    "´¨¬¦،؛؟۔।॥׳״▶►▪■□●○◆◇★☆✓✔✗✘✨☀☁☎☺☹♥♦♣♠♪♫\ufe0f\ufe0e\u200b\u200c\u200d\u200e\u200f\ufeff\ufffd\xad"
)
# Latin-1 signs, general punctuation, currency, arrows, mathematics and technical signs, box drawing to dingbats, CJK
# punctuation, full-width forms, emoji.
_COMMON_BLOCKS = (
    (0xA1, 0xC0),
    (0x2010, 0x2028),
    (0x2030, 0x205F),
    (0x20A0, 0x20C1),
    (0x2190, 0x2400),
    (0x2500, 0x2800),
    (0x3000, 0x3030),
    (0xFF00, 0xFF66),
    (0x1F300, 0x1F650),
    (0x1F680, 0x1F700),
    (0x1F900, 0x1FA00),
)


@functools.cache
def punctuation() -> frozenset[int]:
    """The symbols met beside words in running text."""
    return frozenset(map(ord, _PUNCTUATION)) & symbol_set()


@functools.cache
def common_symbols() -> frozenset[int]:
    """`punctuation` and the blocks of frequent signs and emoji."""
    return punctuation() | {code for code in symbols() if any(a <= code < b for a, b in _COMMON_BLOCKS)}
