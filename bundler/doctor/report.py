"""What an examination results in: facts about a file, and findings."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bundler.doctor.catalog import SEVERITIES, Entry, catalog
from tokenizer_tools.printable import printable

_LONGEST = 4096  # characters of a text among the facts
_MOST = 12  # findings of one code that are kept; a hostile directory has thousands of entries
_SHOWN = 300  # characters of a finding's text: names in hostile files can have megabytes


@dataclass(frozen=True)
class Finding:
    """`where`: the entry, signature or tensor; empty for the whole file. `found`: what was found there, a clause.

    The rest (severity, engines, what they say, how to mend it) is the catalog's, by `code`.
    """

    code: str
    where: str
    found: str

    def __post_init__(self) -> None:
        assert self.code in catalog(), self.code
        for name in ("where", "found"):
            object.__setattr__(self, name, shown(getattr(self, name)))

    @property
    def entry(self) -> Entry:
        return catalog()[self.code]

    @property
    def severity(self) -> str:
        return self.entry.severity

    def as_dict(self) -> dict[str, Any]:
        entry = self.entry
        return {
            "code": self.code,
            "severity": entry.severity,
            "where": self.where,
            "found": self.found,
            "meaning": entry.meaning,
            "engines": list(entry.engines),
            "says": entry.says,
            "mend": entry.mend,
        }


@dataclass
class Report:
    """`kind`: .task, .litertlm, .tflite, adapter, tokenizer or unknown. `facts`: what could be read, ready for JSON.

    `more`: code -> how many findings of it are left out, where there are very many.
    """

    path: Path
    kind: str
    size: int
    facts: dict[str, Any] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    more: dict[str, int] = field(default_factory=dict)

    @property
    def errors(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.severity == "error"]

    def sort(self) -> None:
        """Errors first; the order in which they were found otherwise, each once, and of each code not too many."""
        counts: Counter[str] = Counter()
        kept = []
        for finding in dict.fromkeys(self.findings):
            counts[finding.code] += 1
            if counts[finding.code] <= _MOST:
                kept.append(finding)
        self.more |= {code: count - _MOST for code, count in counts.items() if count > _MOST}
        self.findings = sorted(kept, key=lambda finding: SEVERITIES.index(finding.severity))

    def as_dict(self) -> dict[str, Any]:
        """One JSON object: file, kind, bytes, the facts, and findings with everything the catalog says about them."""
        return {
            "file": str(self.path),
            "kind": self.kind,
            "bytes": self.size,
            **_plain(self.facts),
            "findings": [finding.as_dict() for finding in self.findings],
            "more": self.more,
            "counts": {
                severity: sum(finding.severity == severity for finding in self.findings) for severity in SEVERITIES
            },
        }


def _plain(value: Any, depth: int = 8) -> Any:
    """`value` as JSON can hold it, whatever a hostile file put into it: bounded depth and length, no lone surrogates,
    no NaN.
    """
    if depth == 0:
        return "…"
    if isinstance(value, dict):
        return {str(_plain(name)): _plain(item, depth - 1) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, depth - 1) for item in value]
    if isinstance(value, str):
        return value[:_LONGEST].encode("utf-8", "replace").decode()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def shown(text: str) -> str:
    """Without control characters, which could drive a terminal, and of bounded length."""
    return printable(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")
