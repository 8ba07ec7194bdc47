"""Text from outside (names of files, tokens, messages of libraries), made fit to be shown."""

from __future__ import annotations

import re
import unicodedata

# Of ASCII's punctuation, what GitHub's Markdown gives a meaning inside a line or a table's cell. An underscore between
# letters has none.
_MARKDOWN = re.compile(r"[\\`*\[\]<>|~&]|(?<!\w)_|_(?!\w)")


def printable(text: str, keep: str = "") -> str:
    r"""`text` with escapes, as Python writes them, for what could drive a terminal, break a line or turn its direction
    around.

    A byte that is not UTF-8 in a file's name, which Python holds as a lone surrogate (PEP 383), becomes \xNN. The
    characters of `keep` stay as they are.
    """
    if text.isprintable():
        return text
    # str.isprintable() counts every space but ASCII's among the rest.
    return "".join(
        character
        if character.isprintable() or character in keep or unicodedata.category(character) == "Zs"
        else _escape(character)
        for character in text
    )


def _escape(character: str) -> str:
    if "\udc80" <= character <= "\udcff":
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()


def markdown(text: str) -> str:
    """`text` as Markdown that shows it on one line, in a table's cell too."""
    return _MARKDOWN.sub(r"\\\g<0>", printable(text))
