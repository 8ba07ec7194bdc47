"""The doctor's verdict on planted defects, on random damage and on sound files of several makers, against what was
planted and LiteRT-LM.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from attack import Attack, judge_end
from launcher import REPOSITORY, Job, Launcher
from tally import Tally
from trees import copy, empty

HERE = Path(__file__).resolve().parent
TRIALS, SEED = 100, 1
ENGINE, SECONDS = "LiteRT-LM", 60.0
# Errors that are true of a file which the engine nevertheless reads as it was: it compares no checksums.
HASHES = {"entry-checksum-wrong"}
# Planted to be read, not to be run: one of its operators became another, whose inputs it has not.
NOT_RUN = ("operator_for_the_cpu_only",)
# Options of builds whose files have to be found sound, beside the inputs' own.
BUILDS = {
    "fp16": ("--quant", "fp16"),
    "weight-only": ("--quant", "int8-weight-only"),
    "short": ("--context", "64", "--prefill", "8,16"),
}
# Findings that are true of sound files of these makers: the engine writes after short prompts, and refuses longer ones.
TOLERATED = {"default_f32_ekv64.litertlm": {"context-misread"}}


@dataclass(frozen=True)
class Entry:
    """`expected`: the code that was planted, "sound", or None where anything may be found. `source`: the sound file
    that was damaged.
    """

    name: str
    file: str
    expected: str | None
    source: str | None


def bundles(attack: Attack) -> Tally:
    tally = Tally("bundles")
    work, inputs = empty(attack.work / "bundles"), attack.inputs()
    sound = empty(work / "sound")
    _make_sound(attack, tally, sound)
    target = empty(work / "broken")
    planting = attack.launchers[0].run(
        Job(
            (str(inputs.folder), str(sound), str(target), str(TRIALS), str(SEED)),
            work,
            empty(work / "temporary"),
            script=HERE / "plant.py",
        )
    )
    if planting.code:
        raise RuntimeError(f"plant.py: {planting.stderr[-2000:]}")
    good = [Entry(f"sound: {path.name}", str(path), "sound", path.name) for path in sorted(sound.iterdir())]
    broken = [Entry(**entry) for entry in json.loads((target / "list.json").read_text())]
    entries = [entry for entry in [*good, *broken] if attack.wants(entry.name) or entry.expected == "sound"]
    tally.expect(len(entries))
    texts: dict[str, list[str]] = {}  # what the engine writes from each sound file

    def examine(item: tuple[int, Entry], launcher: Launcher) -> None:
        Examined(
            tally, work / f"work{item[0]}", inputs.path("lora", "adapters", "zero.tflite"), texts, item[1], launcher
        ).judge()

    attack.each(list(enumerate(entries[: len(good)])), examine)
    attack.each(list(enumerate(entries[len(good) :])), examine)
    return tally


def _make_sound(attack: Attack, tally: Tally, sound: Path) -> None:
    """Copies of the inputs' files by names of their own, and more builds, repacked and merged ones, and what
    litert-torch exports.
    """
    inputs, work = attack.inputs(), sound.parent
    for build in ("plain", "fp32", "lora"):
        _copy_build(inputs.folder / build, sound, build)
    lora = inputs.path("lora", "tiny.task")
    jobs = {
        name: ("build", inputs.path("base"), "-o", str(work / name), "--name", "tiny", *options)
        for name, options in BUILDS.items()
    }
    jobs |= {
        "repacked": ("repack", inputs.path("plain", "tiny.task"), str(sound / "repacked.litertlm")),
        "repacked back": ("repack", inputs.path("plain", "tiny.litertlm"), str(sound / "repacked.task")),
        "merged": ("lora", "merge", lora, inputs.path("wave"), "-o", str(sound / "merged.task")),
        "exported": (
            "lora",
            "export",
            inputs.path("tide"),
            "--bundle",
            inputs.path("lora"),
            "--skip-gates",
            "-o",
            str(sound / "tide.tflite"),
        ),
        "litert-torch": (str(work / "upstream"), inputs.path("base", "tokenizer.json")),
    }
    (work / "upstream").mkdir()
    script = REPOSITORY / "tests" / "bundler" / "doctor" / "upstream_export.py"

    def make(item: tuple[str, tuple[str, ...]], launcher: Launcher) -> None:
        name, arguments = item
        temporary = empty(work / f"temporary-{name}")
        ended = launcher.run(
            Job(arguments, work, temporary, script=script if name == "litert-torch" else None, timeout=900)
        )
        if ended.code:
            tally.remarks.append(f"without {name}: ended with {ended.code}: {ended.last_line[:200]}")
        elif name in BUILDS:
            _copy_build(work / name, sound, name)
        shutil.rmtree(temporary)

    attack.each(list(jobs.items()), make)
    for path in (work / "upstream").glob("*.litertlm"):
        copy(path, sound / path.name)


def _copy_build(build: Path, sound: Path, name: str) -> None:
    for path in [*build.glob("tiny.*"), *build.glob("adapters/*"), build / "tokenizer.model"]:
        copy(path, sound / f"{name}-{path.name}")


@dataclass
class Examined:
    """One file before the doctor, and before the engine."""

    tally: Tally
    work: Path
    adapter: str
    texts: dict[str, list[str]]
    entry: Entry
    launcher: Launcher

    def judge(self) -> None:
        entry, tally = self.entry, self.tally
        ended = self.launcher.run(
            Job(("doctor", entry.file, "--json", "--quiet"), self.work.parent, empty(self.work), timeout=SECONDS)
        )
        judge_end(tally, entry.name, ended)
        try:
            report = json.loads(ended.stdout)
        except ValueError:
            report = None
            tally.fail(
                "wrong verdicts", entry.name, f"the doctor ended with {ended.code} and gave no JSON: {ended.last_line}"
            )
        if report:
            self._judge_report(report, ended.code)
            if Path(entry.file).suffix in (".task", ".litertlm"):
                self._judge_engine(report)
        if left := list(self.work.iterdir()):
            tally.fail("left behind", entry.name, ", ".join(path.name for path in left))
        shutil.rmtree(self.work)
        tally.trial()

    def _judge_report(self, report: dict, code: int) -> None:
        codes = {finding["code"] for finding in report["findings"]}
        errors = _errors(report) - self._tolerated()
        if self.entry.expected == "sound" and errors:
            self._wrong(f"it is sound; the doctor finds {', '.join(sorted(errors))}")
        elif self.entry.expected not in (None, "sound") and self.entry.expected not in codes:
            self._wrong(f"{self.entry.expected} was planted; the doctor finds {', '.join(sorted(codes)) or 'nothing'}")
        if code != (3 if _errors(report) else 0):
            self._wrong(f"the doctor ended with {code} and {len(_errors(report))} errors")

    def _judge_engine(self, report: dict) -> None:
        rank = report.get("model", {}).get("lora", {}).get("LiteRT-LM layout, rank") or 0
        ended = self.launcher.run(
            Job(
                (self.entry.file, str(rank), self.adapter if rank else ""),
                self.work.parent,
                self.work,
                script=HERE / "engine_texts.py",
                timeout=SECONDS,
            )
        )
        empty(self.work)  # what a process that was ended leaves is not the doctor's
        texts = json.loads(ended.stdout.splitlines()[-1]) if ended.code == 0 else None
        if self.entry.expected == "sound" and texts is not None:
            self.texts[Path(self.entry.file).name] = texts
        concerned = [
            finding for finding in report["findings"] if ENGINE in finding["engines"] and finding["severity"] != "note"
        ]
        if texts is None and not concerned and not self.entry.name.endswith(NOT_RUN):
            self._wrong(f"the doctor finds nothing against {ENGINE}, which ended with {ended.code}: {ended.last_line}")
        errors = {finding["code"] for finding in concerned if finding["severity"] == "error"} - self._tolerated()
        # Of a planted defect it is known that it is one; two prompts need not meet it.
        if (
            self.entry.source
            and texts == self.texts.get(self.entry.source)
            and errors
            and not errors & HASHES
            and not all(map(_opens, errors))
        ):
            self._wrong(
                f"the doctor finds {', '.join(sorted(errors))}; {ENGINE} writes what it writes from the sound file"
            )

    def _tolerated(self) -> set[str]:
        return TOLERATED.get(self.entry.source or Path(self.entry.file).name, set())

    def _wrong(self, text: str) -> None:
        self.tally.fail("wrong verdicts", self.entry.name, text)


def _errors(report: dict) -> set[str]:
    return {finding["code"] for finding in report["findings"] if finding["severity"] == "error"}


@cache
def _opens(code: str) -> bool:
    """Whether the catalog itself says that the engine opens such a file: made to deceive, or damaged where the engine
    does not look.
    """
    from bundler.doctor.catalog import catalog

    return any(name.startswith(ENGINE) and says.startswith("opens it") for name, says in catalog()[code].says.items())
