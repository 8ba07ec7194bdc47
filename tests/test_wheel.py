"""The wheel in an environment with what it asks for and nothing else: what works without extras, and what is said."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from gpt2_training.corpus import STANDARD_LIBRARY

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SOURCES = ("bundler", "lora_weights", "tokenizer_tools", "gpt2_training", "pyproject.toml", "README.md")


def distributions(requirements, found):
    """Add to `found`, by name and extras, the installed distributions that these requirements bring, with theirs."""
    for requirement in map(Requirement, requirements):
        key = (requirement.name.lower(), *sorted(requirement.extras))
        if key in found:
            continue
        try:
            found[key] = distribution(requirement.name)
        except PackageNotFoundError:  # what the locks leave out, see pyproject.toml; and other systems' packages
            continue
        extras = requirement.extras or {""}
        theirs = [(text, Requirement(text).marker) for text in found[key].requires or ()]
        distributions(
            [
                text
                for text, marker in theirs
                if not marker or any(marker.evaluate({"extra": extra}) for extra in extras)
            ],
            found,
        )
    return found


@pytest.fixture(scope="module")
def core(tmp_path_factory):
    """A function that runs `task-bundler` from the wheel, in an empty folder; without the extras' packages."""
    folder = tmp_path_factory.mktemp("core")
    environment, source, empty = folder / "environment", folder / "source", folder / "empty"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(environment)}))
    for found in distributions(PROJECT["dependencies"], {}).values():
        for top in {Path(file).parts[0] for file in found.files} - {".."}:
            if not (packages / top).exists():
                (packages / top).symlink_to(found.locate_file(top))
    for name in SOURCES:  # copied, because setuptools writes beside what it builds
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        source.mkdir(exist_ok=True)
        copy(ROOT / name, source / name)
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--target", packages]
    subprocess.run([*install, source], check=True, env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"})
    empty.mkdir()

    def run(*arguments):
        return subprocess.run(
            [environment / "bin" / "python", "-m", "bundler", *map(str, arguments)],
            capture_output=True,
            text=True,
            cwd=empty,
            env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
            timeout=300,
        )

    return run


def succeeded(process):
    assert process.returncode == 0, process.stderr
    return process.stdout


def test_what_runs_without_extras(core, tiny_bundle):
    task, litertlm = (next(tiny_bundle[0].glob(f"*.{suffix}")) for suffix in ("task", "litertlm"))
    assert "nothing to complain of" in succeeded(core("doctor", task))
    assert succeeded(core("run", litertlm, "-p", "a", "--max-tokens", "4", "--seed", "1"))
    assert "again.litertlm" in succeeded(core("repack", task, "again.litertlm"))
    assert "rank 16" in succeeded(core("lora", "info", "lora_weights/samples/pirate"))
    assert "strings" in succeeded(core("tokenizer", "report", "--tokenizer", "gpt2_training/sample"))


def test_a_missing_extra_is_named_with_its_line(core):
    for arguments in (
        ["build", "gpt2_training/sample", "-o", "out"],
        ["lora", "train", "gpt2_training/sample", STANDARD_LIBRARY, "-o", "adapter"],
    ):
        process = core(*arguments)
        assert process.returncode == 1 and "pip install 'task-bundler[build]'" in process.stderr, process.stderr
