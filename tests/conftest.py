"""A tiny GPT-2 with random weights and a vocabulary of its own, and bundles made from it."""

import hashlib
import os
import shutil
import signal
from contextlib import nullcontext

import pytest
import torch
from hypothesis import settings
from tiny_gpt2 import VOCABULARY, write_tiny_checkpoint

from bundler.commands.console import OFFLINE

torch.set_num_threads(1)  # tiny tensors: a second thread costs more than it brings
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


@pytest.fixture(scope="session", autouse=True)
def one_conversion_for_all(tmp_path_factory):
    """Builds in this process share the graphs that the converter makes of equal architectures, and write their few
    weights here: the greater part of a tiny build's time goes into processes that import PyTorch. Commands in processes
    of their own do as they always do, and so do the tests of the conversion.
    """
    from bundler.conversion.convert import export_graph, export_model
    from bundler.pipeline import worker
    from bundler.system.isolated import run_isolated

    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "graphs"  # of all of xdist's workers
    folder.mkdir(exist_ok=True)

    def shared(what, function, *arguments, report=None):
        if function is export_model:
            return function(*arguments, report)
        if function is not export_graph:
            return run_isolated(what, function, *arguments, report=report)
        export, output = arguments
        facts = repr((export.open().architecture, export.rows, export.signatures))
        kept = folder / hashlib.sha256(facts.encode()).hexdigest()
        if not kept.exists():
            run_isolated(what, function, *arguments, report=report)
            shutil.copyfile(output, kept.with_suffix(f".{os.getpid()}"))
            kept.with_suffix(f".{os.getpid()}").replace(kept)
        shutil.copyfile(kept, output)
        report(export.signatures.steps)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker, "isolation", lambda *modules: nullcontext(shared))
        yield


@pytest.fixture(scope="session")
def tiny_bundle(tiny_checkpoint, tmp_path_factory):
    """A verified int8 build of the tiny checkpoint: (output folder, manifest)."""
    from bundler.pipeline.build import build
    from bundler.pipeline.plan import BuildOptions

    output = tmp_path_factory.mktemp("bundle") / "tiny"
    return output, build(BuildOptions(str(tiny_checkpoint), output))


@pytest.fixture(autouse=True)
def online_again():
    """A command with --offline says so in the environment, for its process; here that is every test's."""
    before = {name: os.environ.get(name) for name in OFFLINE}
    yield
    for name, value in before.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
