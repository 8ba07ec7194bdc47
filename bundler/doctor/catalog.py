"""Every finding the doctor can make: code, severity, whom it concerns, what the engines say, and how it is mended.

The catalog is findings.toml; docs/FINDINGS.md shows it. `python -m bundler.doctor.catalog` prints that page.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources

SEVERITIES = ("error", "warning", "note")
# Field of findings.toml -> the engine, with the version in which a quoted message was measured.
ENGINES = {"litert_lm": "LiteRT-LM 0.18.1", "mediapipe": "MediaPipe web 0.10.29"}


@dataclass(frozen=True)
class Entry:
    """One kind of finding. `says`: engine -> its message or what it does; engines that were not run are not in it."""

    code: str
    severity: str
    files: tuple[str, ...]
    engines: tuple[str, ...]
    meaning: str
    mend: str
    says: dict[str, str]


@cache
def catalog() -> dict[str, Entry]:
    """Every entry by its code, in the order of the page."""
    listed = tomllib.loads(resources.files("bundler.doctor").joinpath("findings.toml").read_text(encoding="utf-8"))
    return {
        code: Entry(
            code,
            fields["severity"],
            tuple(fields["files"]),
            tuple(fields["engines"]),
            fields["meaning"],
            fields["mend"],
            {name: fields[field] for field, name in ENGINES.items() if field in fields},
        )
        for code, fields in listed.items()
    }


def page() -> str:
    """docs/FINDINGS.md."""
    counts = {severity: sum(entry.severity == severity for entry in catalog().values()) for severity in SEVERITIES}
    rows = "".join(
        f"| `{entry.code}` | {entry.severity} | {', '.join(entry.files)} | {', '.join(entry.engines)} | "
        f"{entry.meaning} | "
        f"{'<br>'.join(f'{engine}: {_cell(message)}' for engine, message in entry.says.items()) or 'not run'} | "
        f"{entry.mend} |\n"
        for entry in catalog().values()
    )
    return _PAGE.format(rows=rows, **counts)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


_PAGE = """# What the doctor finds

`task-bundler doctor FILE` reads a `.task`, `.litertlm`, `.tflite`, adapter file or SentencePiece model of any maker,
told apart by its content, and says what is in it and what an engine or a phone would say of it. It runs nothing from
the file, unpacks nothing to the disk and needs neither PyTorch nor an engine. The report is on stdout. Exit code 3 if
there is an error among the findings, 0 if not; `--json` gives one object, and a list for several files or a folder.

```sh
task-bundler doctor out/sample/sample.task
task-bundler doctor out/sample                               # the files of a folder, and of the folders in it
task-bundler doctor mine.litertlm a.tflite tokenizer.model   # whether they belong together, too
```

Where a SHA256SUMS beside a file, or one folder up, lists it, its hash is compared; lines that begin with `#` are
comments there.

* **error** ({error}): an engine that the file is for fails on it or writes wrong text, or the file is damaged or made
  to deceive.
* **warning** ({warning}): one engine, device or kind of prompt is hit; the rest works.
* **note** ({note}): works, and is worth knowing.

A bundle, adapter or tokenizer that `task-bundler build` wrote has no finding (`--tokenizer-mode byte-mapped` has
`byte-mapping-ignored`), and a build whose files have an error fails. The codes are stable: scripts and the Android
app use them. "What the engine says" quotes what was measured with the version named, or what its open source says
where that is named; "not run" means that nobody has looked.

| code | severity | files | engines | meaning | what the engine says | mend |
|---|---|---|---|---|---|---|
{rows}
Files may be hostile: `python benchmarks/doctor_fuzz.py out/sample` damages them thousands of times over and reports
crashes, time and memory.

This page is `python -m bundler.doctor.catalog > docs/FINDINGS.md`; the texts are in `bundler/doctor/findings.toml`.
"""

if __name__ == "__main__":
    print(page(), end="")
