"""Names and texts from outside, however odd: shown with escapes in the terminal, in Markdown and in HTML, or refused in
a sentence.
"""

import json
import os
import re
from types import SimpleNamespace

import pytest

from bundler.checkpoints.architecture import architecture_of, read_json
from bundler.commands.cli import run
from bundler.commands.console import Terminal
from bundler.commands.gate_table import gate_table
from bundler.containers.bundle import _noted_aliases
from bundler.errors import BundleError
from bundler.pipeline.app_assets import adb_lines
from bundler.pipeline.manifest import write_documents
from bundler.pipeline.plan import BuildOptions, plan_build
from bundler.pipeline.report import write_report
from bundler.tflite.adapter_file import decode_adapter
from bundler.verification.gate import Gate
from gpt2_training.errors import TrainingError
from lora_weights.adapter import Base
from lora_weights.adapter_file import encode_adapter, zero_adapter
from lora_weights.card import adapter_card
from lora_weights.errors import LoraError
from lora_weights.peft_adapter import read_peft
from tokenizer_tools.errors import TokenizerError
from tokenizer_tools.printable import markdown, printable
from tokenizer_tools.vocabulary_files import read_vocabulary

TITLE = "\x1b]0;owned\x07"  # sets the title of a terminal's window
ODD = f"[bold]x[/]{TITLE}\n\t\u202e|<b>`*_\udcff"


@pytest.mark.parametrize(
    "text, shown",
    [
        ("Ünï 日本\u3000語 👍 [bold]", "Ünï 日本\u3000語 👍 [bold]"),
        ("a\nb\tc", r"a\nb\tc"),
        (TITLE, r"\x1b]0;owned\x07"),
        ("\x9b2J", r"\x9b2J"),
        ("\u202eexe.gpj", r"\u202eexe.gpj"),
        ("\udcff", r"\xff"),
        ("\ud800", r"\ud800"),
        ("\U000e0041", r"\U000e0041"),
        ("", ""),
    ],
)
def test_printable(text, shown):
    assert printable(text) == shown and printable(shown) == shown


def test_markdown_shows_what_it_was_given():
    assert markdown("gpt2_tiny, <|endoftext|>") == r"gpt2_tiny, \<\|endoftext\|\>"
    assert markdown(ODD) == r"\[bold\]x\[/\]\\x1b\]0;owned\\x07\\n\\t\\u202e\|\<b\>\`\*\_\\xff"


def test_the_terminal_shows_names_as_they_are(capfd):
    terminal = Terminal()
    terminal.say(ODD)
    terminal.say(gate_table(ODD, [Gate(ODD, True, ODD)]))
    with terminal.stage(ODD), terminal.bar(ODD, 1):
        pass
    shown = capfd.readouterr().err
    assert shown.count("[bold]x[/]") >= 4 and "\x1b]" not in shown and "\u202e" not in shown and "\x07" not in shown


def test_errors_are_shown_with_escapes(tmp_path, capfd):
    assert run(["doctor", str(tmp_path / ODD)]) == 2
    assert run(["lora", "info", str(tmp_path / ODD)]) == 2
    assert run(["build", str(tmp_path / ODD), "-o", str(tmp_path / "out")]) == 2
    assert run(["verify", "--against", ODD, "--quant", ODD, ODD]) == 2
    assert run([ODD]) == 2 and run(["build", "x", "-o", "y", "--prefill", ODD]) == 2
    shown = capfd.readouterr().err
    assert (
        "\x1b" not in shown
        and "\u202e" not in shown
        and "Traceback" not in shown
        and shown.count(r"\x1b]0;owned\x07") >= 5
    )


def test_the_doctor_shows_names_as_they_are(tmp_path, capfd):
    path = tmp_path / os.fsdecode(b"[bold]\xff\x1b]0;x\x07")
    path.write_bytes(b"nothing known")
    assert run(["doctor", str(path)]) == 3 and run(["doctor", "--json", str(path)]) == 3
    out, err = capfd.readouterr()
    table, object_ = out.split("\n{", 1)
    assert r"[bold]\xff\x1b]0;x\x07: unknown" in table.replace("\n", "") and "\x1b" not in out + err
    assert json.loads("{" + object_)["file"] == str(path)


