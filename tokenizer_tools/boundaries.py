"""Respells code points until no piece can lie across a cut of GPT-2's pre-tokenizer.

For every spelling of every token, each place between two of its characters is looked at: which characters can
stand there, with which spellings, and whether the regex may cut between them. A spelling that fits both a place
inside a pre-token and a cut is a *crossing*. One side of it gets another spelling, and all is looked at again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator, NamedTuple

from tokenizer_tools.code_points import LETTER, NUMBER, OTHER
from tokenizer_tools.spellings import FINAL, INNER, LEADING, SPACE, Parts, Spellings, split_token
from tokenizer_tools.symbols import NUMBER_PLANE, OTHER_PLANE, PLAIN, WHITE_PLANE

_TEXT = (LETTER, NUMBER, OTHER)
_ROUNDS = 40

Unit = dict[str, list[int]]


@dataclass(frozen=True)
class Crossing:
    """Two neighboring units of a spelled token between which the text may be cut, and the roles that cut."""

    before: Unit
    after: Unit
    role_before: str
    role_after: str
    before_is_tail: bool
    after_is_head: bool


class Settled(NamedTuple):
    """Every token's spellings, and the number of crossings that no respelling could remove (0 for a vocabulary trained
    with GPT-2's regex).
    """

    forms: dict[bytes, set[str]]
    crossings: int


def remove_crossings(spellings: Spellings, tokens: list[bytes]) -> Settled:
    """Change `spellings` to a fixpoint without crossings."""
    simple = {token: forms for token in tokens if (forms := _simple_forms(spellings, token)) is not None}
    hard = [token for token in tokens if token not in simple]
    spellings.index_fragments(hard)
    for _ in range(_ROUNDS):
        spellings.forget_groups()
        forms = {token: spellings.forms(token) for token in hard}
        changed, stuck = False, 0
        for token in hard:
            for form in sorted(forms[token]):
                for crossing in list(crossings(spellings, token, form)):
                    if _respell(spellings, crossing):
                        changed = True
                    else:
                        stuck += 1
        if not changed:
            break
    return Settled(simple | forms, stuck)


def _simple_forms(spellings: Spellings, token: bytes) -> set[str] | None:
    """The spelling of an ASCII token without inner white space, which is always the plain one; else None."""
    if token == b" " or any(byte >= 0x80 or byte in b"\t\n\v\f\r" for byte in token) or b" " in token[1:]:
        return None
    text = token[1:] if token[:1] == b" " else token
    one_class = len({spellings.classes[byte] for byte in text}) == 1
    return {spellings.symbols.plain(token)} if one_class else set()


def crossings(spellings: Spellings, token: bytes, form: str) -> Iterator[Crossing]:
    """The places in this spelling of the token where the pre-tokenizer may cut."""
    parts = split_token(token)
    if parts is None:
        return
    units = _units(spellings, parts, form)
    for index in range(len(units) - 1):
        before, after = units[index], units[index + 1]
        behind = units[index + 2] if index + 2 < len(units) else None
        for role_before in before:
            for role_after in after:
                if _may_cut(role_before, role_after, behind):
                    yield Crossing(
                        before,
                        after,
                        role_before,
                        role_after,
                        index == 0 and bool(parts.tail),
                        index + 2 == len(units) and bool(parts.head),
                    )


def _units(spellings: Spellings, parts: Parts, form: str) -> list[Unit]:
    """For each (partial) character of the token: role -> code points that have it with this spelling."""
    units: list[Unit] = []
    at = 0
    if parts.tail:
        at = len(parts.tail)
        units.append({role: codes for (role, text), codes in spellings.tails(parts.tail).items() if text == form[:at]})
    for code in parts.characters:
        end = at + len(spellings.inner_text(code))
        units.append({role: [code] for role, text in spellings.roles(code) if text == form[at:end]})
        at = end
    if parts.head:
        units.append({role: codes for (role, text), codes in spellings.heads(parts.head).items() if text == form[at:]})
    return units


def _may_cut(before: str, after: str, behind: Unit | None) -> bool:
    """Whether two characters in these roles can be neighbors in a text that is cut between them."""
    if after in (FINAL, LEADING) and behind is not None and not any(role in _TEXT for role in behind):
        return False  # these two are followed by text
    if before in _TEXT:
        return before != after
    if before == LEADING:
        return False
    if before == INNER:
        return after in (FINAL, LEADING)
    return after in _TEXT


def _respell(spellings: Spellings, crossing: Crossing) -> bool:
    """Give one side of the crossing another spelling; False when nothing changed."""
    before, after = crossing.before, crossing.after
    if crossing.role_before in (INNER, FINAL) and crossing.role_after in (FINAL, LEADING, *_TEXT):
        if crossing.role_after == LEADING:
            changed, spellings.inner_space = not spellings.inner_space, True
            return changed
        marked = after[FINAL] if crossing.role_after == FINAL else before[FINAL]
        changed = not spellings.final.issuperset(marked)
        spellings.final.update(marked)
        return changed

    # The spelling is legitimate inside a stretch of one class: respell that class there, so that the plain
    # spelling is left to the other class. Letters, by far the most, always keep the plain one.
    for role, plane in ((OTHER, OTHER_PLANE), (NUMBER, NUMBER_PLANE)):
        if role in before and role in after:
            if crossing.before_is_tail and _set_plane(spellings, before[role], -1, plane):
                return True
            if crossing.after_is_head and _set_plane(spellings, after[role], 0, plane):
                return True
            if _all_wide(before[role]) and _set_plane(spellings, before[role], -1, plane):
                return True
            if _all_wide(after[role]) and _set_plane(spellings, after[role], 0, plane):
                return True
    planes = {OTHER: OTHER_PLANE, NUMBER: NUMBER_PLANE, INNER: WHITE_PLANE, FINAL: WHITE_PLANE, LEADING: WHITE_PLANE}
    roles = [(crossing.role_after, after, 0), (crossing.role_before, before, -1)]
    # White space has the fewest code points, so it is tried first.
    for role, unit, edge in sorted(roles, key=lambda entry: entry[0] in (*_TEXT,)):
        if role in planes and _all_wide(unit[role]) and _set_plane(spellings, unit[role], edge, planes[role]):
            return True
    return False


def _all_wide(codes: list[int]) -> bool:
    return all(code >= 0x80 for code in codes)


def _set_plane(spellings: Spellings, codes: list[int], edge: int, plane: int) -> bool:
    """Write the first (0) or last (-1) byte of these code points in `plane`; False when it was so already."""
    changed = False
    for code in codes:
        if code < 0x80 or code == SPACE or code in spellings.whole:
            continue
        planes = list(spellings.planes.get(code) or [PLAIN] * len(chr(code).encode()))
        if planes[edge] != plane:
            planes[edge] = plane
            spellings.planes[code] = tuple(planes)
            changed = True
    return changed
