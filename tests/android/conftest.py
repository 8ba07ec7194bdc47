"""What the tests of the Android app share: its checks in android_mediapipe_app/verify, and core compiled once."""

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
def core_classes(kotlin, tmp_path_factory):
    """A folder with core's classes."""
    from check_core import compile_core

    folder = tmp_path_factory.mktemp("core")
    compile_core(kotlin, folder)
    return folder