@pytest.mark.parametrize(
    "output, options, match",
    [
        (b"a\nb", {}, "printable characters"),
        (b"\x1b]0;x\x07", {}, "printable characters"),
        (b"\xff", {}, "not UTF-8, and the converter"),
        (b"fine", {"name": "a\u202eb"}, "printable characters"),
        (b"fine", {"name": "\udcff"}, "printable characters"),
    ],
)
def test_names_that_no_bundle_can_have_are_refused_before_the_work(tmp_path, output, options, match):
    with pytest.raises(BundleError, match=match):
        plan_build(BuildOptions("nowhere", tmp_path / os.fsdecode(output), **options))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", [b"[bold]x[", b"a\nb", b"\xff", "Ünï 日本".encode()])
def test_a_model_folder_may_have_any_name(tiny_checkpoint, tmp_path, name):
    model = tmp_path / os.fsdecode(name)
    model.symlink_to(tiny_checkpoint)
    output = tmp_path / "out" / "[bold]x["
    if name == b"\xff":
        with pytest.raises(BundleError, match="not UTF-8, and safetensors opens no others"):
            plan_build(BuildOptions(str(model), output))
    else:
        assert plan_build(BuildOptions(str(model), output)).name == "[bold]x["


MANIFEST = {
    "name": "x",
    "source": {"name": ODD, "revision": ODD, "files": {"a<b>": "0" * 64}},
    "recipe": "int8",
    "context": 8,
    "prefill": [4],
    "architecture": {"layers": 1, "width": 4, "inner": 4, "vocabulary": 4, "positions": 4, "tied_head": True},
    "start_token": "<|start\x1b|>",
    "stop_tokens": ["`|"],
    "sampler": {"temperature": 0.8, "top_k": 40, "top_p": 1.0},
    "bytes": {"task": 1, "litertlm": 1, "tflite": 1},
    "tools": {"torch": "2"},
    "tokenizer": {"vocabulary": 4, "parse_special": True, "alias_of": [], "mode": "T", "rows": 4},
    "verification": [{"name": ODD, "passed": True, "skipped": False, "found": ODD, "figures": {}}],
}


def test_documents_hold_names_as_text(tmp_path):
    manifest = {
        **MANIFEST,
        "source": {**MANIFEST["source"], "name": ODD.replace("\udcff", ""), "revision": None},
        "verification": [{**MANIFEST["verification"][0], "name": "g", "found": ODD.replace("\udcff", "")}],
    }
    write_documents(tmp_path, "[x](y)", manifest)
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    rows = [line for line in card.splitlines() if line.startswith("|")]
    assert all(len(re.findall(r"(?<!\\)\|", row)) in (3, 4) for row in rows), rows
    assert r"# \[x\](y)" in card and "<b>" not in card and "\x1b" not in card and r"\<\|start\\x1b\|\>" in card


def test_the_report_holds_names_as_text(tmp_path):
    tokens = SimpleNamespace(by_class={})
    clean = json.loads(json.dumps(MANIFEST).replace(r"\udcff", ""))
    write_report(tmp_path, clean, {"graph": 1}, tokens)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert (
        "<b>" not in page
        and "\x1b" not in page
        and "\u202e" not in page
        and "[bold]x[/]" in page
        and "&lt;|start\\x1b|&gt;" in page
    )


def test_an_adapters_card_is_one_document():
    record = {
        "base": f"a: b\n---\n{ODD}",
        "text": ODD,
        "trainable_parameters": 1,
        "command": "task-bundler\n# heading",
        "config": {"rank": 1, "targets": ["a*"], "steps": 1, "batch": 1, "context": 1, "seed": 1},
    }
    record |= {
        f"held_out_perplexity{part}{error}": 1.0 for part in ("", "_before") for error in ("", "_standard_error")
    }
    card = adapter_card("# [x]\n", record, "apache-2.0\nmodel: y")
    lines = card.encode().decode().splitlines()
    assert [number for number, line in enumerate(lines) if line == "---"] == [0, 4]
    assert json.loads(lines[1].removeprefix("base_model: ")) == printable(record["base"])
    assert json.loads(lines[3].removeprefix("license: ")) == "apache-2.0\\nmodel: y"
    assert sum(line.startswith("#") for line in lines) == 1 and "\x1b" not in card
    assert "license: apache-2.0\n" in adapter_card("x", record, "apache-2.0")


def test_adb_lines_can_be_pasted(tmp_path):
    (tmp_path / "a b" / "app_assets").mkdir(parents=True)
    (tmp_path / "a b" / "app_assets" / "it's.task").touch()
    assert adb_lines(tmp_path / "a b")[0].startswith(f"adb push '{tmp_path}/a b/app_assets/it'\"'\"'s.task' /sdcard/")


NUMBER = '{"n": ' + "9" * 5000 + "}"
DEEP = '{"n": ' + "[" * 100_000 + "]" * 100_000 + "}"


@pytest.mark.parametrize("text", [NUMBER, DEEP, '{"n": \x00}', ""], ids=["number", "deep", "control", "empty"])
def test_json_that_python_does_not_read_is_said_by_every_package(tmp_path, text):
    for name in ("config.json", "adapter_config.json", "tokenizer.json", "adapter_model.safetensors"):
        (tmp_path / name).write_text(text)
    with pytest.raises(BundleError, match="not valid JSON"):
        read_json(tmp_path / "config.json")
    with pytest.raises(LoraError, match="cannot be read"):
        read_peft(tmp_path)
    with pytest.raises(TokenizerError, match="not JSON|digits|nested"):
        read_vocabulary(tmp_path / "tokenizer.json")
    file = bytearray(encode_adapter(zero_adapter(Base(1, 4, (1.0,)), 16)))
    start = file.index(b'{"format"')
    file[start : start + 8] = b'{"a":[[['
    with pytest.raises(LoraError, match="cannot be read"):
        decode_adapter(bytes(file))


def test_sizes_beyond_reason_are_refused():
    with pytest.raises(BundleError, match="n_layer is 1000.*below 2\^31"):
        architecture_of({"model_type": "gpt2", "n_layer": 10**4000})


@pytest.mark.parametrize(
    "fields",
    [
        {"target_modules": 5},
        {"target_modules": "(["},
        {"target_modules": ["c_attn"], "rank_pattern": ["x"]},
        {"target_modules": ["c_attn"], "lora_alpha": 10**400},
        {"target_modules": ["c_attn"], "layers_to_transform": 1.5},
    ],
    ids=str,
)
def test_an_adapters_config_of_other_kinds_is_said(tmp_path, fields):
    import numpy as np
    from safetensors.numpy import save_file

    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 1, "lora_alpha": 1, **fields}))
    save_file(
        {"base_model.model.transformer.h.0.attn.c_attn.lora_A.weight": np.ones((1, 4), np.float32)},
        tmp_path / "adapter_model.safetensors",
    )
    with pytest.raises(LoraError, match="(was|were) expected"):
        read_peft(tmp_path)


