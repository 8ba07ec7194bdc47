"""Forks a process for each command line from one that has imported everything, because imports alone take longer than a
tiny model.

Run as a program (see `launcher`): reads one request a line, as JSON, and answers each with its process id, then with
how it ended. The child leaves the loop and goes on as `task-bundler` would: own session, own files for output, and the
interpreter's ordinary end.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import hashlib
import importlib
import io
import json
import multiprocessing
import os
import pkgutil
import resource
import runpy
import signal
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path

from watch import watch

sys.path.pop(0)  # this folder: what is run from here must not find modules of these names in it

PACKAGES = ("bundler", "tokenizer_tools", "lora_weights", "gpt2_training")
# What their functions import only when they are called.
LATE = (
    "litert_torch",
    "ai_edge_quantizer.quantizer",
    "litert_lm",
    "peft",
    "sentencepiece",
    "matplotlib.pyplot",
    "matplotlib.backends.backend_svg",
    "transformers.models.gpt2.modeling_gpt2",
    "jinja2",
    "rich.progress",
    "rich.table",
    "safetensors.torch",
)
GRACE = 3.0  # seconds that a worker may outlive its parent
_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


def import_everything() -> None:
    for package in PACKAGES:
        for module in pkgutil.walk_packages(importlib.import_module(package).__path__, package + "."):
            if not module.name.endswith("__main__"):
                _import(module.name)
    for name in LATE:
        _import(name)


def keep_conversions(folder: Path) -> None:
    """Let litert-torch's converter give the same bytes without the work when it is asked for the same model and shapes
    again.

    Converting a tiny model takes ten seconds, all of them before anything is written; a build is killed a hundred
    times.
    """
    import litert_torch
    import torch

    folder.mkdir(exist_ok=True)

    class Kept:
        def __init__(self, data: bytes) -> None:
            self.data = data

        def export(self, path: str) -> None:
            Path(path).write_bytes(self.data)

    class Converter(litert_torch.Converter):
        def __init__(self, *arguments, **options) -> None:
            super().__init__(*arguments, **options)
            self._asked = hashlib.sha256()

        def add_signature(self, name, module, *arguments, **options):
            self._asked.update(name.encode())
            for key, value in [*module.state_dict().items(), *torch.utils._pytree.tree_flatten_with_path(options)[0]]:
                self._asked.update(repr((key, value.shape)).encode() + value.contiguous().numpy().tobytes())
            return super().add_signature(name, module, *arguments, **options)

        def convert(self, *arguments, **options):
            kept = folder / self._asked.hexdigest()
            if not kept.exists():
                partial = kept.with_name(f"{kept.name}.{os.getpid()}")
                super().convert(*arguments, **options).export(str(partial))
                os.replace(partial, kept)
            return Kept(kept.read_bytes())

    litert_torch.Converter = Converter


def _import(name: str) -> None:
    try:
        importlib.import_module(name)
    except ImportError:  # of an optional package; the command itself says so if it needs it
        pass


def serve() -> dict:
    """Answer requests; returns in a child only, with its request."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    if "--bare" not in sys.argv:
        import_everything()
        keep_conversions(Path(os.environ["HARDENING_CONVERSIONS"]))
    # A worker process (bundler.system.isolated) is forked too, in place of an interpreter that imports everything anew.
    fork = multiprocessing.get_context("fork")
    multiprocessing.get_context = lambda method=None: fork
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    gc.collect()
    gc.freeze()
    answers.write("ready\n")
    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            answers.close()
            return request
        answers.write(f"{pid}\n")
        answers.write(json.dumps(_ended(pid)) + "\n")
    os._exit(0)


def _ended(pid: int) -> dict:
    """Wait for the child, then for what it started; what is still there after a while is killed and counted."""
    _, status, usage = os.wait4(pid, 0)
    until, survived = time.monotonic() + GRACE, False
    while _group_lives(pid):
        if time.monotonic() > until:
            survived = True
            os.killpg(pid, signal.SIGKILL)
        time.sleep(0.02)
    return {
        "code": os.waitstatus_to_exitcode(status),
        "peak_kilobytes": usage.ru_maxrss,
        "busy": usage.ru_utime + usage.ru_stime,
        "survived": survived,
    }


def _group_lives(group: int) -> bool:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def become(request: dict) -> None:
    """Make this forked process what the request describes, as far as the kernel is concerned."""
    os.setsid()
    os.chdir(request["folder"])
    os.environ.update(request["environment"])
    tempfile.tempdir = None
    for number, (name, flags) in enumerate(
        (
            (request["input"], os.O_RDONLY),
            (request["stdout"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
            (request["stderr"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
        )
    ):
        descriptor = os.open(name, flags, 0o644)
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.stdin = io.TextIOWrapper(open(0, "rb", closefd=False))
    for name, limit in request["limits"].items():
        resource.setrlimit(getattr(resource, name), (limit, limit))
    if request["watch"]:
        watch(**request["watch"])


def main() -> None:
    request = serve()
    become(request)
    if request["real"]:  # everything from the beginning, as a shell would start it
        os.execv(sys.executable, [sys.executable, "-m", "bundler", *request["arguments"]])
    sys.argv = [request["script"] or "task-bundler", *request["arguments"]]
    try:
        if request["script"]:
            sys.path.insert(0, str(Path(request["script"]).parent))
            runpy.run_path(request["script"], run_name="__main__")
        else:
            from bundler.commands.cli import main as task_bundler

            task_bundler()
    except SystemExit as error:
        _leave(error.code)
    except BaseException:
        traceback.print_exc()
        _leave(1)
    _leave(0)


def _leave(code) -> None:
    """The interpreter's end, but for taking down thousands of modules one by one, which takes a second and touches no
    file.
    """
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            pass
    os._exit(code if isinstance(code, int) else int(code is not None))


if __name__ == "__main__":
    main()
