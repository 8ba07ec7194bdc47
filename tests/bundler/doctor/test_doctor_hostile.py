"""Files made to keep a reader busy, to fill its memory, or to make it write: each is refused at once, and nothing is
unpacked.
"""

import io
import json
import os
import random
import re
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import flatbuffers
import numpy as np
import pytest
import sentencepiece
import tokenizers
from ai_edge_litert import schema_py_generated as schema
from doctor_files import edited_tokenizer, litertlm, plain_zip, task
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from planted_containers import write

from bundler.containers.litertlm import HF_TOKENIZER_SECTION
from bundler.doctor import sentencepiece_file
from bundler.doctor.examine import examine
from bundler.doctor.tokenizer_facts import TokenizerFacts
from bundler.doctor.tokenizer_json import read_tokenizer_json
from bundler.tflite.flatbuffer import Damaged, Flatbuffer
from bundler.tflite.model import read_model

SECONDS, MEGABYTES = 2.0, 1024


def codes(path):
    return {finding.code for finding in examine(path).findings}


def within_limits(path):
    """The codes found in a process of its own, which may take two seconds and a gigabyte."""
    # VmHWM is this program's peak; ru_maxrss begins with that of the process it was forked from.
    program = (
        "import json, re, sys, time; from pathlib import Path; from bundler.doctor.examine import examine; started = "
        "time.perf_counter(); "
        "found = [finding.code for finding in examine(Path(sys.argv[1])).findings]; "
        "print(json.dumps([found, time.perf_counter() - started, int(re.search(r'VmHWM:\\s*(\\d+)', "
        "Path('/proc/self/status').read_text())[1]) / 1024]))"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True)
    codes, seconds, megabytes = json.loads(done.stdout)
    assert megabytes < MEGABYTES
    assert (
        seconds < 10 * SECONDS
    )  # not a measurement, which benchmarks/doctor_fuzz.py makes: it only tells a loop from a busy machine
    return set(codes)


def test_nothing_is_unpacked(good, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = plain_zip(
        tmp_path, [("../outside", b"x"), ("/absolute/path", b"x"), ("C:\\windows", b"x"), *good.entries().items()]
    )
    before = sorted(tmp_path.rglob("*")), sorted(tmp_path.parent.iterdir())
    assert "entry-name-path" in codes(path)
    assert (sorted(tmp_path.rglob("*")), sorted(tmp_path.parent.iterdir())) == before


def test_a_bomb_inside_the_tokenizer(good, tmp_path):
    first, (type, pairs, _), last = good.sections()
    bomb = (1 << 30).to_bytes(8, "little") + zlib.compress(bytes(1 << 26), 9)
    path = litertlm(tmp_path, [first, (type, pairs, bomb), last])
    assert "tokenizer-unreadable" in within_limits(path)


@pytest.mark.parametrize(
    "text",
    [
        b"[" * 5_000_000,
        b"[" + b"[]," * 5_000_000 + b"[]]",
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b'{"model": {"vocab": {"a": 1e999}}}',
        b'{"model": {"vocab": {"\\ud800": 0}, "merges": []}}',
    ],
)
def test_json_that_would_fill_the_memory(good, tmp_path, text):
    first, (type, pairs, _), last = good.sections()
    path = litertlm(
        tmp_path, [first, (HF_TOKENIZER_SECTION, {}, len(text).to_bytes(8, "little") + zlib.compress(text)), last]
    )
    within_limits(path)


def test_four_thousand_entries_that_are_one(tmp_path):
    """Each entry of the directory is the whole file: hashing all of them would read it four thousand times."""
    data = bytes(1 << 20)
    local = (
        struct.pack("<4s5H3L2H", b"PK\3\4", 20, 0, 0, 0, 0x21, zlib.crc32(data), len(data), len(data), 1, 0)
        + b"A"
        + data
    )
    record = (
        struct.pack(
            "<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, 0, 0, 0x21, zlib.crc32(data), len(data), len(data), 1, 0, 0, 0, 0, 0, 0
        )
        + b"A"
    )
    count = 4000
    path = write(
        tmp_path,
        "one.task",
        local
        + record * count
        + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, len(record) * count, len(local), 0),
    )
    assert {"entry-overlap", "entry-duplicated"} <= within_limits(path)


