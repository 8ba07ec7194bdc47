"""A tiny GPT-2 with random weights and a vocabulary of its own, and bundles made from it."""

import fcntl
import hashlib
import os
import pickle
import shutil
import signal
import tempfile
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from tiny_gpt2 import VOCABULARY, write_tiny_checkpoint

from bundler.commands.console import OFFLINE

torch.set_num_threads(1)  # tiny tensors: a second thread costs more than it brings
# `make test ARGS=…` says these to every make that a test runs.
for name in ("ARGS", "MAKEFLAGS", "MFLAGS"):
    os.environ.pop(name, None)
# A shell starts what it puts into the background with Ctrl-C ignored, and nohup ignores SIGHUP; so would all commands
# that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
settings.register_profile("project", deadline=None)  # time is no property of the code; the machine may be busy
settings.load_profile("project")


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory):
    return write_tiny_checkpoint(tmp_path_factory.mktemp("checkpoint") / "tiny")


@pytest.fixture(scope="session")
def tiny_tflite(tiny_checkpoint, tmp_path_factory):
    """The tiny checkpoint converted in fp32 with two alias rows: (path, exportable model, checkpoint)."""
    from whole_model import convert, load_exportable

    from bundler.checkpoints.checkpoint import open_checkpoint
    from bundler.conversion.convert import Signatures
    from bundler.conversion.exported_weights import TokenRows

    checkpoint = open_checkpoint(tiny_checkpoint)
    rows = TokenRows(VOCABULARY, (7, 9))
    path = tmp_path_factory.mktemp("tflite") / "fp32.tflite"
    convert(checkpoint, rows, Signatures(96, (8, 32)), "fp32", path)
    return path, load_exportable(checkpoint, 96, rows), checkpoint


@pytest.fixture(scope="session")
def once(tmp_path_factory):
    """once(name, make): what make(folder) returns, made by one process for all those of a run."""
    base = tmp_path_factory.getbasetemp()
    # pytest-xdist gives each process a folder of its own within one of the run.
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def result(name, make):
        done = shared / f"{name}.pickle"
        with open(shared / f"{name}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                # A second try after a failure begins anew.
                made = make(Path(tempfile.mkdtemp(prefix=name, dir=shared)))
                done.write_bytes(pickle.dumps(made))
        return pickle.loads(done.read_bytes())

    return result


@pytest.fixture(scope="session")
def shared_worker(once):
    """Makes each graph once for all tests, where the architectures are equal, and writes their few weights in this
    process: the greater part of a tiny build's time goes into processes that import PyTorch.
    """
    from bundler.conversion.convert import export_graph, export_model
    from bundler.conversion.trainer import export_trainer
    from bundler.pipeline.worker import Worker
    from bundler.system.isolated import run_isolated

    def run(what, function, *arguments, report=None):
        if function is export_model:
            return function(*arguments, report)
        if function not in (export_graph, export_trainer):
            return run_isolated(what, function, *arguments, report=report)
        export, *others, output = arguments
        facts = repr((function.__name__, export.open().architecture, export.rows, export.signatures, others))

        def convert(folder):
            run_isolated(what, function, export, *others, folder / "graph", report=report and (lambda steps: None))
            return folder / "graph"

        shutil.copyfile(once(hashlib.sha256(facts.encode()).hexdigest(), convert), output)
        if report:
            report(export.signatures.steps)

    return Worker(run)


@pytest.fixture(scope="session", autouse=True)
def one_conversion_for_all(shared_worker):
    """Builds in this process take the shared worker. Commands in processes of their own do as they always do, and so do
    the tests of the conversion.
    """
    from bundler.pipeline import worker

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker, "isolation", lambda *modules: nullcontext(shared_worker.run))
        yield


@pytest.fixture(scope="session", autouse=True)
def models_run_here():
    """Verifications in this process run their models in it; those of commands do as they always do."""
    from bundler.verification import runtimes

    class Here:
        """An ObjectProcess that is none."""

        def make(self, factory, *arguments, **options):
            return factory(*arguments, **options)

        open = make

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runtimes, "object_process", lambda what: nullcontext(Here()))
        yield


@pytest.fixture(scope="session", autouse=True)
def one_thread_for_engines():
    """xdist's processes share the processor: threads of one engine would wait for those of another."""
    from bundler.engines import litertlm

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(litertlm, "THREADS", 1)
        yield


@pytest.fixture(scope="session")
def tiny_bundle(tiny_checkpoint, once, tmp_path_factory):
    """A verified int8 build of the tiny checkpoint: (output folder, manifest)."""
    from bundler.pipeline.build import build
    from bundler.pipeline.plan import BuildOptions

    def make(folder):
        return folder / "tiny", build(BuildOptions(str(tiny_checkpoint), folder / "tiny"))

    built, manifest = once("tiny-bundle", make)
    # A copy of its own: what a test may do to it, no other process sees.
    return shutil.copytree(built, tmp_path_factory.mktemp("bundle") / "tiny"), manifest


@pytest.fixture(autouse=True)
def online_again():
    """A command with --offline says so in the environment, for its process; here that is every test's."""
    before = {name: os.environ.get(name) for name in OFFLINE}
    yield
    for name, value in before.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
