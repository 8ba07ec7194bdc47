"""Outputs that are somebody's files: nothing of them may change or go, and the command has to say so before the
work.
"""

from __future__ import annotations

import json
import shutil
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from attack import Attack, judge_end
from launcher import Ended, Job, Launcher
from tally import Tally
from trees import changes, contents, copy, empty
from writing import Inputs

BUSY = 1.5  # seconds of processor time in which a refusal has to come; the work itself takes many more
TRAINING = ("--context", "24", "--batch", "2", "--threads", "1")
PRETRAINING = ("--steps", "600", "--vocabulary", "300", "--layers", "1", "--heads", "2", "--width", "16", *TRAINING)


@dataclass(frozen=True)
class Case:
    """`prepare` fills an empty folder, in which (or in its folder `inside`) the command is run. `names`: of which the
    refusal has one.
    """

    name: str
    prepare: Callable[[Path], None]
    arguments: tuple[str, ...]
    names: tuple[str, ...]
    inside: str = "."
    home: str | None = None


def ownership(attack: Attack) -> Tally:
    tally = Tally("ownership")
    cases = [case for case in all_cases(attack.inputs()) if attack.wants(case.name)]
    tally.expect(len(cases))
    attack.each(
        list(enumerate(cases)),
        lambda item, launcher: attempt(attack.work / "ownership" / str(item[0]), item[1], tally, launcher),
    )
    for command, arguments in at_once(attack.inputs()):
        name = f"two {command} at once into one output"
        if attack.wants(name):
            both(attack, tally, name, arguments)
    return tally


def attempt(work: Path, case: Case, tally: Tally, launcher: Launcher) -> None:
    tree, temporary = empty(work / "tree"), empty(work / "temporary")
    case.prepare(tree)
    before = contents(tree)
    environment = {"HOME": str(tree / case.home)} if case.home else {}
    ended = launcher.run(Job(case.arguments, tree / case.inside, temporary, environment, timeout=60))
    after = contents(tree)
    judge_end(tally, case.name, ended)
    for change in changes(before, after)[:1]:
        tally.fail(
            "lost", case.name, f"of {len(changes(before, after))}: {change}. task-bundler {' '.join(case.arguments)}"
        )
    if ended.code and (over := [*sorted(after.keys() - before.keys()), *temporary.iterdir()]):
        tally.fail("left behind", case.name, ", ".join(map(str, over)))
    if ended.code not in (1, 2) or not any(name in ended.stderr for name in case.names):
        tally.fail(
            "wrong verdicts",
            case.name,
            f"ended with {ended.code}; expected a refusal that names {case.names[0]}: {ended.last_line}",
        )
    elif ended.busy > BUSY:
        tally.fail("wrong verdicts", case.name, f"refused after {ended.busy:.0f} s of work")
    tally.trial()
    shutil.rmtree(work)