def shared_model(graphs, tensors, operators, inputs):
    """A TFLite file in which one tensor, one operator and one graph are listed as often as asked for, and the
    operator's inputs are many.
    """
    builder = flatbuffers.Builder(1 << 20)

    def repeated(start, item, count):
        start(builder, count)
        for _ in range(count):
            builder.PrependUOffsetTRelative(item)
        return builder.EndVector()

    indices = builder.CreateNumpyVector(np.zeros(inputs, np.int32))
    schema.TensorStart(builder)
    schema.TensorAddShape(builder, indices if inputs < 16 else 0)
    tensor_list = repeated(schema.SubGraphStartTensorsVector, schema.TensorEnd(builder), tensors)
    schema.OperatorStart(builder)
    schema.OperatorAddInputs(builder, indices)
    operator_list = repeated(schema.SubGraphStartOperatorsVector, schema.OperatorEnd(builder), operators)
    schema.SubGraphStart(builder)
    schema.SubGraphAddTensors(builder, tensor_list)
    schema.SubGraphAddOperators(builder, operator_list)
    graph_list = repeated(schema.ModelStartSubgraphsVector, schema.SubGraphEnd(builder), graphs)
    schema.OperatorCodeStart(builder)
    codes = repeated(schema.ModelStartOperatorCodesVector, schema.OperatorCodeEnd(builder), 1)
    schema.BufferStart(builder)
    buffers = repeated(schema.ModelStartBuffersVector, schema.BufferEnd(builder), 1)
    schema.ModelStart(builder)
    schema.ModelAddVersion(builder, 3)
    schema.ModelAddOperatorCodes(builder, codes)
    schema.ModelAddSubgraphs(builder, graph_list)
    schema.ModelAddBuffers(builder, buffers)
    builder.Finish(schema.ModelEnd(builder), b"TFL3")
    return bytes(builder.Output())


@pytest.mark.parametrize(
    "counts", [(100_000, 100_000, 1, 1), (2, 100_000, 100_000, 4), (1, 1, 100_000, 100_000), (1, 1, 2, 500_000)]
)
def test_tables_that_share_everything(tmp_path, counts):
    """10^10 tensors in a megabyte, to whoever believes it."""
    path = write(tmp_path, "shared.tflite", shared_model(*counts))
    assert within_limits(path) & {"model-unreadable", "signatures-missing"}


def test_a_model_of_overlapping_tables(tmp_path):
    """100,000 tensors, each at a place of its own, four bytes after the one before."""
    data = bytearray(shared_model(1, 100_000, 1, 1))
    model = schema.Model.GetRootAs(data, 0)
    graph = model.Subgraphs(0)
    first = graph._tab.Vector(graph._tab.Offset(4))
    vtable = len(data)
    data += struct.pack("<2H", 4, 4)
    for index in range(100_000):
        place = len(data)
        data += struct.pack("<i", place - vtable)
        struct.pack_into("<I", data, first + 4 * index, place - (first + 4 * index))
    assert "signatures-missing" in within_limits(write(tmp_path, "many.tflite", bytes(data)))


def flat(words):
    return struct.pack(f"<{len(words)}I", *words)


def test_lists_longer_than_the_file_are_refused():
    for words in ([8, 0, 0xFFFFFFFF], [4, 4, 0x7FFFFFFF, 0]):
        with pytest.raises(Damaged):
            list(Flatbuffer(flat(words)).root().tables(0))


@given(st.binary(max_size=400))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_random_bytes_are_a_model_or_damaged(data):
    for hostile in (data, data[:4] + b"TFL3" + data[8:]):
        try:
            read_model(memoryview(hostile))
        except Damaged:
            pass


@given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=8))
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_sentencepiece_loads_what_is_not_complained_of(changes):
    data = bytearray(_small_tokenizer())
    for at, byte in changes:
        data[at % len(data)] = byte
    facts = sentencepiece_file.read_sentencepiece(bytes(data))
    if isinstance(facts, TokenizerFacts) and not facts.findings:
        assert sentencepiece.SentencePieceProcessor(model_proto=bytes(data)).get_piece_size() == facts.size


def test_the_tokenizers_library_loads_what_is_not_complained_of(tiny_checkpoint):
    text = json.dumps(json.loads((tiny_checkpoint / "tokenizer.json").read_text()), separators=(",", ":")).encode()
    accepted = 0
    for seed in range(1000):
        chance, data = random.Random(seed), bytearray(text)
        at = chance.choice((chance.randrange(len(data)), chance.randrange(900)))
        match chance.randrange(3):
            case 0:
                data[at] = chance.randrange(32, 127)
            case 1:
                del data[at : at + chance.choice((1, 5, 20))]
            case 2:
                data[at:at] = chance.choice((b'"', b",", b"{}", b"null", b"1", b"[]"))
        if isinstance(read_tokenizer_json(bytes(data), ""), TokenizerFacts):
            tokenizers.Tokenizer.from_str(data.decode())
            accepted += 1
    assert 50 < accepted < 500


_KEPT = []


def _small_tokenizer():
    if not _KEPT:
        model = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(["a few words for a few pieces"] * 5),
            model_writer=model,
            vocab_size=40,
            hard_vocab_limit=False,
            normalization_rule_name="identity",
            minloglevel=2,
        )
        _KEPT.append(model.getvalue())
    return _KEPT[0]


