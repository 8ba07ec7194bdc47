"""What `make setup` installs is named in pyproject.toml, or needed by what is, and locked by version and hash."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCKS = {path.stem: path.read_text() for path in sorted((ROOT / "locks").glob("*.txt"))}
PINS = {name: dict(re.findall(r"^([\w.-]+)==([^\s;]+)", text, re.MULTILINE)) for name, text in LOCKS.items()}


USERS = ("build", "train", "all")  # extras that run.txt and torch.txt hold


def test_there_is_a_lock_for_each_extra():
    assert set(LOCKS) | {*USERS} == {"run", "torch", "cuda", *PROJECT["project"]["optional-dependencies"]}


def test_what_the_project_asks_for_is_locked_at_a_version_that_it_allows():
    extras = PROJECT["project"]["optional-dependencies"]
    asked = [("run", text) for text in (*PROJECT["project"]["dependencies"], *PROJECT["build-system"]["requires"])]
    asked += [(extra if extra in LOCKS else "run", text) for extra in extras for text in extras[extra]]
    for name, requirement in ((name, Requirement(text)) for name, text in asked):
        if requirement.name != PROJECT["project"]["name"]:  # an extra of its own
            version = (PINS["run"] | PINS["torch"] | PINS[name])[requirement.name.lower()]
            assert version in requirement.specifier, requirement


@pytest.mark.parametrize("name", sorted({*LOCKS} - {"torch"}))  # its builds share a version and not a hash
def test_every_package_has_hashes_and_no_address(name):
    packages = re.split(r"^(?=\S)", LOCKS[name], flags=re.MULTILINE)[1:]
    assert len(packages) == len(PINS[name])
    for package in packages:
        assert re.fullmatch(r"[\w.-]+==[\w.]+( ;.*?)? \\\n(    --hash=sha256:[0-9a-f]{64}( \\)?\n)+", package), package


def test_no_package_is_locked_twice_or_though_it_is_left_out():
    names = [package for pinned in PINS.values() for package in pinned]
    assert len(names) == len(set(names))
    assert not set(names) & {*PROJECT["tool"]["uv"]["exclude-dependencies"], "kagglesdk"}
    assert "litert-lm" not in PINS["run"]  # a command line for a terminal; tests run what model cards show of it
