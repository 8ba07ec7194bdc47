"""What the checks need to know of a tokenizer, whichever kind it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from bundler.doctor.report import Finding


@dataclass
class TokenizerFacts:
    """`size`: ids go from 0 to size - 1. `ids`: a token's bytes -> its id. `shown`: for people and JSON.

    `byte_mapped`: the tokens are spelled in GPT-2's byte alphabet, and nothing in the tokenizer spells text so.
    `first_alias`: from this id on they are second ids of other tokens, never to be generated; None without such.
    `user_defined`: ids that are also recognized in the text of a prompt; `untyped`: ids that no text becomes. A
    SentencePiece model has an `unknown` piece.
    """

    kind: str
    size: int
    ids: dict[bytes, int]
    shown: dict[str, Any]
    byte_mapped: bool = False
    first_alias: int | None = None
    unknown: int | None = None
    user_defined: frozenset[int] = frozenset()
    untyped: frozenset[int] = frozenset()
    findings: list[Finding] = field(default_factory=list)
