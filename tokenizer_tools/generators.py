"""Named generators of strings that are hard to tokenize; each gives the same strings for the same seed."""

from __future__ import annotations

import random
from typing import Callable, Iterator

from tokenizer_tools import code_points
from tokenizer_tools.code_points import LETTER, NUMBER, OTHER, WHITE_SPACE
from tokenizer_tools.reach import beyond_reach
from tokenizer_tools.vocabulary import BytePairVocabulary

Pick = Callable[[], str]
Generator = Callable[[random.Random, BytePairVocabulary], Pick]

_CONTRACTED = ("s", "t", "re", "ve", "m", "ll", "d")
_WORDS = (
    "a",
    "I",
    "it",
    "the",
    "x",
    "def",
    "self",
    "naïve",
    "мир",
    "世界",
    "こんにちは",
    "שלום",
    "سلام",
    "ไทย",
    "한국어",
)
_PUNCTUATION = tuple('.,;:!?-_/\\|(){}[]<>=+*&^%$#@~`"') + tuple("“”‘’—…·、。「」（）！？«»¿¡•→")


def _mixed(choices: tuple[str, ...], shortest: int, longest: int) -> Generator:
    """Strings of `shortest` to `longest` of these parts."""

    def generator(chance: random.Random, vocabulary: BytePairVocabulary) -> Pick:
        return lambda: "".join(chance.choices(choices, k=chance.randint(shortest, longest)))

    return generator


def _of_class(name: str) -> tuple[str, ...]:
    """The assigned characters of one class."""
    if name == OTHER:
        return tuple(
            map(chr, (*(c for c in range(1, 0x80) if code_points.classes()[c] == OTHER), *code_points.symbols()))
        )
    return tuple(chr(code) for code in code_points.covered() if code_points.classes()[code] == name)


def _random_ids(count: int) -> Generator:
    def generator(chance: random.Random, vocabulary: BytePairVocabulary) -> Pick:
        return lambda: vocabulary.decode(chance.choices(vocabulary.ordinary, k=count)).decode(errors="replace")

    return generator


def _vocabulary_words(chance: random.Random, vocabulary: BytePairVocabulary) -> Pick:
    def pick() -> str:
        text = vocabulary.token_bytes(chance.choice(vocabulary.ordinary)).decode(errors="replace")
        return chance.choice(("", " ", "\n", "a")) + text + chance.choice(("", text, " ", "'s", "\n", "1"))

    return pick


def _scripts(chance: random.Random, vocabulary: BytePairVocabulary) -> Pick:
    """Words of one block of 128 code points each, so that every script gets its turn."""
    blocks: dict[int, list[str]] = {}
    for code in code_points.covered():
        if code_points.classes()[code] in (LETTER, NUMBER) or code in code_points.symbol_set():
            blocks.setdefault(code >> 7, []).append(chr(code))
    numbers = sorted(blocks)

    def pick() -> str:
        block = blocks[chance.choice(numbers)]
        words = ("".join(chance.choices(block, k=chance.randint(1, 7))) for _ in range(chance.randint(1, 5)))
        return chance.choice((" ", " ", "\n", ", ", "'s ")).join(words)

    return pick


def _symbol_apostrophes(chance: random.Random, vocabulary: BytePairVocabulary) -> Pick:
    symbols = _of_class(OTHER)

    def pick() -> str:
        return (
            chance.choice(("", " ", "\n", "a", "中", " a"))
            + chance.choice(symbols)
            + "'" * chance.choice((1, 1, 1, 2))
            + chance.choice(_CONTRACTED)
            + chance.choice(("", "a", "quote", " x"))
        )

    return pick


def _class_changes(chance: random.Random, vocabulary: BytePairVocabulary) -> Pick:
    letters, numbers, others = _of_class(LETTER), _of_class(NUMBER), _of_class(OTHER)
    fixed = ("a", "1", " ", "\n", "\xa0", "'s", "ا", "י", "ー", "の", "龍", "（", "；", "。", "①", "½")

    def part() -> str:
        return chance.choice(chance.choice((letters, numbers, others, fixed)))

    return lambda: "".join(part() for _ in range(chance.randint(2, 12)))


def _assigned(chance: random.Random, vocabulary: BytePairVocabulary) -> Pick:
    everything = tuple(character for name in (LETTER, NUMBER, OTHER, WHITE_SPACE) for character in _of_class(name))
    return lambda: "".join(chance.choices(everything, k=chance.randint(1, 30)))


def _rare_white_space(chance: random.Random, vocabulary: BytePairVocabulary) -> Pick:
    spaces = tuple(map(chr, code_points.white_space()))
    texts = ("a", "the", "1", ".", "é", "中", "»", "«", "：", "（", "-", "‑", "'", "”", "'s", "—")
    return lambda: "".join(
        chance.choice(spaces if chance.random() < 0.6 else texts) for _ in range(chance.randint(1, 15))
    )