def all_cases(inputs: Inputs) -> list[Case]:
    base, wave, text, build = (inputs.path(name) for name in ("base", "wave", "text.txt", "plain"))

    def project(folder: Path) -> None:
        (folder / ".git").mkdir()
        (folder / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
        (folder / "thesis.txt").write_text("years of work\n" * 2000)

    def nested(*names: str) -> Callable[[Path], None]:
        """thesis.txt and .git in the folder itself; copies of inputs by these names, in `work`."""

        def prepare(folder: Path) -> None:
            (folder / "work").mkdir()
            project(folder / "work")
            for name in names:
                copy(inputs.folder / name, folder / "work" / name)

        return prepare

    def texts(folder: Path) -> None:
        (folder / "texts").mkdir()
        for number in range(3):
            shutil.copy(text, folder / "texts" / f"chapter{number}.txt")

    cases = [
        Case(
            "pretrain over the folder above its text",
            nested("text.txt"),
            ("pretrain", "text.txt", "-o", "..", "--force", *PRETRAINING),
            ("..", "work"),
            "work",
        ),
        Case(
            "pretrain over its texts", texts, ("pretrain", "texts", "-o", "texts", "--force", *PRETRAINING), ("texts",)
        ),
        Case(
            "lora train over its checkpoint",
            nested("base", "text.txt"),
            ("lora", "train", "base", "text.txt", "-o", "base", "--force", *TRAINING),
            ("base",),
            "work",
        ),
        Case(
            "lora merge over what holds its inputs",
            nested("base", "wave"),
            ("lora", "merge", "work/base", "work/wave", "-o", "work", "--force"),
            ("work",),
        ),
        Case(
            "build over its checkpoint", nested("base"), ("build", "base", "-o", "base", "--force"), ("base",), "work"
        ),
        Case(
            "build over its adapter",
            nested("base", "wave"),
            ("build", "base", "--adapter", "wave", "-o", "wave", "--force"),
            ("wave",),
            "work",
        ),
        Case(
            "lora merge over its adapter",
            nested("base", "wave"),
            ("lora", "merge", "base", "wave", "-o", "wave", "--force"),
            ("wave",),
            "work",
        ),
    ]
    writers = {
        "build": ("build", base),
        "pretrain": ("pretrain", text, *PRETRAINING),
        "lora train": ("lora", "train", base, text, *TRAINING),
        "lora merge": ("lora", "merge", base, wave),
    }

    def link(folder: Path) -> None:
        nested()(folder)
        (folder / "link").symlink_to("work")

    def home(folder: Path) -> None:
        (folder / "home" / "Documents").mkdir(parents=True)
        (folder / "home" / "Documents" / "thesis.txt").write_text("years of work\n")
        (folder / "home" / ".bashrc").write_text("alias ll='ls -l'\n")

    for writer, arguments in writers.items():
        for place, prepare, output, inside, names in (
            ("a project", nested(), "work", ".", ("work",)),
            ("a project that ends in a slash", nested(), "work/", ".", ("work",)),
            ("a home", home, "home", ".", ("home",)),
            ("a symlink to a project", link, "link", ".", ("link", "work")),
            ("a file", nested(), "work/thesis.txt", ".", ("thesis.txt",)),
            ("the folder one is in", nested(), ".", "work", (".",)),
            ("an empty name", nested(), "", "work", ("output", "-o", "work", "'.'", ". ")),
            ("a place below a file", nested(), "work/thesis.txt/x", ".", ("thesis.txt",)),
        ):
            cases.append(
                Case(
                    f"{writer} over {place}",
                    prepare,
                    (*arguments, "-o", output, "--force"),
                    names,
                    inside,
                    "home" if place == "a home" else None,
                )
            )
    files = {
        "lora merge into a .task": ("lora", "merge", inputs.path("lora", "tiny.task"), wave, "-o"),
        "lora export": ("lora", "export", wave, "--bundle", inputs.path("lora"), "--skip-gates", "-o"),
        "tokenizer build": ("tokenizer", "build", "--tokenizer", base, "-o"),
        "repack": ("repack", inputs.path("plain", "tiny.task")),
    }
    for writer, arguments in files.items():
        for place, output in (("a project", "work"), ("a place below a file", "work/thesis.txt/x.litertlm")):
            cases.append(
                Case(f"{writer} over {place}", nested(), (*arguments, output, "--force"), ("work", "thesis.txt"))
            )

    def extension(folder: Path) -> None:
        (folder / "out").mkdir()
        project(folder / "out")
        (folder / "out" / "manifest.json").write_text(
            json.dumps({"manifest_version": 3, "name": "an extension of a browser", "version": "1"})
        )

    def build_and(change: Callable[[Path], None]) -> Callable[[Path], None]:
        def prepare(folder: Path) -> None:
            copy(Path(build), folder / "out")
            change(folder / "out")

        return prepare

    def add(name: str) -> Callable[[Path], None]:
        def change(folder: Path) -> None:
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text("mine\n")

        return change

    def notes(folder: Path) -> None:
        (folder / "work").mkdir()
        (folder / "work" / "comparison.md").write_text("mine\n")

    cases.append(
        Case(
            "lora compare over notes called comparison.md",
            notes,
            ("lora", "compare", base, text, "-o", "work", "--force", *TRAINING),
            ("work",),
        )
    )
    for over, prepare, names in (
        ("a browser's extension", extension, ("out",)),
        ("a build with notes in it", build_and(add("my_notes.txt")), ("my_notes.txt",)),
        ("a build with an adapter of one's own in it", build_and(add("adapters/mine.tflite")), ("mine.tflite",)),
        ("a build of which one file was changed", build_and(add("report.html")), ("report.html",)),
        ("a build of which the manifest was changed", build_and(lambda folder: add("manifest.json")(folder)), ("out",)),
    ):
        for writer in ("build", "lora merge"):
            cases.append(Case(f"{writer} over {over}", prepare, (*writers[writer], "-o", "out", "--force"), names))
    return cases


def at_once(inputs: Inputs) -> list[tuple[str, tuple[str, ...]]]:
    base, text = inputs.path("base"), inputs.path("text.txt")
    return [
        ("pretrain", ("pretrain", text, "-o", "out", *PRETRAINING)),
        ("lora train", ("lora", "train", base, text, "-o", "out", "--steps", "300", *TRAINING)),
        ("build", ("build", base, "-o", "out")),
    ]


def both(attack: Attack, tally: Tally, name: str, arguments: tuple[str, ...]) -> None:
    """The second begins when the first has put something down; it has to be refused, and the first to end as if
    alone.
    """
    if len(attack.launchers) < 2:
        tally.remarks.append(f"skipped: {name}, which needs --launchers 2")
        return
    work = attack.work / "ownership" / "both"
    place, temporaries = empty(work / "place"), [empty(work / f"temporary{number}") for number in range(2)]
    ended: dict[int, Ended] = {}

    def run(number: int) -> None:
        ended[number] = attack.launchers[number].run(Job(arguments, place, temporaries[number]))

    first = threading.Thread(target=run, args=(0,))
    first.start()
    while first.is_alive() and not any(place.iterdir()):
        time.sleep(0.02)
    run(1)
    first.join()
    for result in ended.values():
        judge_end(tally, name, result)
    if ended[0].code:
        tally.fail("lost", name, f"the first ended with {ended[0].code}: {ended[0].last_line}")
    if ended[1].code not in (1, 2) or "out" not in ended[1].stderr:
        tally.fail("wrong verdicts", name, f"the second ended with {ended[1].code}: {ended[1].last_line}")
    if over := [entry.name for entry in place.iterdir() if entry.name != "out"]:
        tally.fail("left behind", name, ", ".join(over))
    tally.expect(1)
    tally.trial()
