"""The command and the page: what people, scripts and the app rely on."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from planted_containers import no_padding_in_front, write

from bundler.commands.cli import run
from bundler.containers import zip_directory
from bundler.doctor import catalog as catalog_module
from bundler.doctor.catalog import SEVERITIES, catalog, page
from bundler.doctor.examine import examine
from bundler.errors import BundleError

ROOT = Path(__file__).resolve().parents[3]


def test_the_page_is_the_catalog():
    assert (ROOT / "docs/FINDINGS.md").read_text(encoding="utf-8") == page()
    assert re.findall(r"^\| `([a-z0-9-]+)` \|", page(), re.MULTILINE) == list(catalog())


def test_every_code_in_the_sources_is_in_the_catalog_and_the_other_way_round():
    paths = [*Path(catalog_module.__file__).parent.glob("*.py"), Path(zip_directory.__file__)]
    sources = "".join(path.read_text() for path in paths)
    assert set(re.findall(r'(?:Finding|Defect|tell)\(\s*"([a-z0-9-]+)"', sources)) | {"adapter-unreadable"} == set(
        catalog()
    )


@pytest.mark.parametrize("entry", catalog().values(), ids=list(catalog()))
def test_every_entry_says_everything(entry):
    assert entry.severity in SEVERITIES and re.fullmatch("[a-z0-9]+(-[a-z0-9]+)*", entry.code)
    assert entry.meaning.endswith(".") and entry.mend.endswith(".") and entry.files and entry.engines


def test_a_good_bundle_ends_with_0_and_a_broken_one_with_3(good, tmp_path, capfd):
    assert run(["doctor", str(good.task)]) == 0
    assert "nothing to complain of" in capfd.readouterr().out
    (tmp_path / "half.task").write_bytes(good.task.read_bytes()[:1000])
    assert run(["doctor", str(tmp_path / "half.task")]) == 3
    shown = capfd.readouterr()
    assert "file-truncated" in shown.out and "Unable to open zip archive." in shown.out
    assert shown.err == f"task-bundler: verification failed: {tmp_path}/half.task: file-truncated\n"
    (tmp_path / "exchanged.task").write_bytes(good.task.read_bytes().replace(b'"recipe": "int8"', b'"recipe": "int9"'))
    assert run(["doctor", str(tmp_path / "exchanged.task")]) == 3
    assert run(["doctor", str(tmp_path / "gone.task")]) == 2
    (tmp_path / "empty").mkdir()
    assert run(["doctor", str(tmp_path / "empty")]) == 1
    assert "no file that the doctor knows" in capfd.readouterr().err


def test_warnings_alone_end_with_0(good, tmp_path, capfd):
    assert run(["doctor", str(no_padding_in_front(good, tmp_path))]) == 0
    assert "web-start-bytes" in capfd.readouterr().out


def test_json_is_one_object_with_all_there_is(good, capfd):
    assert run(["doctor", "--json", "--quiet", str(good.lora_task)]) == 0
    shown = capfd.readouterr()
    report = json.loads(shown.out)
    assert shown.err == ""
    assert (report["kind"], report["findings"], report["counts"]) == (
        ".task",
        [],
        {"error": 0, "warning": 0, "note": 0},
    )
    assert [entry["name"] for entry in report["entries"]] == [
        "TF_LITE_PREFILL_DECODE",
        "TOKENIZER_MODEL",
        "METADATA",
        "MANIFEST",
    ]
    assert report["provenance"]["maker"] == "task-bundler" and report["metadata"]["stop_tokens"] == ["<|endoftext|>"]
    assert report["model"]["context"] == {"cache": 96, "LiteRT-LM": 96} and report["model"]["lora"][
        "MediaPipe layout, ranks"
    ] == [16, 32]
    assert report["tokenizer"]["alias_ids"] == report["tokenizer"]["pieces"] - 400
    assert {name for name in report["model"]["weights"]} == {"embedding", "attention", "mlp", "head", "norm", "other"}


def test_a_piped_report_is_plain_text_of_80_columns(good, tmp_path):
    write(tmp_path, "odd [red]\x1b[2J\n\udcff.task", good.task.read_bytes()[:1000])
    for name in (tmp_path / "odd [red]\x1b[2J\n\udcff.task", good.task):
        done = subprocess.run(
            [sys.executable, "-m", "bundler", "doctor", name], capture_output=True, env={**os.environ, "COLUMNS": ""}
        )
        report = done.stdout.decode()
        assert "\x1b" not in report and max(map(len, report.splitlines())) <= 80
        assert "nothing to complain of" in report or r"odd [red]\x1b[2J\n\xff.task" in report.replace("\n", "")
        assert b"\x1b" not in done.stderr and done.stderr.count(b"\n") <= 1


def test_json_of_several_files_is_a_list(good, tmp_path, capfd):
    assert run(["doctor", "--json", str(good.task), str(good.tokenizer)]) == 0
    shown = capfd.readouterr()
    assert [report["kind"] for report in json.loads(shown.out)] == [".task", "tokenizer"] and shown.err == ""
    shutil.copy(good.tokenizer, tmp_path)
    assert run(["doctor", "--json", str(tmp_path)]) == 0
    assert [report["file"] for report in json.loads(capfd.readouterr().out)] == [str(tmp_path / "tokenizer.model")]


def test_of_several_files_the_worst_counts(good, tmp_path, capfd):
    (tmp_path / "half.task").write_bytes(good.task.read_bytes()[:1000])
    assert run(["doctor", str(good.task), str(tmp_path / "half.task"), str(tmp_path / "gone.task")]) == 3
    shown = capfd.readouterr()
    assert "nothing to complain of" in shown.out and "file-truncated" in shown.out
    assert "half.task: file-truncated; " in shown.err and "gone.task: cannot be read" in shown.err
    assert run(["doctor", str(good.task), str(tmp_path / "gone.task")]) == 2


def test_the_sizes_of_the_weights_add_up(good):
    """Two layers of width 32 with an inner width of 128, in int8: a byte a weight, four for each bias."""
    weights = examine(good.task).facts["model"]["weights"]
    rows, width, inner, layers = examine(good.task).facts["model"]["embedding_rows"], 32, 128, 2
    assert weights["embedding"]["types"] == {"int8 per channel": (rows + 96) * width}
    assert weights["attention"]["types"] == {
        "int8 per channel": layers * 4 * width * width,
        "float32": layers * 4 * width * 4,
    }
    assert weights["mlp"]["types"] == {
        "int8 per channel": layers * 2 * width * inner,
        "float32": layers * (inner + width) * 4,
    }
    assert weights["norm"]["bytes"] == (2 * layers + 1) * 2 * width * 4


def test_neither_torch_nor_an_engine_is_loaded(good):
    program = (
        "import sys; from pathlib import Path; from bundler.doctor.examine import examine; examine(Path(sys.argv[1])); "
        "print([name for name in ('torch', 'litert_lm', 'litert_torch', 'transformers', 'tokenizers') if name in "
        "sys.modules])"
    )
    assert (
        subprocess.run([sys.executable, "-c", program, str(good.litertlm)], capture_output=True, text=True).stdout
        == "[]\n"
    )


def test_what_is_no_file(tmp_path):
    with pytest.raises(BundleError, match="No such file"):
        examine(tmp_path / "gone")
    with pytest.raises(BundleError, match="no regular file"):
        examine(tmp_path)
