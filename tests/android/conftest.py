"""What the tests of the Android app share: its checks in android_mediapipe_app/verify, and what is compiled once."""

import sys
from pathlib import Path

import pytest

VERIFY = Path(__file__).parents[2] / "android_mediapipe_app" / "verify"
sys.path.insert(0, str(VERIFY))


@pytest.fixture(scope="session")
def kotlin():
    """The Kotlin toolchain, or a skip that says what to install."""
    from toolchain import ToolMissing, toolchain

    try:
        return toolchain()
    except ToolMissing as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def core_and_tests(kotlin, once):
    """Folders with core's classes and those of its tests."""
    from check_core import compile_core_and_tests
    from toolchain import ToolMissing

    try:
        return once("core", lambda folder: compile_core_and_tests(kotlin, folder))
    except ToolMissing as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def core_classes(core_and_tests):
    """A folder with core's classes."""
    return core_and_tests.main


@pytest.fixture(scope="session")
def app_classes(core_classes, once):
    """Everything of the app, compiled; a skip where a tool is missing."""
    from app_classes import compile_app
    from toolchain import ToolMissing

    try:
        return once("app", lambda folder: compile_app(folder, core_classes))
    except ToolMissing as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def sample_build(once):
    """The folder of a build of the embedded sample, with LoRA inputs and its two adapters."""
    from check_screens import build_sample

    return once("sample", lambda folder: build_sample(folder / "sample"))
