"""`run`: the seed that it draws and says, the tokens that the engine counted, and the interactive session."""

import builtins
import json
import signal
import sys

import pytest

from bundler.commands.cli import run
from bundler.commands.console import Terminal


@pytest.fixture
def bundle(tiny_bundle):
    return str(tiny_bundle[0] / "tiny.litertlm")


def written(capsys, *arguments):
    assert run(["run", *arguments, "--json"]) == 0
    said = capsys.readouterr()
    return json.loads(said.out), said.err


def test_a_seed_is_drawn_and_said(bundle, capfd):
    first, said = written(capfd, bundle, "-p", "It is", "-n", "12")
    other, _ = written(capfd, bundle, "-p", "It is", "-n", "12")
    assert f"seed {first['seed']}" in said and first["seed"] != other["seed"] and first["text"] != other["text"]
    again, _ = written(capfd, bundle, "-p", "It is", "-n", "12", "--seed", str(first["seed"]))
    assert again["text"] == first["text"]
    greedy, said = written(capfd, bundle, "-p", "It is", "-n", "12", "--temperature", "0")
    assert greedy["seed"] is None and "greedy" in said and greedy["tokens"] == 12


def test_tokens_are_those_the_engine_counted(bundle, capfd):
    """A text that is cut into tokens again is not always of as many: so far up to half as many more."""
    for seed in range(4):
        result, said = written(capfd, bundle, "-p", "x", "-n", "300", "--seed", str(seed))
        assert result["tokens"] <= 96 - result["prompt_tokens"] and f"{result['tokens']} out" in said


def test_a_prompt_that_is_too_long_is_not_shown(bundle, capfd):
    assert run(["run", bundle, "-p", "the light " * 90]) == 1
    said = capfd.readouterr()
    assert not said.out and "the light" not in said.err and "shorter prompt" in said.err
    assert "the context has 96, of which one is to write in" in said.err
    assert "engine.cc" not in said.err  # a line of the engine's log


def session(monkeypatch, lines, *arguments):
    """Run an interactive session in which `lines` are typed; a KeyboardInterrupt among them is Ctrl-C at the prompt."""
    left = iter(lines)

    def type_line(prompt):
        line = next(left, None)
        if line is None:
            raise EOFError
        if line is KeyboardInterrupt:
            signal.raise_signal(signal.SIGINT)
        return line

    monkeypatch.setattr(builtins, "input", type_line)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    assert run(["run", *arguments]) == 0


def test_a_session(bundle, capfd, monkeypatch):
    lines = ["/again", "It is", "/seed 7", "/again", "/again", "/temperature 0", "/again", "/seed", "/help"]
    session(monkeypatch, [*lines, "/temperature warm", "/seed x", "/adapter gone", " /help"], bundle, "-n", "12")
    said = capfd.readouterr()
    texts = said.out.splitlines()
    assert "there is no text yet" in said.err and said.err.count("seed 7;") == 2 and "greedy" in said.err
    assert "/again             continue" in said.err and "expected a number, such as 0.8" in said.err
    assert "/seed: 'x' is not a valid integer" in said.err and "going on with the base" in said.err
    assert all(text.startswith("It is") for text in texts[0:1]) and " /help" in said.out


def test_the_same_seed_gives_the_same_text_in_a_session(bundle, capfd, monkeypatch):
    session(monkeypatch, ["It is", "/again", "/again"], bundle, "-n", "8", "--seed", "3")
    once, twice, thrice = ("It is" + part for part in capfd.readouterr().out.split("It is")[1:])
    assert once == twice == thrice


def test_an_interrupt_ends_the_answer_and_not_the_session(bundle, capfd, monkeypatch):
    write, pieces = Terminal.write, []

    def interrupted(terminal, text):
        pieces.append(text)
        if len(pieces) == 3:
            signal.raise_signal(signal.SIGINT)
        write(terminal, text)

    monkeypatch.setattr(Terminal, "write", interrupted)
    session(monkeypatch, ["It is", KeyboardInterrupt, "It was", "/adapter gone"], bundle, "-n", "40")
    said = capfd.readouterr()
    assert said.err.count("stopped; an empty line") == 2 and "It was" in said.out
    assert "40 out" in said.err and "interrupted" not in said.err


def test_a_signal_that_ends_the_program_ends_a_session(bundle, capfd, monkeypatch):
    from bundler.system import signals

    monkeypatch.setattr(signals, "_came", {signal.SIGTERM})
    with pytest.raises(AssertionError):
        session(monkeypatch, [KeyboardInterrupt, "It is"], bundle)
    assert "It is" not in capfd.readouterr().out
