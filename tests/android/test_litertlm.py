"""The app's reader of .litertlm bundles against builds, and its adapter of zeros against Python's, byte for byte."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bundler.containers.bundle import open_bundle
from bundler.containers.litertlm import LLM_METADATA_SECTION, read_litertlm
from bundler.engines.litertlm import open_engine
from bundler.pipeline.build import build
from bundler.pipeline.plan import BuildOptions
from bundler.tflite.adapter_file import read_adapter_file
from bundler.tflite.lora_inputs import lora_layout
from bundler.tflite.model import open_model
from lora_weights.adapter import Base
from lora_weights.adapter_file import AdapterFile, encode_adapter, zero_adapter

RANK = 16
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def app(kotlin, core_classes, tmp_path_factory):
    """app(program, *arguments): what one of the app's programs for this machine prints; raises CalledProcessError."""
    from toolchain import HERE, compile_kotlin, joined, kotlin_files, require

    classes = tmp_path_factory.mktemp("litertlm")
    compile_kotlin(kotlin, kotlin_files(HERE / "litertlm"), classes, [core_classes], "-jvm-target", "17")

    def run(program, *arguments):
        command = [require("java", ""), "-cp", joined(core_classes, classes, kotlin.stdlib)]
        command += [f"dev.taskbundler.verify.{program}Kt", *map(str, arguments)]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    return run


@pytest.fixture(scope="module")
def import_(app, tmp_path_factory):
    """import_(bundle, *adapters): what the app says of them, after its import into an empty storage; raises
    CalledProcessError.
    """

    def run(*files):
        printed = app("LitertLmMain", tmp_path_factory.mktemp("storage"), *files)
        return dict(line.split("=", 1) for line in printed.splitlines())

    return run


@pytest.fixture(scope="module")
def built(tiny_checkpoint, tmp_path_factory):
    """The folder of a build with LoRA inputs of one rank, and in it a loud.tflite, an adapter of random numbers."""
    folder = tmp_path_factory.mktemp("lora") / "tiny"
    build(BuildOptions(str(tiny_checkpoint), folder, recipe="fp32", lora_ranks=(RANK,), verify=False))
    zeros, random = read_adapter_file(folder / "adapters" / "zero.tflite"), np.random.default_rng(1)
    tensors = {name: random.normal(0, 0.3, tensor.shape).astype(np.float32) for name, tensor in zeros.tensors.items()}
    (folder / "loud.tflite").write_bytes(encode_adapter(AdapterFile(replace(zeros.header, name="loud"), tensors)))
    return folder


@pytest.fixture(scope="module")
def facts(import_, built):
    return import_(built / "tiny.litertlm", built / "loud.tflite")


TEXTS = [
    "",
    "The capital of France is",
    "I'll say it's 12px wide, and they've said we'd won't...  'S 's\n\n\tdef read(self):\r\n    return 0\n",
    "Não há ação sem opção: \u201cção\u201d — às 10h30, 3,14 %",
    "1234567890 3.14159 1e-9 \u00bd \u0967\u0968\u0969",
    "x[i]={0x1F:'a'};y->z!=**p++//\\n",
    "\u65e5\u672c\u8a9e \uc548\ub155 \u0645\u0631\u062d\u0628\u0627 \U0001f600\U0001f468\u200d\U0001f469 e\u0301",
    "a\u00a0b\u2003c\u2028d\x85e\x1cf\u200bg\ufeffh   ",
]


def test_the_app_counts_and_makes_the_tokens_that_the_engine_makes(app, sample_build, tmp_path):
    bundle = sample_build / "sample.litertlm"
    generator = np.random.default_rng(1)
    anything = ["".join(map(chr, generator.integers(32, 0x3000, 40))) for _ in range(20)]
    (tmp_path / "texts.json").write_text(json.dumps(TEXTS + anything))
    counted = app("TokensMain", bundle, tmp_path / "texts.json")
    with open_engine(bundle) as engine:
        expected = [engine.tokenize(text) for text in TEXTS + anything]
    assert [[*map(int, line.split())] for line in counted.splitlines()] == [[len(ids), *ids] for ids in expected]


def test_what_a_bundle_says_of_itself(facts, built):
    path = built / "tiny.litertlm"
    layout, file = lora_layout(open_model(open_bundle(path).model)), read_litertlm(path)
    assert facts["rank"] == str(layout.plain) == str(RANK)
    assert facts["context"] == str(file.llm_metadata().max_num_tokens)
    assert facts["fingerprint"] == next(
        section.metadata["base_fingerprint"] for section in file.sections if "base_fingerprint" in section.metadata
    )
    assert facts["loud.tflite"] == "fits"


def test_the_adapter_of_zeros_has_pythons_bytes(facts, built):
    layout = lora_layout(open_model(open_bundle(built / "tiny.litertlm").model))
    expected = encode_adapter(
        zero_adapter(Base(layout.layers, layout.width, (1.0,) * layout.layers, facts["fingerprint"]), RANK)
    )
    with open(facts["zero"], "rb") as file:
        assert file.read() == expected


def test_the_engine_writes_the_bases_text_with_it(facts, built):
    with open_engine(built / "tiny.litertlm") as engine:
        base, loud = engine.complete("The", 12), engine.complete("The", 12, adapter=built / "loud.tflite")
        assert engine.complete("The", 12, adapter=Path(facts["zero"])) == base != loud


def test_a_bundle_without_lora_inputs_takes_no_adapters(import_, built, tiny_bundle):
    facts = import_(tiny_bundle[0] / "tiny.litertlm", built / "loud.tflite")
    assert facts["rank"] == facts["zero"] == "null" and facts["loud.tflite"] == "app-litertlm-without-lora"
    assert len(facts["fingerprint"]) == 64


def test_adapters_of_another_rank_or_base_are_refused(import_, built, tmp_path, facts):
    wide, stranger = tmp_path / "wide.tflite", tmp_path / "stranger.tflite"
    wide.write_bytes(encode_adapter(zero_adapter(Base(2, 32, (1.0, 1.0), facts["fingerprint"]), 32)))
    stranger.write_bytes(encode_adapter(zero_adapter(Base(2, 32, (1.0, 1.0), "0" * 64), RANK)))
    facts = import_(built / "tiny.litertlm", wide, stranger)
    assert (facts["wide.tflite"], facts["stranger.tflite"]) == (
        "app-adapter-rank-unsupported",
        "app-adapter-other-base",
    )


def test_a_damaged_file_is_a_finding(import_, built, tmp_path):
    data = bytearray((built / "tiny.litertlm").read_bytes())
    at = next(
        section.offset
        for section in read_litertlm(built / "tiny.litertlm").sections
        if section.type == LLM_METADATA_SECTION
    )
    data[at] ^= 0xFF
    for content, code in (
        (data, "metadata-unreadable"),
        (data[:-20_000], "section-outside-file"),
        (data[:20], "file-truncated"),
    ):
        (tmp_path / "damaged.litertlm").write_bytes(content)
        with pytest.raises(subprocess.CalledProcessError) as failed:
            import_(tmp_path / "damaged.litertlm")
        assert failed.value.returncode == 1 and failed.value.stderr.startswith(f"{code}: "), failed.value.stderr
