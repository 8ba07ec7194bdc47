"""Whether a tokenizer and a model belong together: every id has a row of the embedding, and no column of the logits
lacks a token.
"""

from __future__ import annotations

import numpy as np

from bundler.doctor.report import Finding
from bundler.doctor.tokenizer_facts import TokenizerFacts

# A bias below this keeps a column from ever being chosen: logits of language models are within some hundreds. Ours is
# -10,000.
HELD_DOWN = -1000.0


def check_vocabulary(
    tokenizer: TokenizerFacts, rows: int | None, width: int | None, bias: np.ndarray | None, where: str
) -> list[Finding]:
    """`rows` of the embedding, `width` of the logits, `bias` of the head (None: no such thing was found)."""
    findings = []
    if rows is not None and tokenizer.size > rows:
        findings.append(
            Finding("piece-ids-beyond-embedding", where, f"ids up to {tokenizer.size - 1}, an embedding of {rows} rows")
        )
    if width is None:
        return findings
    own = tokenizer.size if tokenizer.first_alias is None else tokenizer.first_alias
    if width < own:
        findings.append(Finding("logits-width-unlike-vocabulary", where, f"{own} tokens, logits of width {width}"))
    free = np.ones(width, bool) if bias is None or bias.size != width else ~(bias <= HELD_DOWN)
    if tokenizer.first_alias is not None and (aliases := int(free[tokenizer.first_alias : tokenizer.size].sum())):
        findings.append(
            Finding(
                "alias-ids-generatable",
                where,
                f"{aliases} of {tokenizer.size - tokenizer.first_alias} alias ids are not held down",
            )
        )
    if padding := int(free[tokenizer.size :].sum()):
        findings.append(
            Finding(
                "padding-ids-generatable",
                where,
                f"logits of width {width}, {tokenizer.size} tokens, and {padding} columns beyond them "
                "that are not held down",
            )
        )
    return findings
