"""Where the app's Kotlin lies: no two files of one name, packages by folders, and imports of core that lead down."""

import re
from collections import Counter
from pathlib import Path

import pytest

APP = Path(__file__).parents[2] / "android_mediapipe_app"
CORE = APP / "core/src/main/kotlin/dev/taskbundler/core"
# From the ground up, as in the app's README. A package of core may import those on lower floors only.
FLOORS = (
    {"findings", "formats", "writing"},
    {"engine", "figures", "tflite"},
    {"task", "training"},
    {"litertlm"},
    {"adapter"},
    {"merge"},
    {"catalogue"},
)
FLOOR = {name: number for number, names in enumerate(FLOORS) for name in names}
FILES = sorted(APP.rglob("*.kt"))


def package(path):
    """The package that a Kotlin file declares."""
    return re.search(r"^package (\S+)$", path.read_text(encoding="utf-8"), re.MULTILINE)[1]


def expected_package(path):
    """The package by the folders below the root of the sources; the programs of the checks share one."""
    folders = path.relative_to(APP).parent.parts
    if "kotlin" in folders:
        return ".".join(folders[folders.index("kotlin") + 1 :])
    if "engines" in folders:
        return ".".join(folders[folders.index("engines") + 1 :])
    # What stands for types of libraries has their packages.
    if {"androidx_test", "engine_process"} & {*folders}:
        return package(path)
    return "dev.taskbundler.screens" if "screens" in folders else "dev.taskbundler.verify"


def test_no_two_files_have_one_name():
    assert [name for name, count in Counter(path.name for path in FILES).items() if count > 1] == []


def test_a_package_is_its_folder():
    assert len(FILES) > 100
    assert [path.relative_to(APP) for path in FILES if package(path) != expected_package(path)] == []


@pytest.mark.parametrize("name", sorted(FLOOR))
def test_a_package_of_core_imports_from_below(name):
    files = [*(CORE / name).rglob("*.kt")]
    assert files
    upwards = {
        f"{file.name} imports {imported}"
        for file in files
        for imported in re.findall(r"dev\.taskbundler\.(?:core\.)?([a-z]+)\b", file.read_text(encoding="utf-8"))
        if imported != name and FLOOR.get(imported, len(FLOORS)) >= FLOOR[name]
    }
    assert not upwards


def test_every_package_of_core_is_on_a_floor():
    assert {path.parent.relative_to(CORE).as_posix() for path in CORE.rglob("*.kt")} == {*FLOOR}