def _source_code(chance: random.Random, vocabulary: BytePairVocabulary) -> Pick:
    tokens = (
        "if",
        "return",
        "x",
        "self",
        "foo_bar",
        "0",
        "1.5",
        "(",
        ")",
        "{",
        "}",
        "[",
        "]",
        ";",
        ":",
        ",",
        " = ",
        " + ",
        "==",
        "->",
        "\n",
        "\n\n",
        "\n    ",
        "\n        ",
        "\n\t",
        "\n\t\t",
        "\r\n",
        "\r\n\r\n  ",
        "  ",
        " ",
        "\t",
        '"',
        "'",
        "'s'",
        "# ",
        "//",
        "/* ",
        " */",
        "\\n",
        "\\'",
        "'''",
        '"""',
        "don't",
        "©",
        "é",
    )
    return lambda: "".join(chance.choices(tokens, k=chance.randint(3, 25)))


def _trailing_white_space(chance: random.Random, vocabulary: BytePairVocabulary) -> Pick:
    spaces = (" ", " ", "\n", "\n", "\t", "\r\n", "\xa0", "\u3000", "\u2009", "\u202f")
    texts = (*_WORDS, *_PUNCTUATION, "1", "😀")
    return lambda: chance.choice(texts) + "".join(chance.choices(spaces, k=chance.randint(1, 5)))


def _partial_utf8(chance: random.Random, vocabulary: BytePairVocabulary) -> Pick:
    """Text cut inside a character and decoded with replacement characters, as a careless reader does."""

    def pick() -> str:
        data = " ".join(chance.choices((*_WORDS, "😀", "—", "é"), k=4)).encode()
        start = chance.randrange(6)
        return data[start : start + chance.randint(3, 20)].decode(errors="replace")

    return pick


def _added_tokens(chance: random.Random, vocabulary: BytePairVocabulary) -> Pick:
    """The text of special and added tokens inside a text, whole, in part and side by side: the token, or text like any
    other.
    """
    added = (*vocabulary.special_tokens, *vocabulary.added_words, *vocabulary.unmade_tokens)
    literals = (
        *added,
        *added,
        "<|endoftext|>",
        "<s>",
        "<unk>",
        "<0x0A>",
        "▁",
        *(text[:-1] for text in added),
        *(text[1:] for text in added),
    )
    around = ("", "", " ", "\n", "a", " a", "\n\n", "  ", "'s", "1", "'", "''", "\t", "\xa0", "é", "…", "!'", "don't")
    return lambda: "".join(
        chance.choice(part) for part in (around, literals, around, literals, around)[chance.choice((0, 0, 2)) :]
    )


_QUOTED = ("'", "'", "''", *("'" + letters for letters in _CONTRACTED), *_CONTRACTED)

GENERATORS: dict[str, Generator] = {
    "random pairs of ids": _random_ids(2),
    "random runs of ids": _random_ids(6),
    "vocabulary words": _vocabulary_words,
    "white space": _mixed(
        (" ", " ", "\n", "\n", "\t", "\r", "\xa0", "\u3000", "a", "the", " x", "1", ".", "(", "é", "中", "\u2009", '"'),
        1,
        20,
    ),
    "rare white space": _rare_white_space,
    "trailing white space": _trailing_white_space,
    "apostrophes": _mixed(
        (
            *_QUOTED,
            "a",
            "I",
            "it",
            " ",
            "\n",
            ".",
            '"',
            "(",
            ")",
            "1",
            "“",
            "”",
            "’",
            "—",
            "é",
            "中",
            "…",
            "\t",
            "`",
            "S",
            "😀",
            "！",
            "。",
        ),
        1,
        12,
    ),
    "apostrophes and ASCII": _mixed((*_QUOTED, "'", "a", " ", "\n", *'.,"(){}[]<>=+-*/\\|&^%$#@!?~`_:;'), 1, 10),
    "apostrophes and symbols": _symbol_apostrophes,
    "punctuation runs": _mixed((*_PUNCTUATION, "'", " ", "a"), 1, 20),
    "digits": _mixed((*"0123456789", ".", ",", " ", "-", "½", "²", "①", "٣", "५", "十", "a", "'s"), 1, 15),
    "emoji": _mixed(
        (
            *map(chr, range(0x1F300, 0x1FAFF)),
            *map(chr, range(0x2190, 0x2BFF)),
            *("\ufe0f", "\u200d", " ", "a", "\n", "!", "'s", "\U0001f3fd", "1", "中") * 150,
        ),
        1,
        12,
    ),
    "every script": _scripts,
    "class changes": _class_changes,
    "assigned characters": _assigned,
    "ASCII": _mixed(tuple(map(chr, range(1, 127))), 1, 60),
    "source code": _source_code,
    "partial UTF-8": _partial_utf8,
    "added tokens": _added_tokens,
}


def generate(name: str, vocabulary: BytePairVocabulary, seed: int = 0) -> Iterator[tuple[str, str | None]]:
    """Endless (string, why it is beyond the design's reach or None) of the generator called `name`."""
    pick = GENERATORS[name](random.Random(f"{seed} {name}"), vocabulary)
    while True:
        text = pick()
        yield text, beyond_reach(text)
