"""An examination as one of a build's gates."""

from __future__ import annotations

from pathlib import Path

from bundler.doctor.examine import examine
from bundler.verification.gate import Gate


def doctor_gate(path: Path) -> Gate:
    """Passes if no finding is an error: an error is what makes an engine fail, or write wrong text."""
    report = examine(path)
    found = "; ".join(
        f"{finding.code}{f' in {finding.where}' if finding.where else ''}: {finding.found}"
        for finding in report.findings
    )
    return Gate(
        f"doctor, {path.name}",
        not report.errors,
        found or "no findings",
        {"kind": report.kind, "findings": [finding.code for finding in report.findings]},
    )
