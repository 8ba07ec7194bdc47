"""report.html and report.json: what a build found out, to look at."""

from __future__ import annotations

import json
import mmap
from collections import Counter
from importlib import resources
from pathlib import Path

import jinja2

from tokenizer_tools.printable import printable
from tokenizer_tools.report import MismatchReport


def weight_bytes(model: Path) -> dict[str, int]:
    """Bytes of a TFLite file by what they are for: embeddings, the linear layers by element type, the rest, the
    graph.
    """
    from ai_edge_litert import schema_py_generated as schema

    types = {number: name.lower() for name, number in vars(schema.TensorType).items() if isinstance(number, int)}
    found: Counter[str] = Counter()
    with open(model, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        root = schema.Model.GetRootAs(data, 0)
        seen = set()
        for graph in (root.Subgraphs(i) for i in range(root.SubgraphsLength())):
            lookups = _embedding_tensors(root, graph, schema)
            for index in range(graph.TensorsLength()):
                tensor = graph.Tensors(index)
                buffer = root.Buffers(tensor.Buffer())
                size = buffer.DataLength() or buffer.Size()
                if not size or tensor.Buffer() in seen:
                    continue
                seen.add(tensor.Buffer())
                matrix = tensor.ShapeLength() == 2 and min(tensor.Shape(0), tensor.Shape(1)) > 1
                kind = (
                    "embeddings and head"
                    if index in lookups
                    else "linear layers"
                    if matrix
                    else "norms, biases, scales"
                )
                found[f"{kind}, {types[tensor.Type()]}"] += size
        found["graph"] = len(data) - sum(found.values())
    return dict(found.most_common())


def _embedding_tensors(root, graph, schema) -> set[int]:
    tables = set()
    for operator in (graph.Operators(i) for i in range(graph.OperatorsLength())):
        if root.OperatorCodes(operator.OpcodeIndex()).BuiltinCode() == schema.BuiltinOperator.EMBEDDING_LOOKUP:
            tables.add(operator.Inputs(1))
    return tables


def write_report(folder: Path, manifest: dict, weights: dict[str, int], tokens: MismatchReport) -> None:
    """Write report.json (the figures) and report.html (the same, self-contained)."""
    completions = next(
        (gate["figures"]["completions"] for gate in manifest["verification"] if "completions" in gate["figures"]), []
    )
    parameters = _parameters(manifest)
    report = {
        "name": manifest["name"],
        "recipe": manifest["recipe"],
        "bytes": manifest["bytes"],
        "bytes_per_parameter": round(manifest["bytes"]["tflite"] / parameters, 3),
        "parameters": parameters,
        "weight_bytes": weights,
        "tokens": _token_counts(tokens),
        "verification": manifest["verification"],
    }
    (folder / "report.json").write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    environment.filters["printable"] = printable
    template = environment.from_string(
        resources.files("bundler.pipeline").joinpath("report.html").read_text(encoding="utf-8")
    )
    largest = max(weights.values())
    (folder / "report.html").write_text(
        template.render(manifest=manifest, report=report, completions=completions, largest=largest), encoding="utf-8"
    )


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
