"""`bench`: the statistics and the floor as functions, and the command on a tiny model."""

import json
from pathlib import Path

import pytest

from bundler.commands.cli import run
from bundler.containers.bundle import open_bundle
from bundler.errors import OptionError
from bundler.pipeline.bench import PHONES, BenchOptions, distinct_names, floor, measure_rounds, spread, summarize
from bundler.pipeline.bench_tables import COLUMNS, bench_tables, number
from bundler.pipeline.speed import Timing, Workload, open_litertlm, open_pytorch, prompt_of
from bundler.tflite.model import open_model
from bundler.tflite.weights import decode_bytes


def test_spread_is_the_median_and_the_range():
    assert spread([3.0, 1.0, 2.00004]) == {"median": 2.0, "least": 1.0, "most": 3.0}
    assert spread([4, 1]) == {"median": 2.5, "least": 1.0, "most": 4.0}


def test_turns_are_summarized_where_they_are():
    turns = [
        {"decode": {"1": 10.0}, "memory": 5},
        {"decode": {"1": 30.0}, "memory": 5},
        {"decode": {"1": 11.0}, "memory": 8},
    ]
    assert summarize(turns) == {"decode": {"1": spread([10, 11, 30])}, "memory": spread([5, 5, 8])}


def test_the_floor_is_bytes_over_bandwidth():
    figures = floor((900, 10), 10, 5.0, 10_000.0)
    assert figures["bytes_a_token"] == 1000 and figures["tokens_per_second"] == 10.0 and figures["reached"] == 0.5
    for name, (least, most) in figures["phones"].items():
        assert most == pytest.approx(0.5 * PHONES[name] / 1000, rel=0.01) and 0 < least < most
    # Caches may hold a small model: a phone is not taken to read faster than its memory.
    assert floor((900, 10), 10, 50.0, 10_000.0)["phones"]["LPDDR5-6400"][1] == pytest.approx(6.4e9 * 8 / 1000, rel=0.01)


def test_what_does_not_fit_the_context_is_left_out():
    assert Workload().within(512) == Workload((16, 128), (1, 128))
    assert Workload(tokens=8).within(96) == Workload((16,), (1,), 8)


def test_names_tell_files_apart():
    assert distinct_names([Path("/a/x.task"), Path("/b/y.task")]) == ["x.task", "y.task"]
    assert distinct_names([Path("/a/c/x.task"), Path("/b/c/x.task")]) == ["a/c/x.task", "b/c/x.task"]
    with pytest.raises(OptionError, match="given twice"):
        distinct_names([Path("x.task"), Path("x.task")])


def test_more_threads_than_cores_are_refused():
    with pytest.raises(OptionError, match="`threads` 100000: this machine gives"):
        BenchOptions(threads=100_000).workload()


@pytest.mark.parametrize("tokens", [0, 1, 7, 60, 250])
def test_a_prompt_takes_the_tokens_asked_for(tokens):
    def tokenize(text):
        return text.split()

    assert len(tokenize(prompt_of(tokenize, tokens, "A"))) == tokens
    assert prompt_of(tokenize, 60, "A") != prompt_of(tokenize, 60, "B")


def test_every_round_gives_each_its_turn(monkeypatch):
    import bundler.pipeline.bench as bench

    order = []
    monkeypatch.setattr(bench, "read_bandwidth", lambda threads: float(len(order)))
    monkeypatch.setattr(bench, "measure_round", lambda candidate, workload: order.append(candidate.name) or {})
    candidates = [bench.Candidate(name, "engine", name, None) for name in ("a", "b")]
    turns, bandwidth = measure_rounds(candidates, Workload(), 2)
    assert order == ["a", "b", "a", "b"] and bandwidth == 2.0 and turns == {"a": [{}, {}], "b": [{}, {}]}


def test_decode_reads_every_weight_but_the_positions(tiny_bundle):
    """The tiny model in int8: 2 layers of width 32, 400 tokens and alias rows, 96 positions."""
    output, manifest = tiny_bundle
    model = open_model(open_bundle(output / "tiny.litertlm").model)
    weights, cache = decode_bytes(model)
    rows = manifest["tokenizer"]["rows"]
    matrices = rows * 32 + 2 * 12 * 32 * 32
    scales_biases_norms = 4 * (2 * rows + 2 * (2 * 9 * 32 + 4 * 32) + 2 * 32)
    assert matrices < weights < matrices + scales_biases_norms and cache == 2 * 2 * 32 * 4


@pytest.mark.parametrize("tokens", [1, 5])
def test_litertlm_reads_and_writes_what_it_is_asked_for(tiny_bundle, tokens):
    with open_litertlm(tiny_bundle[0] / "tiny.task", 1) as engine:
        assert engine.context == 96 and engine.load_seconds > 0
        for length in (1, 2, 16, 40):
            timing = engine.text(length, tokens, 0)
            assert (timing.read, timing.written) == (length, tokens)
            assert min(timing.prefill, timing.first, timing.decode) > 0


def test_pytorch_reads_and_writes_what_it_is_asked_for(tiny_checkpoint):
    with open_pytorch(tiny_checkpoint, 1) as engine:
        timing = engine.text(16, 3, 0)
        assert isinstance(timing, Timing) and (timing.read, timing.written, engine.context) == (16, 3, 96)


def test_the_command_measures_a_bundle(tiny_bundle, tiny_checkpoint, tmp_path, capsys):
    bundle, plot = tiny_bundle[0] / "tiny.litertlm", tmp_path / "decode.svg"
    line = ["bench", str(bundle), "--against", str(tiny_checkpoint), "--rounds", "2", "--threads", "1", "--tokens", "4"]
    assert run([*line, "--plot", str(plot), "--json", "--quiet"]) == 0
    result = json.loads(capsys.readouterr().out)
    ours, pytorch = result["results"]
    assert result["workload"]["threads"] == 1 and result["machine"]["read_bandwidth"] > 1e8
    assert ours["bytes"] == bundle.stat().st_size and ours["name"] == "tiny.litertlm" and pytorch["bytes"] is None
    assert ours["prefill"].keys() == {"16"} and ours["decode"].keys() == ours["floor"].keys() == {"1"}
    assert ours["start"].keys() == {"no_cache", "new_cache", "cache"} and pytorch["start"].keys() == {"start"}
    for figures in (*ours["prefill"].values(), *ours["decode"].values(), *ours["start"]["cache"].values()):
        assert 0 < figures["least"] <= figures["median"] <= figures["most"]
    assert 0 < ours["kl"]["mean"] < 0.01 and pytorch["kl"] is None
    assert ours["start"]["cache"]["load"]["median"] < ours["start"]["cache"]["first_token"]["median"]
    assert b"tiny.litertlm" in plot.read_bytes() and b"prefers-color-scheme: dark" in plot.read_bytes()
    lines = [line for table in bench_tables(result) for line in table.splitlines()]
    assert max(map(len, lines)) <= COLUMNS and any("tiny.litertlm" in line for line in lines)
    assert run([*line, "--plot", str(plot)]) == 2 and "exists; add --force" in capsys.readouterr().err


def test_lengths_that_fit_no_context_are_refused(tiny_bundle, capsys):
    assert run(["bench", str(tiny_bundle[0] / "tiny.task"), "--prefill-lengths", "128", "--decode-lengths", "900"]) == 1
    assert "context of 96 tokens is too short" in capsys.readouterr().err


def test_numbers_have_the_digits_they_deserve():
    assert [number(value) for value in (1234.5, 99.96, 45.67, 3.456, 0.012)] == ["1,234", "100", "45.7", "3.46", "0.01"]
