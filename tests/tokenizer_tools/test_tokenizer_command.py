"""task-bundler tokenizer build and report, by exit code and by what is written."""

import io
import json
import sys

import pytest

from bundler.commands.cli import run
from tokenizer_tools.vocabulary_files import tokenizer_json


@pytest.fixture()
def folder(code, tmp_path):
    (tmp_path / "tokenizer.json").write_bytes(tokenizer_json(code))
    return tmp_path


def test_build(folder, models, capfd):
    output, aliases = folder / "tokenizer.model", folder / "aliases.json"
    arguments = [
        "tokenizer",
        "build",
        "--tokenizer",
        str(folder),
        "-o",
        str(output),
        "--aliases",
        str(aliases),
        "--json",
    ]
    assert run(arguments) == 0
    result = json.loads(capfd.readouterr().out)
    model = models["code"][1]
    assert output.read_bytes() == model.proto
    assert json.loads(aliases.read_text()) == result["alias_of"] == list(model.alias_of)
    assert result["report"]["mismatched_tokens"] == 0
    assert sorted(path.name for path in folder.iterdir()) == ["aliases.json", "tokenizer.json", "tokenizer.model"]

    output.write_bytes(b"mine")
    assert run(arguments) == 2
    assert "--force" in capfd.readouterr().err and output.read_bytes() == b"mine"


def test_build_writes_nothing_that_fails_the_gate(folder, capfd):
    document = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    document["pre_tokenizer"]["add_prefix_space"] = True
    (folder / "tokenizer.json").write_text(json.dumps(document), encoding="utf-8")
    arguments = ["tokenizer", "build", "--tokenizer", str(folder / "tokenizer.json"), "-o", str(folder / "out.model")]
    assert run(arguments) == 3
    assert "add_prefix_space" in capfd.readouterr().err and not (folder / "out.model").exists()
    assert run([*arguments, "--fail-over", "10000000", "--quiet"]) == 0
    assert (folder / "out.model").exists()


def test_report(folder, capfd, monkeypatch):
    (folder / "text.txt").write_text("it's\n\n  a test", encoding="utf-8")
    save = folder / "report.html"
    arguments = ["tokenizer", "report", "--tokenizer", str(folder), str(folder / "text.txt"), "--generated", "5"]
    assert run([*arguments, "--json", "--fail-over", "0", "--save", str(save)]) == 0
    captured = capfd.readouterr()
    assert json.loads(captured.out)["by_class"]["documents"]["strings"] == 1
    assert "<section" in save.read_text(encoding="utf-8")
    assert run([*arguments, "--save", str(save)]) == 2
    assert run([*arguments, "--save", "report.pdf"]) == 2

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("don't".encode())))
    assert run(["tokenizer", "report", "--tokenizer", str(folder), "-", "--generated", "0", "--quiet", "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["strings"] == 3


def test_report_fails_over(folder, capfd):
    (folder / "text.txt").write_text("(''''''s", encoding="utf-8")
    arguments = [
        "tokenizer",
        "report",
        "--tokenizer",
        str(folder),
        str(folder / "text.txt"),
        "--generated",
        "0",
        "--quiet",
    ]
    assert run(arguments) == 0
    assert run([*arguments, "--fail-over", "0"]) == 3
    assert "not the reference's" in capfd.readouterr().err


@pytest.mark.parametrize(
    "arguments, code, message",
    [
        (["--vocab", "README.md"], 2, "--merges"),
        ([], 2, "--tokenizer"),
        (["--tokenizer", "no/such"], 2, "no/such does not exist: this folder has no no."),
        (["--mode", "X"], 2, "'X'"),
    ],
)
def test_usage(arguments, code, message, capfd):
    assert run(["tokenizer", "report", *arguments]) == code
    assert message in capfd.readouterr().err


def test_missing_text_is_refused_before_anything_is_built(folder, capfd):
    assert run(["tokenizer", "report", "--tokenizer", str(folder), "no/such.txt"]) == 2
    assert "no/such.txt" in capfd.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["build"], ["report"]])
def test_help_has_an_example(arguments, capfd):
    assert run(["tokenizer", *arguments, "--help"]) == 0
    assert "Example: task-bundler tokenizer" in capfd.readouterr().out
