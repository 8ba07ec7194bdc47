"""What `make setup` installs is named in pyproject.toml, or needed by what is, and locked by version and hash."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCKS = {path.stem: path.read_text() for path in sorted((ROOT / "locks").glob("*.txt"))}
PINS = {name: dict(re.findall(r"^([\w.-]+)==([^\s;]+)", text, re.MULTILINE)) for name, text in LOCKS.items()}


def pins(requirements):
    return dict(requirement.lower().split("==") for requirement in requirements)


def test_there_is_a_lock_for_each_extra():
    assert set(LOCKS) == {"run", "cuda", *PROJECT["project"]["optional-dependencies"]}


def test_what_the_project_pins_is_locked_at_that_version():
    wanted = pins(PROJECT["project"]["dependencies"]) | pins(PROJECT["build-system"]["requires"])
    del wanted["torch"]  # its builds share a version and not a hash; `make setup` takes the version from pyproject.toml
    assert wanted.items() <= PINS["run"].items()
    for extra, requirements in PROJECT["project"]["optional-dependencies"].items():
        assert pins(requirements).items() <= (PINS["run"] | PINS[extra]).items()


@pytest.mark.parametrize("name", LOCKS)
def test_every_package_has_hashes_and_no_address(name):
    packages = re.split(r"^(?=\S)", LOCKS[name], flags=re.MULTILINE)[1:]
    assert len(packages) == len(PINS[name])
    for package in packages:
        assert re.fullmatch(r"[\w.-]+==[\w.]+( ;.*?)? \\\n(    --hash=sha256:[0-9a-f]{64}( \\)?\n)+", package), package


def test_no_package_is_locked_twice_or_though_it_is_left_out():
    names = [package for pinned in PINS.values() for package in pinned]
    assert len(names) == len(set(names))
    assert not set(names) & {*PROJECT["tool"]["uv"]["exclude-dependencies"], "litert-lm", "kagglesdk", "torch"}
