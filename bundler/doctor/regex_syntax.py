"""Regular expressions of a tokenizer.json, and whether LiteRT-LM can compile them: it ends the process where it cannot.

LiteRT-LM 0.18.1 takes the syntax of the Rust crate fancy-regex, Hugging Face's Python library that of Oniguruma. The
pattern is not compiled here: what is certain to be refused is looked for, so what passes may still be refused, for its
size for example. Each rule was measured in the engine.
"""

from __future__ import annotations

import re

import regex

_LONGEST = 1 << 12  # characters; the longest known pattern has some hundred
_LETTERS, _LETTERS_IN_CLASS = frozenset("abdefhnrstvwzABDGHKNORSWZpPxuUkg"), frozenset("abdefhknrstvwzABDGHKRSWpPxuU")
_CODE_POINT = {
    "x": re.compile(r"x(?:([0-9A-Fa-f]{2})|\{([0-9A-Fa-f]{1,8})\})"),
    "u": re.compile(r"u(?:([0-9A-Fa-f]{4})|\{([0-9A-Fa-f]{1,8})\})"),
    "U": re.compile(r"U(?:([0-9A-Fa-f]{8})|\{([0-9A-Fa-f]{1,8})\})"),
}
_PROPERTY = re.compile(r"[pP](?:([A-Za-z])|\{\^?([^{}]{1,60})\})")
_PLAIN_NAME = re.compile(r"[A-Za-z][A-Za-z_ ]*")
# What may follow "(?": flags, an assertion, a name, a condition; an assertion cannot be repeated.
_GROUP = re.compile(
    r"(?:[imsxuRU]+-?|-[imsxuRU])[imsxuRU]*[:)]|:|(?P<assertion><?[=!])|[>~(]|P?<[^<>!=]{1,60}>|'[^']{1,60}'|P[=>][^)]{1,60}\)"
)
_COUNT = re.compile(r"\{(\d*)(,?)(\d*)\}")
_LARGEST_COUNT = (1 << 32) - 1
_LAZY_POSSESSIVE = re.compile(r"\??\+?")
_RANGE = re.compile("([a-zA-Z0-9])-([a-zA-Z0-9])")


class _Refused(Exception):
    """What is wrong with a pattern, as a clause."""


def refusal(pattern: str) -> str:
    """Why LiteRT-LM cannot compile `pattern`; empty if nothing is certain."""
    # Comments may hold anything, and flags turn them on for a part of the pattern: too intricate to be certain. So are
    # verbs, (*FAIL).
    if len(pattern) > _LONGEST or re.search(r"\(\?[a-zA-Z-]*x|\(\?#|\(\*[A-Z]", pattern):
        return ""
    try:
        _Pattern(pattern).check()
    except _Refused as refused:
        return str(refused)
    return ""


class _Pattern:
    """A pattern and how far it was read."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0
        self.groups, self.references = 0, 0

    def check(self) -> None:
        """Raise _Refused if the pattern cannot be compiled."""
        open_groups: list[bool] = []  # for each, whether what it makes up can be repeated
        repeatable = False
        while self.at < len(self.text):
            start, character = self.at, self.text[self.at]
            self.at += 1
            if character == "\\":
                self._escape(_LETTERS)
            elif character == "[":
                self._class(start)
            elif character == "(":
                repeatable, is_open = self._group(start)
                open_groups += [repeatable] * is_open
                repeatable = False
                continue
            elif character == ")":
                if not open_groups:
                    raise _Refused(f"a closing parenthesis at {start} that none opens")
                repeatable = open_groups.pop()
                continue
            elif character in "*+?" or character == "{" and self._count(start):
                if not repeatable and character != "{":
                    raise _Refused(f"{character!r} at {start} with nothing to repeat")
                self.at = _LAZY_POSSESSIVE.match(self.text, self.at).end()
                repeatable = False
                continue
            repeatable = character != "|"
        if open_groups:
            raise _Refused("a parenthesis that nothing closes")
        if self.references > self.groups:
            raise _Refused(f"a reference to group {self.references} of {self.groups}")

    def _escape(self, letters: frozenset[str]) -> None:
        start = self.at - 1
        character = self.text[self.at : self.at + 1]
        if not character:
            raise _Refused("a backslash at the end")
        self.at += 1
        if character in _CODE_POINT:
            match = _CODE_POINT[character].match(self.text, start + 1)
            if match is None or 0xD800 <= (number := int(match[1] or match[2], 16)) < 0xE000 or number > 0x10FFFF:
                raise _Refused(f"the code point {self.text[start : start + 8]!r} at {start}")
            self.at = match.end()
        elif character in "pP":
            match = _PROPERTY.match(self.text, start + 1)
            if match is None or not _is_property(match[1] or match[2]):
                raise _Refused(f"the property {self.text[start : start + 40]!r} at {start}")
            self.at = match.end()
        elif character.isascii() and character.isalpha() and character not in letters:
            raise _Refused(f"the escape {self.text[start : start + 2]!r} at {start}")
        elif character in "0123456789" and letters is _LETTERS and not self.text[self.at : self.at + 1].isdigit():
            if character == "0":
                raise _Refused(f"a reference to group 0 at {start}")
            self.references = max(self.references, int(character))

    def _group(self, start: int) -> tuple[bool, bool]:
        """(whether the group can be repeated, whether it is open now)."""
        if self.text[self.at : self.at + 1] != "?":
            self.groups += 1
            return True, True
        match = _GROUP.match(self.text, self.at + 1)
        if match is None:
            raise _Refused(f"a group {self.text[start : start + 8]!r} at {start}")
        # The condition of (?(1)…) is itself in parentheses, which are read next.
        self.at = match.end() - match[0].endswith("(")
        self.groups += match[0].endswith((">", "'")) and match[0] != ">"
        return not match["assertion"], not match[0].endswith(")")

    def _class(self, start: int) -> None:
        """A class in brackets, which may hold others."""
        depth, first = 1, True
        self.at += self.text[self.at : self.at + 1] == "^"
        while depth:
            character = self.text[self.at : self.at + 1]
            if not character:
                raise _Refused(f"a bracket at {start} that nothing closes")
            self.at += 1
            if character == "\\":
                self._escape(_LETTERS_IN_CLASS)
            elif character == "[":
                depth += 1
                self.at += self.text[self.at : self.at + 1] == "^"
                first = True
                continue
            elif character == "]" and not first:
                depth -= 1
            elif match := _RANGE.match(self.text, self.at - 1):
                if match[1] > match[2]:
                    raise _Refused(f"the range {match[0]} at {self.at - 1}")
                self.at = match.end()
            first = False

    def _count(self, start: int) -> bool:
        """Whether the brace at `start` is a count; elsewhere it stands for itself."""
        match = _COUNT.match(self.text, start)
        if match is None or not match[1] + match[3]:
            return False
        least, most = int(match[1][:20] or 0), int(match[3][:20] or match[1][:20])
        if max(least, most) > _LARGEST_COUNT:
            raise _Refused(f"a count of {max(least, most)} at {start}")
        if match[2] and match[3] and least > most:
            return False
        self.at = match.end()
        return True


def _is_property(name: str) -> bool:
    """Whether Unicode has a property, category or script of this name; True where it cannot be told."""
    if not _PLAIN_NAME.fullmatch(name):
        return True
    try:
        regex.compile(rf"\p{{{name}}}")
    except regex.error:
        return False
    return True
