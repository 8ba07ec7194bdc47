"""What `bench` measured, as tables of 80 columns."""

from __future__ import annotations

import io
from typing import Any, Iterator, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bundler.pipeline.bench import PHONES
from tokenizer_tools.printable import printable

COLUMNS = 80
STARTS = {
    "no_cache": "without a weight cache",
    "new_cache": "first, writes the cache",
    "cache": "later, with the cache",
    "start": "",
}


def bench_tables(result: dict[str, Any]) -> Iterator[str]:
    """The tables of a result of `bench`: speeds; starts, memory and divergence; the floor of each file."""
    results = result["results"]
    yield _drawn("Tokens a second", _speeds(results))
    yield _drawn("Start and memory", _starts(results))
    for measured in results:
        if "floor" in measured:
            yield _drawn(
                f"{printable(measured['name'])}: decode in tokens a second, estimates for phones", _floor(measured)
            )


def remarks(result: dict[str, Any]) -> Iterator[str]:
    """The machine, and what is estimated."""
    machine, workload = result["machine"], result["workload"]
    yield (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory'] / 1e9:.0f} GB, {machine['system']}; "
        f"{workload['threads']} threads read {machine['read_bandwidth'] / 1e9:.1f} GB/s. Medians of "
        f"{result['rounds']} round{'s' * (result['rounds'] > 1)}; ± is half the range."
    )
    if machine["busy"] > machine["cores"] + workload["threads"] / 2:
        yield f"The machine was busy (load {machine['busy']}): trust the ratios between files, not the figures."
    yield "The columns of phones are estimates from the bandwidth of their memory alone. No phone was measured."


def number(value: float) -> str:
    """With as many digits as a measurement deserves."""
    return f"{value:,.0f}" if value >= 99.95 else f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"


def half_range(figure: dict[str, float]) -> str:
    """Half the distance from least to most, as a share of the median; nothing where all are the same."""
    if figure["most"] == figure["least"]:
        return ""
    return f"±{(figure['most'] - figure['least']) / 2 / figure['median']:.0%}"


def _speeds(results: Sequence[dict]) -> Table:
    columns = [
        (kind, length)
        for kind in ("prefill", "decode")
        for length in sorted({int(length) for measured in results for length in measured[kind]})
    ]
    table = _table([f"{kind}\n{length}" for kind, length in columns])
    for measured in results:
        figures = [measured[kind].get(str(length)) for kind, length in columns]
        cells = [f"{number(f['median'])}\n{half_range(f)}" if f else "" for f in figures]
        table.add_row(_name(measured), *cells)
    return table


def _starts(results: Sequence[dict]) -> Table:
    divergent = any(measured.get("kl") for measured in results)
    table = _table(["file\nMB", "load\ns", "first\ntoken, s", "memory\nMB", *["KL to\nfp32"] * divergent])
    for measured in results:
        size, kl = measured["bytes"], measured.get("kl")
        cells = ["", "", number(measured["memory"]["median"] / 1e6), *[f"{kl['mean']:.1e}" if kl else ""] * divergent]
        table.add_row(_name(measured), number(size / 1e6) if size else "", *cells)
        for name, start in measured["start"].items():
            table.add_row(
                Text(f"  {STARTS[name]}"),
                "",
                number(start["load"]["median"]),
                number(start["first_token"]["median"]),
                number(start["memory"]["median"] / 1e6),
            )
    return table


def _floor(measured: dict) -> Table:
    columns = ["MB a\ntoken", "memory\nallows", "of that\nreached", *[name.replace("-", "\n") for name in PHONES]]
    table = _table(columns, "context")
    for length, floor in measured["floor"].items():
        phones = [f"{number(least)} to\n{number(most)}" for least, most in floor["phones"].values()]
        table.add_row(
            length,
            number(floor["bytes_a_token"] / 1e6),
            number(floor["tokens_per_second"]),
            f"{floor['reached']:.0%}",
            *phones,
        )
    return table


def _table(columns: Sequence[str], first: str = "") -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column(first, overflow="fold")
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _name(measured: dict) -> Text:
    return Text(printable(measured["name"]))


def _drawn(title: str, table: Table) -> str:
    text = io.StringIO()
    Console(file=text, width=COLUMNS, color_system=None).print(Text(title), table)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())
