"""A report for people, as rich tables. Nothing of it is read as markup: names come from the file."""

from __future__ import annotations

from typing import Any, Iterator

from rich.table import Table
from rich.text import Text

from bundler.doctor.report import Finding, Report, shown
from tokenizer_tools.printable import printable

_COLOURS = {"error": "bold red", "warning": "yellow", "note": "cyan"}


def report_tables(report: Report) -> Iterator[Table | Text]:
    """The facts, then the findings, then a line that sums up."""
    facts = report.facts
    yield Text(f"{printable(str(report.path))}: {report.kind}, {report.size:,} bytes", style="bold")
    if "listed_in" in facts:
        yield Text("its SHA-256 is the one that SHA256SUMS lists")
    if facts.get("entries"):
        yield _table(
            "Entries",
            ["name", "offset", "bytes", "sha256"],
            [
                [
                    entry["name"]
                    + ("" if entry.get("aligned", True) else " (misaligned)")
                    + ("" if entry.get("stored", True) else " (compressed)"),
                    f"{entry['offset']:,}",
                    f"{entry['bytes']:,}",
                    (entry["sha256"] or "not read")[:16],
                ]
                for entry in facts["entries"][:64]
            ],
        )
    for name in ("provenance", "metadata", "tokenizer", "adapter"):
        if facts.get(name, {}).get("maker") != "unknown" and name in facts:
            yield _table(
                name.capitalize(),
                None,
                [[key, _value(value)] for key, value in facts[name].items() if value not in (None, {}, [], "")],
            )
    if "model" in facts:
        yield from _model(facts["model"])
    if report.findings:
        yield from map(finding_text, report.findings)
        yield from (Text(f"and {count:,} more of {code}") for code, count in report.more.items())
    counts = report.as_dict()["counts"]
    yield Text(
        ", ".join(f"{count} {severity}{'s' if count != 1 else ''}" for severity, count in counts.items())
        if report.findings
        else "nothing to complain of",
        style="bold" if report.findings else "green",
    )


def _model(model: dict[str, Any]) -> Iterator[Table]:
    yield _table(
        "Signatures",
        ["name", "inputs", "outputs"],
        [
            [signature["name"], *("\n".join(_lines(signature[end])) for end in ("inputs", "outputs"))]
            for signature in model["signatures"][:24]
        ],
    )
    if "context" not in model:
        return
    yield _table(
        "Model",
        None,
        [
            [key.replace("_", " "), _value(model[key])]
            for key in ("layers", "prefill_lengths", "context", "logits_width", "embedding_rows", "mask_input", "lora")
            if key != "lora" or any(model[key].values())
        ],
    )
    total = sum(row["bytes"] for row in model["weights"].values()) or 1
    yield _table(
        "Weights",
        ["kind", "stored as", "bytes", "share"],
        [
            [
                kind,
                ", ".join(f"{size:,} {stored}" for stored, size in row["types"].items())
                if len(row["types"]) > 1
                else next(iter(row["types"])),
                f"{row['bytes']:,}",
                f"{row['bytes'] / total:.1%}",
            ]
            for kind, row in model["weights"].items()
        ],
    )


def _lines(tensors: dict[str, str]) -> list[str]:
    """A line for each tensor, LoRA's factors together."""
    factors = [name for name in tensors if name.startswith("lora_")]
    return [f"{name}: {shape}" for name, shape in list(tensors.items())[:24] if name not in factors] + (
        ["LoRA factors"] if factors else []
    )


def finding_text(finding: Finding) -> Text:
    """One finding: severity and code, what was found, what engines say, what to do."""
    entry = finding.entry
    text = Text()
    text.append(f"{entry.severity} ", style=_COLOURS[entry.severity])
    text.append(entry.code, style="bold")
    text.append(f"{' in ' + finding.where if finding.where else ''}: {finding.found}\n")
    text.append(f"  {entry.meaning} Concerns {', '.join(entry.engines)}.\n")
    for engine, message in entry.says.items():
        text.append(f"  {engine}: {message}\n", style="dim")
    text.append(f"  → {entry.mend}\n")
    return text


def _table(title: str, columns: list[str] | None, rows: list[list[str]]) -> Table:
    table = Table(*(columns or ["", ""]), title=title, title_justify="left", show_header=columns is not None)
    for row in rows:
        table.add_row(*(Text("\n".join(shown(line) for line in str(cell).split("\n"))) for cell in row))
    return table


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(
            f"{key} {_value(item)}" for key, item in list(value.items())[:12] if item is not None and item != []
        )
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_value, value[:12])) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)