@pytest.mark.parametrize(
    "defect, refusal",
    [
        (lambda proto: proto.pieces.add(piece=b""), "must not be empty"),
        (lambda proto: proto.pieces.add(piece=proto.pieces[5].piece), "already defined"),
        (lambda proto: proto.pieces.add(piece=b"<0x41>", type=6), "byte piece"),
        (lambda proto: setattr(proto.trainer_spec, "byte_fallback", True), "256 byte pieces"),
        (lambda proto: setattr(proto.pieces[0], "type", 1), "unk is not defined"),
        (lambda proto: setattr(proto.pieces[4], "type", 2), "unk is already defined"),
        (lambda proto: setattr(proto.normalizer_spec, "precompiled_charsmap", b"\xff\xff\xff\xffabcd"), "."),
    ],
)
def test_what_sentencepiece_refuses_is_found(defect, refusal):
    broken = edited_tokenizer(_small_tokenizer(), defect)
    facts = sentencepiece_file.read_sentencepiece(broken)
    assert facts.findings
    with pytest.raises((RuntimeError, OSError), match=refusal):
        sentencepiece.SentencePieceProcessor(model_proto=broken)


def test_names_that_would_drive_a_terminal(good, tmp_path):
    path = plain_zip(tmp_path, [("\x1b[2J[bold red]\u202e", b"x"), *good.entries().items()])
    done = subprocess.run([sys.executable, "-m", "bundler", "doctor", str(path)], capture_output=True, text=True)
    assert done.returncode == 3
    assert "\x1b" not in done.stdout + done.stderr and "\u202e" not in done.stdout and "[bold red]" in done.stdout


LONG = b"9" * 5000  # Python's int() reads no more than 4300 digits


def test_numbers_of_thousands_of_digits(good, tmp_path):
    first, _, last = good.sections()
    for text in (
        b'{"model": {"vocab": {"a": %s}, "merges": []}}' % LONG,
        b'{"version": %s}' % LONG,
        b'{"model": {"vocab": {"a": %s}}}' % LONG[:4000],
    ):
        section = (HF_TOKENIZER_SECTION, {}, len(text).to_bytes(8, "little") + zlib.compress(text))
        assert "tokenizer-unreadable" in codes(litertlm(tmp_path, [first, section, last]))
    manifest = good.entries()["MANIFEST"]
    for name in (b'"context": ', b'"rows": ', b'"layers": ', b'"width": ', b'"data": ', b'"format": '):
        for digits in (LONG, LONG[:4000], b"-" + LONG[:4000], LONG[:300] + b"e300"):
            broken = re.sub(re.escape(name) + rb"\d+", name + digits, manifest)
            assert broken != manifest
            report = examine(task(tmp_path, {**good.entries(), "MANIFEST": broken}))
            json.dumps(report.as_dict(), allow_nan=False)
            assert {finding.code for finding in report.findings} & {
                "manifest-unreadable",
                "manifest-contradicts",
                "max-tokens-over-context",
            }
    adapter = good.adapter.read_bytes()
    at = adapter.index(b'"layers": 2')
    length = struct.unpack_from("<I", adapter, adapter.index(b'{"format"') - 4)[0]
    begin = adapter.index(b'{"format"')
    header = adapter[begin : begin + length]
    # In the place of the header's other fields, so that no byte moves.
    filled = b'{"layers": ' + b"9" * (length - 12) + b"}"
    assert begin < at < begin + length and len(filled) == len(header)
    assert "adapter-unreadable" in codes(write(tmp_path, "long.tflite", adapter.replace(header, filled)))


def test_a_list_of_hashes_made_to_keep_a_reader_busy(good, tmp_path):
    path, sums = write(tmp_path, "sound.task", good.task.read_bytes()), tmp_path / "SHA256SUMS"
    with open(sums, "wb") as stream:
        stream.truncate(1 << 40)  # takes no room on the disk
    assert within_limits(path) == {"sha256sums-unreadable"}
    sums.unlink()
    os.mkfifo(sums)
    assert within_limits(path) == {"sha256sums-unreadable"}
    sums.unlink()
    sums.symlink_to("SHA256SUMS")
    assert within_limits(path) == {"sha256sums-unreadable"}
    sums.unlink()
    sums.mkdir()
    assert within_limits(path) == {"sha256sums-unreadable"}


def test_thousands_of_damaged_files(good, tmp_path):
    """A small part of what benchmarks/doctor_fuzz.py does."""
    for name in ("task", "litertlm", "lora_task", "lora_litertlm", "adapter", "tokenizer"):
        source = getattr(good, name)
        write(tmp_path, f"{name}{source.suffix}", source.read_bytes())
    done = subprocess.run(
        [sys.executable, "benchmarks/doctor_fuzz.py", str(tmp_path), "--trials", "600", "--seed", "7", "--json"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).resolve().parents[3],
    )
    result = json.loads(done.stdout)
    assert (result["crashes"], result["hangs"], result["disagreements"], result["trials"]) == ([], [], [], 600)
    assert result["peak_mb"] < MEGABYTES
    assert result["outcomes"]["error"] > 300
