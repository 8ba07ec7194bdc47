"""What the rebuilt model cannot get right: contexts that no key of bounded length can hold.

Every entry was found by looking for mismatches, not in text. Strings with one of these are counted apart by the
report's generators; in a text that is given to the report they count like any other.
"""

from __future__ import annotations

import re

from tokenizer_tools import code_points
from tokenizer_tools.code_points import NUMBER, OTHER, WHITE_SPACE
from tokenizer_tools.keys import detail_after

_APOSTROPHES = re.compile("('+)(?:s|t|re|ve|m|ll|d)")


def beyond_reach(text: str) -> str | None:
    """Why the model's ids for this text may differ from the reference's, None when they never do."""
    if "\0" in text:
        return "a NUL byte"
    names = code_points.classes()
    if not text.isascii():
        symbols, before = code_points.symbol_set(), 0x61
        for code in map(ord, text):
            if code >= 0x80 and names[code] == OTHER and code not in symbols:
                return "a private-use, unassigned or very recent character"
            if (
                code >= 0x80
                and names[code] in (OTHER, NUMBER)
                and names[before] == WHITE_SPACE
                and not detail_after(before).tells_apart(code)
            ):
                return "a rare symbol or number after white space other than spaces and newlines"
            before = code
    for match in _APOSTROPHES.finditer(text):
        if _too_many(text, match.start(1), match.end(1)):
            return "too many apostrophes in a row before s, t, re, ve, m, ll, d"
    return None


def _too_many(text: str, start: int, end: int) -> bool:
    names, count = code_points.classes(), end - start
    before = ord(text[start - 1]) if start else 0x61
    if names[before] == OTHER:
        space = ord(text[start - 2]) if start > 1 and names[ord(text[start - 2])] == WHITE_SPACE else 0x20
        swallowed = detail_after(space).after(before)
        # One more than the key swallows is taken for a contraction; two more are a run of their own again.
        return count == swallowed + 1 or count > swallowed + detail_after(0x20).run
    return count > detail_after(before).run if names[before] == WHITE_SPACE else count > detail_after(0x20).run
