"""Several files and folders: what belongs together has no finding, what does not has one; and the hashes in
SHA256SUMS.
"""

import hashlib
import os
import shutil
from pathlib import Path

import pytest
from doctor_files import edited_tokenizer, litertlm
from planted_containers import write
from planted_models import rank_8_in_a_litertlm

from bundler.doctor.digest import Digests
from bundler.doctor.examine import examine
from bundler.doctor.together import check_together, known_files
from bundler.errors import BundleError
from lora_weights.adapter import Base
from lora_weights.adapter_file import encode_adapter, zero_adapter


def together(*paths):
    """{name of a file: its findings} of files examined together, those without findings left out."""
    reports = [examine(path) for path in paths]
    check_together(reports)
    return {report.path.name: [finding.code for finding in report.findings] for report in reports if report.findings}


def test_a_build_belongs_together(good):
    for folder in (good.task.parent, good.lora_task.parent):
        assert together(*known_files(folder)) == {}


def test_a_folder_is_its_known_files_and_those_one_level_deeper(good, tmp_path):
    shutil.copytree(good.lora_task.parent, tmp_path / "build")
    (tmp_path / "build/adapters/deeper").mkdir()
    write(tmp_path / "build/adapters/deeper", "far.tflite", b"")
    write(tmp_path / "build", ".hidden.task", b"")
    write(tmp_path / "build", "word2vec.model", b"not a tokenizer")
    write(tmp_path / "build", "no_ending", good.litertlm.read_bytes())
    assert [str(path.relative_to(tmp_path / "build")) for path in known_files(tmp_path / "build")] == [
        "no_ending",
        "tiny.litertlm",
        "tiny.task",
        "tokenizer.model",
        "adapters/zero.tflite",
    ]
    with pytest.raises(BundleError, match="no file that the doctor knows"):
        known_files(_folder(tmp_path, "empty"))


def _folder(parent: Path, name: str) -> Path:
    (parent / name).mkdir()
    return parent / name


@pytest.mark.parametrize("base", [Base(3, 32, (1.0,) * 3), Base(2, 64, (1.0,) * 2), Base(2, 32, (1.0,) * 2, "0" * 64)])
def test_an_adapter_of_another_base(good, tmp_path, base):
    adapter = write(tmp_path, "other.tflite", encode_adapter(zero_adapter(base, 32)))
    assert together(good.lora_task, good.lora_litertlm, adapter) == {"other.tflite": ["adapter-of-another-base"] * 2}
    assert together(adapter) == {}


def test_an_adapter_fits_one_of_several_bundles(good, tmp_path):
    """The other one is of other weights, of the same shape."""
    sections = good.sections("lora_litertlm")
    type_, pairs, data = sections[-1]
    stranger = litertlm(tmp_path, [*sections[:-1], (type_, {**pairs, "base_fingerprint": "0" * 64}, data)])
    assert together(stranger, good.adapter) == {good.adapter.name: ["adapter-of-another-base"]}
    assert together(stranger, good.lora_litertlm, good.adapter) == {}


def test_an_adapter_of_a_rank_that_the_bundle_lacks(good, tmp_path):
    rank_16 = write(tmp_path, "r16.tflite", encode_adapter(zero_adapter(Base(2, 32, (1.0,) * 2), 16)))
    assert together(good.lora_task, rank_16) == {}
    assert together(good.lora_litertlm, rank_16) == {"r16.tflite": ["adapter-rank-unlike-bundle"]}
    rank_64 = write(tmp_path, "r64.tflite", encode_adapter(zero_adapter(Base(2, 32, (1.0,) * 2), 64)))
    assert together(good.lora_task, rank_64) == {
        "r64.tflite": ["adapter-rank-unlike-bundle", "adapter-rank-unsupported"]
    }
    assert (
        "adapter-rank-unlike-bundle" in together(rank_8_in_a_litertlm(good, tmp_path), good.adapter)[good.adapter.name]
    )


def test_a_bundle_without_lora_inputs(good):
    """Into a .task the adapter can be merged."""
    assert together(good.litertlm, good.adapter) == {good.adapter.name: ["bundle-takes-no-adapters"]}
    assert together(good.task, good.adapter) == {}


def test_the_tokenizer_of_another_bundle(good, tmp_path):
    def change(proto):
        proto.normalizer_spec.name = b"other"

    stranger = write(tmp_path, "other.model", edited_tokenizer(good.tokenizer.read_bytes(), change))
    assert together(good.task, stranger) == {"other.model": ["tokenizer-of-another-bundle"]}
    assert together(good.litertlm, stranger) == {}  # it has a tokenizer.json


