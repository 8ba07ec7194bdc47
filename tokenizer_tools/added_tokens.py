"""Added tokens are cut out of a text before anything else looks at it, the leftmost first and of those the longest.

The normalizer has no step before its keys, so they do it: an added token's text is a key, and is replaced by a symbol
that merges with nothing, the piece of an alias of the token. A key that would run into an added token ends before it,
as if the text did.
"""

from __future__ import annotations

from typing import Mapping


def cut_out(keys: dict[bytes, bytes], symbols: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    """The normalizer's keys, changed so that each text in `symbols` is replaced by its symbol wherever the reference
    cuts it out.
    """
    if not symbols:
        return keys
    beginnings: dict[bytes, list[bytes]] = {}
    for text in symbols:
        for end in range(1, len(text) + 1):
            beginnings.setdefault(text[:end], []).append(text)
    changed = dict(keys)
    for key in keys:
        first = _first(key, symbols)
        if first is not None and first[0] + len(first[1]) < len(key):
            del changed[key]  # it would run over an added token
        for start in range(1, len(key)):
            # The added tokens that the key ends inside of, and the one that it runs over.
            cut = set(beginnings.get(key[start:], ()))
            if first is not None and first[0] == start:
                cut.add(first[1])
            for text in cut:
                if _first(key[:start] + text, symbols) == (start, text):
                    changed[key[:start] + text] = _replaced(key[:start], keys) + symbols[text]
    return changed | dict(symbols)


def _first(text: bytes, added: Mapping[bytes, bytes]) -> tuple[int, bytes] | None:
    """Where the first added token lies in the text, and the longest that lies there."""
    for start in range(len(text)):
        tokens = [token for token in added if text.startswith(token, start)]
        if tokens:
            return start, max(tokens, key=len)
    return None


def _replaced(text: bytes, keys: Mapping[bytes, bytes]) -> bytes:
    """What the normalizer makes of a text: the longest key at each place is replaced, a byte that begins none stays."""
    written, at = b"", 0
    while at < len(text):
        end = next((end for end in range(len(text), at, -1) if text[at:end] in keys), None)
        written += text[at : at + 1] if end is None else keys[text[at:end]]
        at = at + 1 if end is None else end
    return written
