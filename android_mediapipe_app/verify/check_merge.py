"""Rung 7: the app's merge and its adapter of zeros have the bytes that Python gives, and engines write the right text
from them.

The vectors need a JVM only. The embedded sample in every recipe, what engines write from a merged bundle, and what the
app reads in a .litertlm need the project's own Python environment, and are tests/android/test_merge_parity.py and
test_litertlm.py.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path

from check_core import compile_core
from toolchain import APP, HERE, CheckFailed, compile_kotlin, kotlin_files, run_java, toolchain

ROOT = APP.parent
VECTORS = ROOT / "tests" / "lora_weights" / "vectors"
PARITY = [ROOT / "tests" / "android" / f"test_{name}.py" for name in ("merge_parity", "litertlm")]


def check_merge() -> str:
    """Both parts, the second where it can run. Returns what was compared; raises CheckFailed, ToolMissing."""
    count = check_vectors()
    if any(importlib.util.find_spec(name) is None for name in ("pytest", "bundler")):
        return f"{count} vectors byte for byte; the sample and the engines need `make setup` and its .venv/bin/python"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *map(str, PARITY)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise CheckFailed(done.stdout[-4000:])
    return (
        f"{count} vectors byte for byte; the sample in every recipe and in engines, and .litertlm: "
        f"{done.stdout.strip().splitlines()[-1]}"
    )


def check_vectors() -> int:
    """Merge the vectors' adapter into a base of each type; returns how many there are. Raises CheckFailed,
    ToolMissing.
    """
    tools = toolchain()
    bases = sorted(path for path in VECTORS.glob("*.task") if not path.stem.endswith("-merged"))
    with tempfile.TemporaryDirectory() as temporary:
        core, main, output = (Path(temporary) / name for name in ("core", "main", "merged.task"))
        compile_core(tools, core)
        compile_kotlin(tools, kotlin_files(HERE / "merge"), main, [core], "-jvm-target", "17")
        for base in bases:
            run_java(
                [core, main, tools.stdlib],
                "dev.taskbundler.verify.MergeMainKt",
                str(base),
                str(VECTORS / "adapter.tflite"),
                str(output),
            )
            if output.read_bytes() != base.with_name(f"{base.stem}-merged.task").read_bytes():
                raise CheckFailed(f"merged in Kotlin, {base.name} differs from {base.stem}-merged.task")
    if not bases:
        raise CheckFailed(f"no vectors in {VECTORS}")
    return len(bases)
