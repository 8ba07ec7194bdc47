"""The mismatch report as a fragment of HTML, to be placed in a page."""

from __future__ import annotations

from html import escape

from tokenizer_tools.printable import printable
from tokenizer_tools.report import ClassCounts, MismatchReport

_COLUMNS = ("strings", "mismatched_strings", "tokens", "mismatched_tokens", "unknown_tokens", "round_trip_failures")


def report_html(report: MismatchReport) -> str:
    """A `<section>` with the totals, a row per class, and examples of every mismatch."""
    facts = (
        f"{report.vocabulary_size:,} ids and {report.alias_rows:,} alias rows, mode {escape(report.mode)}, "
        f"{report.model_bytes / 1e6:.2f} MB, loads in {report.load_ms:.1f} ms"
    )
    speeds = ", ".join(f"{escape(name)} {speed:.1f} MB/s" for name, speed in report.encode_mb_s.items())
    deviating = "".join(f"<li>{escape(printable(text))}</li>" for text in report.deviations)
    return "".join(
        (
            '<section class="tokenizer"><h2>Tokenizer</h2>',
            f"<p>{facts}. Encoding: {speeds}.</p>",
            f"<p>This tokenizer is not GPT-2's in every rule:</p><ul>{deviating}</ul>" if deviating else "",
            _table(report.by_class, report),
            _examples(report.by_class),
            "<h3>Beyond the design's reach, counted apart</h3>" + _table(report.beyond_reach)
            if report.beyond_reach
            else "",
            "</section>",
        )
    )


def _table(classes: dict[str, ClassCounts], totals: MismatchReport | None = None) -> str:
    head = "".join(f"<th>{name.replace('_', ' ')}</th>" for name in ("class", *_COLUMNS))
    rows = [(name, [getattr(counts, column) for column in _COLUMNS]) for name, counts in classes.items()]
    if totals is not None:
        rows.append(("total", [totals.total(column) for column in _COLUMNS]))
    body = "".join(
        f"<tr><td>{escape(name)}</td>" + "".join(f"<td>{number:,}</td>" for number in numbers) + "</tr>"
        for name, numbers in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _examples(classes: dict[str, ClassCounts]) -> str:
    items = [
        f"<li>{escape(name)}, {escape(example.cause)}: <code>{escape(ascii(example.text))}</code> "
        f"expected {example.expected}, found {example.found}</li>"
        for name, counts in classes.items()
        for example in counts.examples
    ]
    return f"<h3>Mismatches</h3><ul>{''.join(items)}</ul>" if items else ""
