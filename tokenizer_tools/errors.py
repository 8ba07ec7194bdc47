"""The error of this package, and how its messages quote what a file holds."""

from __future__ import annotations

import reprlib


class TokenizerError(Exception):
    """A vocabulary or tokenizer file is unusable; the message says what was found, expected, and what to do."""


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 80
_SHORT.maxlevel = 3


def brief(value: object) -> str:
    """`value` as Python writes it, on one line of at most 80 characters: a file's maker decides how long its values
    are.
    """
    text = " ".join(_SHORT.repr(value).split())
    return text if len(text) <= 80 else f"{text[:79]}…"
