"""The recipe `auto` from the command line: what it chose is said, and the folder holds nothing else."""

import json

from bundler.commands.cli import run
from bundler.commands.mix_table import mix_table
from bundler.verification.text import verification_text


def test_a_mix_is_chosen_built_verified_and_said(tiny_checkpoint, tmp_path, capsys):
    (tmp_path / "text").write_text(verification_text(), encoding="utf-8")
    arguments = ["build", str(tiny_checkpoint), "-o", str(tmp_path / "out"), "--quant", "auto", "--max-kl", "3e-4"]
    assert run([*arguments, "--calibration", str(tmp_path / "text"), "--json"]) == 0
    manifest = json.loads(capsys.readouterr().out)
    assert manifest["recipe"] == "auto" and manifest["verified"]
    parts = manifest["mix"]["parts"]
    assert {part["recipe"] for part in parts.values()} == {"int8", "int4-block32"} and len(parts) == 2 * 4
    assert manifest["mix"]["kl"] <= 3e-4 and sum(manifest["mix"]["recipes"].values()) == len(parts)
    assert "| auto: of the parts of layers " in (tmp_path / "out" / "README.md").read_text()
    table = mix_table(manifest["mix"])
    assert "the smallest of all mixes of at most 0.0003 nats" in str(table.title) and table.row_count == 2
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "README.md",
        "SHA256SUMS",
        "manifest.json",
        "out.litertlm",
        "out.task",
        "report.html",
        "report.json",
        "tokenizer.model",
    ]
    (tmp_path / "text").write_text("")
    assert run([*arguments, "--calibration", str(tmp_path / "text"), "--force"]) == 1
    assert "is empty; expected a text" in " ".join(capsys.readouterr().err.split())
