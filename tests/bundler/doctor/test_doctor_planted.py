"""A good bundle has no finding; each way of breaking one has the finding that says so."""

import pytest
from planted_defects import PLANTED

from bundler.doctor import examine_model as model_exam
from bundler.doctor.catalog import catalog
from bundler.doctor.examine import examine

# A file of 2 GiB is not made for a test; test_doctor_together.py has what needs several files.
ELSEWHERE = {
    "model-over-2gib",
    "adapter-of-another-base",
    "adapter-rank-unlike-bundle",
    "bundle-takes-no-adapters",
    "tokenizer-of-another-bundle",
    "containers-of-two-builds",
}


@pytest.mark.parametrize(
    "name", ["task", "litertlm", "fp32_litertlm", "lora_task", "lora_litertlm", "adapter", "tokenizer"]
)
def test_nothing_is_found_in_a_good_file(good, name):
    report = examine(getattr(good, name))
    assert report.findings == []
    assert report.kind == {"adapter": "adapter", "tokenizer": "tokenizer"}.get(name, "." + name.split("_")[-1])


@pytest.mark.parametrize("code, breaks", PLANTED, ids=[f"{code}: {breaks.__name__}" for code, breaks in PLANTED])
def test_a_planted_defect_is_found(good, tmp_path, code, breaks):
    report = examine(breaks(good, tmp_path))
    codes = [finding.code for finding in report.findings]
    assert code in codes
    assert bool(report.errors) == any(catalog()[each].severity == "error" for each in codes)


def test_every_finding_is_planted():
    assert {code for code, _ in PLANTED} | ELSEWHERE == set(catalog())


def test_a_model_too_large_for_32_bits(good, monkeypatch):
    monkeypatch.setattr(model_exam, "LARGE", 1000)
    assert [finding.code for finding in examine(good.task).findings] == ["model-over-2gib"]
