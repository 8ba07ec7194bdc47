"""How every code point is written in normalized text, and every spelling a token can then have."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Iterator, NamedTuple

from tokenizer_tools import code_points
from tokenizer_tools.code_points import LETTER, NUMBER, OTHER
from tokenizer_tools.symbols import Symbols
from tokenizer_tools.vocabulary import SYMBOL_BYTES, BytePairVocabulary, symbols_to_bytes

SPACE = 0x20

# The parts white space can play. INNER: followed by white space or the end of the text. FINAL: the last of a
# run, before text, not a space: a pre-token by itself. LEADING: a space before text, which joins it.
INNER, FINAL, LEADING = "inner", "final", "leading"


class Parts(NamedTuple):
    """A token's bytes as text: the end of a character, whole characters, the beginning of one."""

    tail: bytes
    characters: tuple[int, ...]
    head: bytes


def split_token(token: bytes) -> Parts | None:
    """The characters a token lies over, None when no valid UTF-8 contains it."""
    index = 0
    while index < len(token) and 0x80 <= token[index] < 0xC0:
        index += 1
    if index > 3:
        return None
    tail, characters = token[:index], []
    while index < len(token):
        length = _utf8_length(token[index])
        if length == 0:
            return None
        part = token[index : index + length]
        if len(part) < length:
            if any(not 0x80 <= byte < 0xC0 for byte in part[1:]):
                return None
            return Parts(tail, tuple(characters), part)
        try:
            characters.append(ord(part.decode()))
        except UnicodeDecodeError:
            return None
        index += length
    return Parts(tail, tuple(characters), b"")


def _utf8_length(lead: int) -> int:
    if lead < 0x80:
        return 1
    return 2 if 0xC2 <= lead < 0xE0 else 3 if 0xE0 <= lead < 0xF0 else 4 if 0xF0 <= lead < 0xF5 else 0


def whole_characters(vocabulary: BytePairVocabulary) -> frozenset[int]:
    """Non-ASCII code points that BPE always joins into one token before anything else touches their bytes.

    Such a character needs no byte symbols: it can stand for itself. It qualifies when at each of its own merges
    every merge that would take one of its outer parts away, from a neighbor's side, has a higher rank.
    """
    never = len(vocabulary.merges)
    taken_leftwards: dict[str, int] = {}
    taken_rightwards: dict[str, int] = {}
    for rank, (left, right) in enumerate(vocabulary.merges):
        # Only a neighbor that ends, or begins, at a character boundary can stand beside a whole character.
        if SYMBOL_BYTES[right[0]] >= 0x80 and _ends_at_boundary(symbols_to_bytes(left)):
            taken_leftwards.setdefault(right, rank)
        if SYMBOL_BYTES[left[-1]] >= 0x80 and not 0x80 <= SYMBOL_BYTES[right[0]] < 0xC0:
            taken_rightwards.setdefault(left, rank)

    whole = set()
    for index in vocabulary.ordinary:
        token = vocabulary.tokens[index]
        if not 2 <= len(token) <= 4 or SYMBOL_BYTES[token[0]] < 0xC2:
            continue
        data = symbols_to_bytes(token)
        parts = split_token(data)
        if parts is None or parts.head or len(parts.characters) != 1:
            continue
        state = list(token)
        for step in vocabulary.merge_steps(data):
            if min(taken_leftwards.get(state[0], never), taken_rightwards.get(state[-1], never)) < step.rank:
                break
            state = step.parts
        if state == [token]:
            whole.add(parts.characters[0])
    return frozenset(whole)


def _ends_at_boundary(token: bytes) -> bool:
    """Whether a character can end where the token ends."""
    parts = split_token(token)
    return parts is not None and not parts.head