def test_two_containers_of_two_builds(good, tmp_path):
    shutil.copy(good.task, tmp_path / "tiny.task")
    shutil.copy(good.fp32_litertlm, tmp_path / "tiny.litertlm")
    assert together(tmp_path / "tiny.task", tmp_path / "tiny.litertlm") == {
        "tiny.litertlm": ["containers-of-two-builds"]
    }
    shutil.copy(good.litertlm, tmp_path / "tiny.litertlm")
    assert together(tmp_path / "tiny.task", tmp_path / "tiny.litertlm") == {}


def sums(folder, *lines):
    (folder / "SHA256SUMS").write_bytes(
        b"".join(line if isinstance(line, bytes) else line.encode() + b"\n" for line in lines)
    )


def test_a_listed_hash_is_compared_in_every_form(good, tmp_path):
    path = write(tmp_path, "a b.task", good.task.read_bytes())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    for line in (
        f"{digest}  a b.task",
        f"{digest.upper()} *a b.task",
        f"{digest}  ./a b.task",
        f"SHA256 (a b.task) = {digest}",
        f"{digest}  a b.task\r",
    ):
        sums(tmp_path, "# a comment", "", line, f"{'0' * 64}  another.task")
        assert examine(path).findings == [] and examine(path).facts["listed_in"] == str(tmp_path / "SHA256SUMS"), line
        sums(tmp_path, line.replace(digest, "0" * 64).replace(digest.upper(), "0" * 64))
        assert [finding.code for finding in examine(path).findings] == ["sha256sums-differ"], line
    sums(tmp_path, f"# {'0' * 64}  a b.task")
    assert examine(path).findings == [] and "listed_in" not in examine(path).facts


def test_an_adapter_is_listed_one_folder_up(good, tmp_path):
    path = write(_folder(tmp_path, "adapters"), "x.tflite", good.adapter.read_bytes())
    sums(tmp_path, f"{'0' * 64}  x.tflite", f"{hashlib.sha256(path.read_bytes()).hexdigest()}  adapters/x.tflite")
    assert examine(path).findings == []
    sums(tmp_path, f"{'0' * 64}  adapters/x.tflite")
    assert [finding.code for finding in examine(path).findings] == ["sha256sums-differ"]
    # Also from inside of the folder, where the path has no folders.
    before = os.getcwd()
    try:
        os.chdir(path.parent)
        assert [finding.code for finding in examine(Path("x.tflite")).findings] == ["sha256sums-differ"]
    finally:
        os.chdir(before)


def test_a_line_that_is_none_hides_no_other(good, tmp_path):
    path = write(tmp_path, "x.task", good.task.read_bytes())
    sums(tmp_path, "no hash at all", f"{'0' * 64}  x.task")
    assert [finding.code for finding in examine(path).findings] == ["sha256sums-differ", "sha256sums-unreadable"]


def test_names_with_escapes(good, tmp_path):
    """As sha256sum writes them: a backslash first, and \\n for a line's end."""
    path = write(tmp_path, "a\n\\\udcff.task", good.task.read_bytes())
    sums(tmp_path, b"\\" + b"0" * 64 + b"  a\\n\\\\\xff.task\n")
    assert [finding.code for finding in examine(path).findings] == ["sha256sums-differ"]


def test_nothing_is_hashed_twice(good, tmp_path, monkeypatch):
    read = []
    monkeypatch.setattr(
        Digests, "of", lambda self, section, of=Digests.of: read.append(section.size) or of(self, section)
    )
    path = write(tmp_path, "x.tflite", good.adapter.read_bytes())
    sums(tmp_path, f"{hashlib.sha256(path.read_bytes()).hexdigest()}  x.tflite")
    assert "listed_in" in examine(path).facts and read == [path.stat().st_size]


def test_three_bits_in_a_model_without_checksums(good, tmp_path):
    """Most changes of a weight leave a sound .litertlm: only the list of hashes tells."""
    path = write(tmp_path, "tiny.litertlm", good.litertlm.read_bytes())
    sums(tmp_path, f"{hashlib.sha256(path.read_bytes()).hexdigest()}  tiny.litertlm")
    for step in range(20):
        data = bytearray(good.litertlm.read_bytes())
        for place in range(3):
            data[-500 - 1999 * (3 * step + place)] ^= 1 << step % 8
        path.write_bytes(data)
        assert "sha256sums-differ" in [finding.code for finding in examine(path).findings]