@pytest.mark.parametrize("aliases", [[1, "2"], "12", None, [True]])
def test_an_alias_table_of_another_kind_is_said(tmp_path, aliases):
    with pytest.raises(BundleError, match="no list of token ids"):
        _noted_aliases({"tokenizer": {"parse_special": True, "alias_of": aliases}}, tmp_path)
    with pytest.raises(BundleError, match="no list of token ids"):
        _noted_aliases({"tokenizer": aliases}, tmp_path)


@pytest.mark.parametrize(
    "change, match",
    [
        (lambda file: file["added_tokens"][0].update(content="\ud800"), "surrogate"),
        (lambda file: file.update(pre_tokenizer=["x"]), "was expected"),
        (lambda file: file.update(normalizer=5), "was expected"),
    ],
)
def test_a_tokenizer_json_of_other_kinds_is_said(tmp_path, change, match):
    with open("gpt2_training/sample/tokenizer.json", encoding="utf-8") as stream:
        file = json.load(stream)
    change(file)
    (tmp_path / "tokenizer.json").write_text(json.dumps(file))
    with pytest.raises(TokenizerError, match=match):
        read_vocabulary(tmp_path)


@pytest.mark.parametrize(
    "name, text, match",
    [
        ("config.json", NUMBER, "cannot be read"),
        ("tokenizer.json", "{}", "cannot be read"),
        ("model.safetensors", "cut", "cannot be read"),
        ("tokenizer.json", None, "has no tokenizer.json"),
    ],
)
def test_sample_says_what_is_damaged(tiny_checkpoint, tmp_path, name, text, match):
    from gpt2_training.generate import load_sampler

    for path in tiny_checkpoint.iterdir():
        os.symlink(path, tmp_path / path.name)
    (tmp_path / name).unlink()
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(TrainingError, match=match):
        load_sampler(tmp_path)


def test_texts_to_train_on_may_have_any_name(tmp_path):
    from gpt2_training.corpus import read_corpus

    path = tmp_path / os.fsdecode(b"\xff")
    path.write_text("text " * 200)
    assert read_corpus(str(path)).fingerprint
    for number in range(200):
        (tmp_path / os.fsdecode(b"\xff%d" % number)).write_text("text")
    assert read_corpus(str(tmp_path)).held_out


def test_a_calibration_text_that_is_none_is_said(tmp_path):
    from bundler.pipeline.build import _calibration

    (tmp_path / "text").write_bytes(b"\xff")
    with pytest.raises(BundleError, match="is not UTF-8"):
        _calibration(BuildOptions("m", tmp_path, calibration=tmp_path / "text"), None, None)