@dataclass
class Spellings:
    """The spelling of each code point; boundaries.py changes it until no piece crosses a cut.

    whole: code points that stand for themselves. planes: byte planes of those written otherwise than plainly.
    final: white space (not the space) that is locked when text follows. inner_space: whether a space not
    followed by text has a symbol of its own.
    """

    symbols: Symbols
    whole: frozenset[int] = frozenset()
    planes: dict[int, tuple[int, ...]] = field(default_factory=dict)
    final: set[int] = field(default_factory=set)
    inner_space: bool = False
    met: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.classes = code_points.classes()
        self._with_tail: dict[bytes, list[int]] = defaultdict(list)
        self._with_head: dict[bytes, list[int]] = defaultdict(list)
        self._with_middle: dict[bytes, list[int]] = defaultdict(list)
        self._groups: dict[tuple[str, bytes], dict[tuple[str, str], list[int]]] = {}

    def index_fragments(self, tokens: list[bytes]) -> None:
        """Find the covered code points that each partial character in `tokens` can be part of, and those in `met`."""
        tails, heads = set(), set()
        for token in tokens:
            parts = split_token(token)
            if parts is not None:
                tails.add(parts.tail)
                heads.add(parts.head)
                self.met.update(parts.characters)
        for code in code_points.covered():
            if code < 0x80 or code in self.whole:
                continue
            data = chr(code).encode()
            for cut in range(1, len(data)):
                if data[cut:] in tails:
                    self._with_tail[data[cut:]].append(code)
                if data[:cut] in heads:
                    self._with_head[data[:cut]].append(code)
                for end in range(cut + 1, len(data)):
                    if data[cut:end] in tails:
                        self._with_middle[data[cut:end]].append(code)

    def forget_groups(self) -> None:
        """To be called after a change of spelling."""
        self._groups.clear()

    def text(self, code: int) -> str:
        """The code point's spelling; for a space, the one before text."""
        if code in self.whole:
            return chr(code)
        data = chr(code).encode()
        planes = self.planes.get(code)
        return self.symbols.plain(data) if planes is None else "".join(map(self.symbols.byte, data, planes))

    def inner_text(self, code: int) -> str:
        """The spelling of white space that white space or the end of the text follows."""
        return self.symbols.inner_space if code == SPACE and self.inner_space else self.text(code)

    def roles(self, code: int) -> Iterator[tuple[str, str]]:
        """(role, spelling): a class for text, the parts it can play for white space. Locked roles are left out."""
        name = self.classes[code]
        if name in (LETTER, NUMBER, OTHER):
            yield name, self.text(code)
            return
        yield INNER, self.inner_text(code)
        if code == SPACE:
            yield LEADING, self.text(code)
        elif code not in self.final:
            yield FINAL, self.text(code)

    def tails(self, tail: bytes) -> dict[tuple[str, str], list[int]]:
        """(role, spelling) -> the code points that end with these bytes so."""
        return self._group("tail", tail)

    def heads(self, head: bytes) -> dict[tuple[str, str], list[int]]:
        """(role, spelling) -> the code points that begin with these bytes so."""
        return self._group("head", head)

    def _group(self, side: str, fragment: bytes) -> dict[tuple[str, str], list[int]]:
        if (side, fragment) not in self._groups:
            group: dict[tuple[str, str], list[int]] = defaultdict(list)
            size, plain = len(fragment), self.symbols.plain(fragment)
            for code in (self._with_tail if side == "tail" else self._with_head)[fragment]:
                if code not in self.planes and self.classes[code] != code_points.WHITE_SPACE:
                    group[self.classes[code], plain].append(code)
                    continue
                for role, text in self.roles(code):
                    group[role, text[-size:] if side == "tail" else text[:size]].append(code)
            self._groups[side, fragment] = dict(group)
        return self._groups[side, fragment]

    def forms(self, token: bytes) -> set[str]:
        """Every spelling the token can have inside one pre-token; empty when no pre-token can contain it."""
        parts = split_token(token)
        if parts is None:
            return set()
        spellings: set[str] = set()
        for name in (LETTER, NUMBER, OTHER):
            lead, body = "", parts.characters
            if body and body[0] == SPACE and not parts.tail:
                lead, body = self.text(SPACE), body[1:]
            if all(self.classes[code] == name for code in body):
                self._combine(spellings, parts, name, lead, "".join(map(self.text, body)))
        if all(self.classes[code] == code_points.WHITE_SPACE for code in parts.characters):
            self._combine(spellings, parts, INNER, "", "".join(map(self.inner_text, parts.characters)))
        if parts.tail and not parts.characters and not parts.head:
            spellings |= self._middles(parts.tail)
        return spellings

    def _combine(self, spellings: set[str], parts: Parts, role: str, lead: str, middle: str) -> None:
        tails = [text for name, text in self.tails(parts.tail) if name == role] if parts.tail else [""]
        heads = [text for name, text in self.heads(parts.head) if name == role] if parts.head else [""]
        spellings |= {lead + tail + middle + head for tail in tails for head in heads}

    def _middles(self, middle: bytes) -> set[str]:
        """The spellings of these bytes strictly inside one character."""
        codes = self._with_middle[middle]
        respelled = [code for code in codes if code in self.planes]
        spellings = {self.symbols.plain(middle)} if len(respelled) < len(codes) else set()
        for code in respelled:
            data, planes = chr(code).encode(), self.planes[code]
            for cut in range(1, len(data) - len(middle)):
                if data[cut : cut + len(middle)] == middle:
                    spellings.add("".join(map(self.symbols.byte, middle, planes[cut : cut + len(middle)])))
        return spellings
