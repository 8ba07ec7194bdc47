"""The files that the peers are measured with hold the checkpoint: each peer's logits are PyTorch's."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_gpt2 import VOCABULARY

from bundler.checkpoints.checkpoint import open_checkpoint
from bundler.verification.divergence import compare_logits
from bundler.verification.references import Reference
from tokenizer_tools.vocabulary_files import read_vocabulary

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
IDS = torch.randint(VOCABULARY, (40,), generator=torch.Generator().manual_seed(3)).tolist()
INSTALL = "make .venv-bench/.ready, and run pytest with .venv-bench/bin/python -m pytest"


@pytest.fixture
def peers(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS / "peers"))
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setattr(sys, "path", [*sys.path])  # peers.py adds to it
    return importlib.import_module("peers")


@pytest.fixture
def needs():
    """needs(module, …): skip unless they are installed."""

    def check(*modules):
        for module in modules:
            pytest.importorskip(module, reason=f"{module} is not installed: {INSTALL}")

    return check


@pytest.fixture
def distance(tiny_checkpoint):
    """distance(engine): figures of an engine's logits, read token by token, against PyTorch's."""
    expected = Reference(open_checkpoint(tiny_checkpoint), VOCABULARY).logits(IDS)
    return lambda engine: compare_logits(expected, engine.logits(IDS)[:, :VOCABULARY])


def test_gguf_holds_every_tensor_under_llama_cpps_name(peers, needs, tiny_checkpoint, tmp_path):
    needs("gguf")
    import gguf
    import gguf_file

    checkpoint = open_checkpoint(tiny_checkpoint)
    gguf_file.write_gguf(checkpoint, read_vocabulary(checkpoint.folder), tmp_path / "a.gguf")
    tensors = {tensor.name: tensor.data for tensor in gguf.GGUFReader(tmp_path / "a.gguf").tensors}
    names = [name for name in checkpoint.names() if name != "lm_head.weight"]
    assert len(tensors) == len(names)
    mapped = gguf.get_tensor_name_map(gguf.MODEL_ARCH.GPT2, 2)
    for name in names:
        expected = checkpoint.tensor(name).numpy()
        assert mapped.get_name(f"transformer.{name}", (".weight", ".bias")) == gguf_file.gguf_name(name)
        assert np.array_equal(tensors[gguf_file.gguf_name(name)], expected.T if name.startswith("h.") else expected)


@pytest.mark.parametrize("kind, limit", [("F32", 1e-5), ("Q8_0", 1e-3), ("Q4_0", 0.1)])
def test_llama_cpp_computes_the_checkpoint(peers, needs, tiny_checkpoint, tmp_path, distance, kind, limit):
    needs("gguf", "llama_cpp")
    import engines
    import gguf_file

    checkpoint = open_checkpoint(tiny_checkpoint)
    kinds = getattr(gguf_file, kind), gguf_file.F32 if kind == "F32" else gguf_file.Q8_0
    gguf_file.write_gguf(checkpoint, read_vocabulary(checkpoint.folder), tmp_path / "a.gguf", *kinds)
    with engines.open_llama_cpp(tmp_path / "a.gguf", 1) as engine:
        assert engine.context == 96 and distance(engine)["mean_kl"] < limit
        timing = engine.text(16, 3, 0)
        assert (timing.read, timing.written) == (16, 3) and min(timing.prefill, timing.decode) > 0


def test_onnx_runtime_computes_the_checkpoint(peers, needs, tiny_checkpoint, tmp_path, distance):
    needs("onnx", "onnxruntime")
    import engines

    peers.make_onnx(tiny_checkpoint, tmp_path / "fp32.onnx")
    peers.make_onnx_int8(tiny_checkpoint, tmp_path / "int8.onnx")
    for name, limit in (("fp32", 1e-9), ("int8", 1e-2)):
        with engines.open_onnx_runtime(tmp_path / f"{name}.onnx", 1, 96) as engine:
            assert distance(engine)["mean_kl"] < limit


def test_what_is_not_installed_is_left_out_and_named(peers, monkeypatch, tiny_checkpoint, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda module: None)
    left_out = {}
    able = peers.candidates(str(tiny_checkpoint), tmp_path, ["llama", "PyTorch"], left_out)
    assert [candidate.name for candidate in able] == ["PyTorch fp32"]
    assert left_out == {f"llama.cpp {kind}": "llama-cpp-python is not installed" for kind in ("Q8_0", "Q4_0")}


def test_tables_take_the_place_of_the_old_ones(peers):
    begin, end = peers.MARKS
    page = f"# A\n\n{begin}\nold\n{end}\n\nafter\n"
    written = peers.with_tables(page, "| a |\n" + "word " * 40)
    assert written.startswith(f"# A\n\n{begin}\n| a |\nword ") and written.endswith(f"word\n{end}\n\nafter\n")
    assert "old" not in written and max(map(len, written.splitlines())) <= 120
    assert peers.with_tables(written, "| a |\n" + "word " * 40) == written


def test_the_next_turn_is_of_who_had_the_fewest(peers, monkeypatch, tmp_path, tiny_checkpoint, capsys):
    order = []

    def turn(candidate, workload):
        order.append(candidate.name)
        speed = {"prefill": {"16": 1.0}, "decode": {"1": float(len(order))}, "memory": 1}
        return speed | {"start": {"start": {"load": 1.0, "first_token": 2.0, "memory": 1}}}

    able = [peers.Candidate(name, "engine", name, peers.open_pytorch) for name in ("a", "b", "c")]
    monkeypatch.setattr(peers, "candidates", lambda model, output, only, left_out: able[: len(only)])
    monkeypatch.setattr(peers, "measure_round", turn)
    monkeypatch.setattr(peers, "read_bandwidth", lambda threads: 1e9)
    for only in (["a"], ["a", "b"], ["a", "b", "c"]):
        arguments = ["peers.py", str(tiny_checkpoint), "-o", str(tmp_path), "--rounds", "2"]
        monkeypatch.setattr(sys, "argv", [*arguments, *(f"--only={name}" for name in only)])
        peers.main()
    assert order == ["a", "a", "b", "b", "c", "c"]
    assert "| c | 1.00 | 5.50 ±9% |" in (tmp_path / "tables.md").read_text()
    assert (tmp_path / "decode.svg").stat().st_size > 1000
