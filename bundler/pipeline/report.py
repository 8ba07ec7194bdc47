"""report.html and report.json: what a build found out, to look at."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jinja2

from bundler.system.file_section import FileSection
from bundler.tflite.model import open_model
from bundler.tflite.weights import weight_table
from bundler.verification.gate import Gate, verdict
from tokenizer_tools.printable import printable
from tokenizer_tools.report import MismatchReport


def weight_bytes(path: Path) -> dict[str, int]:
    """Bytes of a TFLite file by what they are for and how they are stored, as the doctor has them; the largest first.

    `graph` is what is left: operators, names, scales inside the flatbuffer.
    """
    section = FileSection.whole(path)
    table = weight_table(open_model(section))
    sizes = {f"{kind}, {scheme}": size for kind, row in table.items() for scheme, size in row["types"].items()}
    sizes["graph"] = section.size - sum(sizes.values())
    return dict(sorted(sizes.items(), key=lambda entry: -entry[1]))


def write_report(
    folder: Path, manifest: dict, weights: dict[str, int], tokens: MismatchReport, showcase: dict | None = None
) -> None:
    """Write report.json (the figures) and report.html (the same, self-contained). `showcase`: of show_bundle."""
    parameters = _parameters(manifest)
    report = {
        "name": manifest["name"],
        "recipe": manifest["recipe"],
        "verdict": verdict([Gate(**gate) for gate in manifest["verification"]]) if manifest["verification"] else None,
        "bytes": manifest["bytes"],
        "bytes_per_parameter": round(manifest["bytes"]["tflite"] / parameters, 3),
        "parameters": parameters,
        "weight_bytes": dict(sorted(weights.items(), key=lambda entry: -entry[1])),
        "tokens": _token_counts(tokens),
        "verification": manifest["verification"],
        **{"texts": [], "next_tokens": [], "speed": None, **(showcase or {})},
    }
    (folder / "report.json").write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    text_gates = [gate for gate in manifest["verification"] if "perplexity" in gate["figures"]]
    texts: dict[str, list[dict]] = {}
    for text in report["texts"]:
        texts.setdefault(text["prompt"], []).append(text)
    page = render("report.html", manifest=manifest, report=report, text_gates=text_gates, texts=texts)
    (folder / "report.html").write_text(page, encoding="utf-8")


def render(template: str, **values: Any) -> str:
    """A page of this package, self-contained."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, loader=jinja2.PackageLoader("bundler.pipeline", "")
    )
    environment.filters["printable"] = printable
    return environment.get_template(template).render(**values)


def _token_counts(tokens: MismatchReport) -> dict[str, dict[str, int]]:
    """Counts by class of string; no speeds, because the same inputs must give the same bytes."""
    columns = ("strings", "tokens", "mismatched_tokens", "unknown_tokens", "round_trip_failures")
    return {name: {column: getattr(counts, column) for column in columns} for name, counts in tokens.by_class.items()}


def _parameters(manifest: dict) -> int:
    """Parameters of the checkpoint, the tied embedding counted once."""
    shape = manifest["architecture"]
    width, inner = shape["width"], shape["inner"]
    layer = 4 * width * width + 2 * width * inner + 9 * width + inner
    embeddings = (shape["vocabulary"] * (1 if shape["tied_head"] else 2) + shape["positions"]) * width
    return embeddings + shape["layers"] * layer + 2 * width
