"""Bundles that others made: litert-torch's exporter and packer, MediaPipe's converter of tokenizers and its bundler."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
from doctor_files import task
from mediapipe_packer import INSTALL, pack_with_mediapipe
from planted_tokenizers import metadata

from bundler.containers.llm_parameters import LlmParameters
from bundler.containers.task import METADATA_ENTRY, MODEL_ENTRY, TOKENIZER_ENTRY
from bundler.doctor.examine import examine
from bundler.tflite.runner import TFLiteGPT2

HERE = Path(__file__).parent
END = "<|endoftext|>"
# What litert-torch makes by itself: the mask inside of the graph, and caches [1, context, heads, head_dim].
DEFAULT = {"mask-inside-graph", "gpu-operators-unsupported", "context-misread"}


@pytest.fixture(scope="session")
def exported(tiny_checkpoint, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    done = subprocess.run(
        [sys.executable, str(HERE / "upstream_export.py"), str(folder), str(tiny_checkpoint / "tokenizer.json")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


@pytest.fixture(scope="session")
def mediapipe_tokenizer(tiny_checkpoint, tmp_path_factory):
    """What MediaPipe's converter makes of the tiny vocabulary: plain Ġ pieces, to be used with its byte mapping."""
    bindings = pytest.importorskip(
        "mediapipe.tasks.python.core.mediapipe_c_bindings", reason=f"needs `{INSTALL}`", exc_type=ImportError
    )
    from mediapipe.tasks.python.genai.converter import llm_converter

    folder = tmp_path_factory.mktemp("mediapipe")
    tokenizer = json.loads((tiny_checkpoint / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"][END] = 399  # in GPT-2's own tokenizer.json it is part of the vocabulary
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "tokenizer_config.json").write_text(json.dumps({"bos_token": END, "eos_token": END, "unk_token": END}))
    library = bindings.load_raw_library(llm_converter._CTYPES_SIGNATURES)
    return Path(llm_converter._LlmConverter(library).convert_bpe_vocab(str(folder), str(folder)))


def codes(path):
    return {finding.code for finding in examine(path).findings}


def session(path):
    """What a session of LiteRT-LM with the file prints."""
    done = subprocess.run(
        [sys.executable, str(HERE / "engine_session.py"), str(path), "def f( x ):", "0", ""],
        capture_output=True,
        text=True,
        errors="replace",
    )
    return done.stdout + done.stderr


def test_litert_torchs_own_export(exported):
    report = examine(exported / "default_f32_ekv64.litertlm")
    assert {finding.code for finding in report.findings} == DEFAULT
    model = report.facts["model"]
    assert model["context"] == {"cache": 64, "LiteRT-LM": 2}  # the number of heads that keys have
    assert (model["embedding_rows"], model["logits_width"], model["layers"], model["prefill_lengths"]) == (
        400,
        400,
        2,
        [16],
    )
    assert report.facts["metadata"]["max_num_tokens"] == 64
    assert "Exceeding the maximum number of tokens allowed" in session(exported / "default_f32_ekv64.litertlm")


def test_litert_torchs_export_with_the_mask_as_an_input(exported):
    report = examine(exported / "mask_f32_ekv64.litertlm")
    assert report.findings == []
    assert report.facts["model"]["context"] == {"cache": 64, "LiteRT-LM": 64}
    assert "WRITTEN" in session(exported / "mask_f32_ekv64.litertlm")


def test_both_exports_run_and_agree(exported):
    """One has the mask inside and the cache the other way round; the weights are the same."""
    tokens, rows = list(range(1, 41)), {}
    for name in ("default", "mask"):
        model = TFLiteGPT2(exported / f"{name}_f32_ekv64.tflite")
        assert (model.context, model.rows) == (64, 400)
        rows[name] = model.along(tokens)
        model.reset()
        model.prefill(tokens[:-1])
        np.testing.assert_allclose(model.decode(tokens[-1]), rows[name][-1], atol=1e-4)
    np.testing.assert_allclose(rows["default"], rows["mask"], atol=1e-4)


def test_weights_of_another_architecture_are_told_apart(exported):
    """Llama: the embedding and the head apart, q, k and v in one matrix, a gated MLP, no biases."""
    weights = examine(exported / "mask_f32_ekv64.tflite").facts["model"]["weights"]
    width, inner, heads, groups, head_dim = 32, 48, 4, 2, 8
    assert weights["embedding"]["bytes"] == weights["head"]["bytes"] == 400 * width * 4
    assert weights["attention"]["bytes"] == 2 * 4 * (width * (heads + 2 * groups) * head_dim + heads * head_dim * width)
    assert weights["mlp"]["bytes"] == 2 * 4 * 3 * width * inner


def test_mediapipes_bundle_with_its_own_tokenizer(exported, mediapipe_tokenizer, tmp_path):
    parameters = LlmParameters(start_token=END, stop_tokens=(END,), bytes_to_unicode=True)
    pack_with_mediapipe(
        tmp_path / "theirs.task", exported / "default_f32_ekv64.tflite", mediapipe_tokenizer, parameters
    )
    report = examine(tmp_path / "theirs.task")
    # Its converter makes the end of text the unknown piece, because GPT-2's configuration names it so.
    assert {finding.code for finding in report.findings} == DEFAULT | {
        "byte-mapping-ignored",
        "unknown-piece-ends-text",
        "embedding-not-on-gpu",
    }
    assert report.facts["provenance"]["maker"].startswith("MediaPipe's bundler")
    assert report.facts["tokenizer"]["byte_alphabet"] and report.facts["tokenizer"]["pieces"] == 400
    assert all(entry["aligned"] and entry["sha256"] for entry in report.facts["entries"])


def test_mediapipes_tokenizer_without_the_mapping(exported, mediapipe_tokenizer, tmp_path):
    model = (exported / "mask_f32_ekv64.tflite").read_bytes()
    path = task(
        tmp_path, {MODEL_ENTRY: model, TOKENIZER_ENTRY: mediapipe_tokenizer.read_bytes(), METADATA_ENTRY: metadata()}
    )
    assert codes(path) == {"byte-mapping-off", "unknown-piece-ends-text", "embedding-not-on-gpu"}
    processor = sentencepiece.SentencePieceProcessor(model_file=str(mediapipe_tokenizer))
    assert processor.encode("a b")[1] == 399  # the space: an end of text in the middle


def test_mediapipes_bundle_around_our_model_and_tokenizer(good, tmp_path):
    pytest.importorskip("mediapipe.tasks.python.genai.bundler", reason=f"needs `{INSTALL}`", exc_type=ImportError)
    (tmp_path / "model.tflite").write_bytes(good.entries()[MODEL_ENTRY])
    pack_with_mediapipe(
        tmp_path / "theirs.task",
        tmp_path / "model.tflite",
        good.tokenizer,
        LlmParameters(start_token=END, stop_tokens=(END,)),
    )
    assert codes(tmp_path / "theirs.task") == set()


@pytest.mark.parametrize("limit", [100, 1 << 31])
def test_the_zip64_form_of_pythons_zipfile(good, tmp_path, monkeypatch, limit):
    """So MediaPipe's bundler writes models of 2 to 4 GiB: with a ZIP64 record though all numbers fit 32 bits. Here the
    limit is lower, or the form
    is asked for."""
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", limit)
    path = tmp_path / "theirs.task"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in good.entries().items():
            archive.fp.write(
                bytes(4 - (archive.fp.tell() + 30 + len(name) + 20) % 4)
            )  # aligned, the ZIP64 field counted
            archive.start_dir = archive.fp.tell()
            with archive.open(zipfile.ZipInfo(name), "w", force_zip64=True) as entry:
                entry.write(data)
    assert (b"PK\6\6" in path.read_bytes()) == (limit == 100)
    assert codes(path) == set()
    assert "WRITTEN" in session(path)


def test_without_an_unknown_piece_sentencepiece_refuses_too(mediapipe_tokenizer, tmp_path):
    """What the converter makes of a vocabulary in which the end of text is only an added token."""
    proto = mediapipe_tokenizer.read_bytes()
    without = bytes(proto).replace(END.encode(), b"x" * len(END)).replace(b"\x18\x02", b"\x18\x01")
    (tmp_path / "without.model").write_bytes(without)
    assert codes(tmp_path / "without.model") == {"unknown-piece-missing"}
    with pytest.raises(RuntimeError, match="unk is not defined"):
        sentencepiece.SentencePieceProcessor(model_proto=without)
