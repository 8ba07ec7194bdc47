"""The `.litertlm` writer against Google's builder, the metadata round trip, and the reader against hostile files."""

import io
import json
import struct
import tracemalloc
import zlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from litert_lm_builder import litertlm_builder, litertlm_peek

from bundler.containers.litertlm import (
    HF_TOKENIZER_SECTION,
    LLM_METADATA_SECTION,
    MODEL_SECTION,
    SENTENCEPIECE_SECTION,
    read_litertlm,
    write_litertlm,
)
from bundler.containers.llm_metadata import LlmMetadata
from bundler.containers.llm_parameters import PromptTemplate
from bundler.errors import BundleError

METADATA = LlmMetadata(start_token=5, stop_tokens=(5,), max_num_tokens=128)
TOKENIZER = json.dumps({"model": {"type": "BPE", "vocab": {"a": 0}}}).encode()
same_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
ids = st.integers(0, 2**31 - 1)
tokens = st.one_of(ids, texts.filter(bool), st.lists(ids, min_size=2, max_size=4).map(tuple))
templates = st.builds(PromptTemplate, texts, texts)


@pytest.fixture
def good(tmp_path):
    write_litertlm(tmp_path / "good.litertlm", b"model bytes", METADATA, tokenizer_json=TOKENIZER)
    return (tmp_path / "good.litertlm").read_bytes()


def read(tmp_path, data):
    (tmp_path / "hostile.litertlm").write_bytes(data)
    return read_litertlm(tmp_path / "hostile.litertlm")


# --- LlmMetadata


@given(
    st.builds(
        LlmMetadata,
        st.one_of(st.none(), ids, texts.filter(bool)),
        st.lists(tokens, min_size=1, max_size=4).map(tuple),
        st.integers(0, 2**31 - 1),
        templates,
        templates,
        templates,
        texts,
        st.sampled_from(["", "generic_model", "gemma3"]),
    )
)
def test_metadata_round_trip(metadata):
    assert LlmMetadata.decode(metadata.encode()) == metadata


@pytest.mark.parametrize(
    "fields, sentence",
    [
        (dict(stop_tokens=()), "at least one"),
        (dict(stop_tokens=("",)), "empty token"),
        (dict(stop_tokens=((),)), "empty token"),
        (dict(start_token=""), "empty token"),
        (dict(start_token=-1), "token id -1"),
        (dict(start_token=2**31), "2147483648"),
        (dict(start_token=(1, 2)), "first id only"),
        (dict(chat_template="\ud800"), "surrogates"),
        (dict(model_type="gpt2"), "gpt2"),
        (dict(max_num_tokens=2**31), "2147483648"),
    ],
)
def test_metadata_no_engine_takes(fields, sentence):
    with pytest.raises(BundleError, match=sentence):
        LlmMetadata(**{"stop_tokens": (1,), **fields}).encode()


@given(st.binary(max_size=100))
def test_hostile_metadata(data):
    try:
        LlmMetadata.decode(data)
    except BundleError:
        pass


# --- the writer


@pytest.mark.parametrize("size", [1, 16383, 16384, 16385, 100_000])
@pytest.mark.parametrize("kind", ["hugging face", "sentencepiece"])
def test_same_file_as_googles_builder(tmp_path, monkeypatch, size, kind):
    """Byte for byte, once its random id is ours and its time is left out."""
    (tmp_path / "model.tflite").write_bytes(b"m" * size)
    (tmp_path / "metadata.pb").write_bytes(METADATA.encode())
    (tmp_path / "tokenizer.json").write_bytes(TOKENIZER)
    tokenizer = {"tokenizer_json" if kind == "hugging face" else "sentencepiece": tmp_path / "tokenizer.json"}
    write_litertlm(tmp_path / "ours.litertlm", tmp_path / "model.tflite", METADATA, **tokenizer)
    identity = read_litertlm(tmp_path / "ours.litertlm").system_metadata["uuid"]
    monkeypatch.setattr(
        litertlm_builder,
        "populate_system_metadata",
        lambda _: [litertlm_builder.Metadata("uuid", identity, litertlm_builder.DType.STRING)],
    )
    builder = litertlm_builder.LitertLmFileBuilder()
    builder.add_llm_metadata(str(tmp_path / "metadata.pb"))
    add = builder.add_hf_tokenizer if kind == "hugging face" else builder.add_sentencepiece_tokenizer
    add(str(tmp_path / "tokenizer.json"))
    builder.add_tflite_model(str(tmp_path / "model.tflite"), litertlm_builder.TfLiteModelType.PREFILL_DECODE)
    with open(tmp_path / "theirs.litertlm", "wb") as stream:
        builder.build(stream, validate_metadata=True)
    assert (tmp_path / "ours.litertlm").read_bytes() == (tmp_path / "theirs.litertlm").read_bytes()


def test_reads_what_googles_builder_writes_by_itself(tmp_path):
    (tmp_path / "model.tflite").write_bytes(b"m" * 70_000)
    (tmp_path / "metadata.pb").write_bytes(METADATA.encode())
    builder = litertlm_builder.LitertLmFileBuilder()
    for number, dtype in enumerate(litertlm_builder.DType):
        value = "text" if dtype.value == "string" else dtype.value == "bool" or number
        builder.add_system_metadata(litertlm_builder.Metadata(dtype.value, value, dtype))
    builder.add_tflite_model(
        str(tmp_path / "model.tflite"), litertlm_builder.TfLiteModelType.PREFILL_DECODE, backend_constraint="cpu,gpu"
    )
    builder.add_llm_metadata(str(tmp_path / "metadata.pb"))
    with open(tmp_path / "theirs.litertlm", "wb") as stream:
        builder.build(stream)
    file = read_litertlm(tmp_path / "theirs.litertlm")
    assert list(file.system_metadata) == [dtype.value for dtype in litertlm_builder.DType] + [
        "uuid",
        "creation_timestamp",
    ]
    assert file.system_metadata["string"] == "text" and file.system_metadata["bool"] is True
    assert file.sections[0].metadata == {"model_type": "tf_lite_prefill_decode", "backend_constraint": "cpu,gpu"}
    assert file.model().read() == b"m" * 70_000 and file.llm_metadata() == METADATA


def test_googles_peek_reads_ours(tmp_path, good):
    shown = io.StringIO()
    litertlm_peek.peek_litertlm_file(str(tmp_path / "good.litertlm"), None, shown)
    assert "max_num_tokens: 128" in shown.getvalue() and "tf_lite_prefill_decode" in shown.getvalue()


def test_sections_lie_on_16_kib_and_come_back(tmp_path, good):
    file = read_litertlm(tmp_path / "good.litertlm")
    assert [section.type for section in file.sections] == [LLM_METADATA_SECTION, HF_TOKENIZER_SECTION, MODEL_SECTION]
    assert all(section.offset % 16384 == 0 for section in file.sections)
    assert file.version[0] == 1
    assert file.llm_metadata() == METADATA
    assert file.tokenizer_json() == TOKENIZER
    file.copy_section(file.find(MODEL_SECTION), tmp_path / "copy")
    with file.model().map() as view:
        assert file.model().read() == bytes(view) == (tmp_path / "copy").read_bytes() == b"model bytes"


def test_same_arguments_same_bytes_other_arguments_other_id(tmp_path, good):
    (tmp_path / "model").write_bytes(b"model bytes")
    (tmp_path / "tokenizer").write_bytes(TOKENIZER)
    write_litertlm(tmp_path / "b", tmp_path / "model", METADATA, tokenizer_json=tmp_path / "tokenizer")
    assert (tmp_path / "b").read_bytes() == good
    identities = {read_litertlm(tmp_path / "b").system_metadata["uuid"]}
    for model, pairs in ((b"model byteS", {}), (b"model bytes", {"prefer_activation_type": "fp32"})):
        write_litertlm(tmp_path / "c", model, METADATA, tokenizer_json=TOKENIZER, model_metadata=pairs)
        identities.add(read_litertlm(tmp_path / "c").system_metadata["uuid"])
    assert len(identities) == 3
    assert read_litertlm(tmp_path / "c").sections[-1].metadata["prefer_activation_type"] == "fp32"


def test_memory_does_not_grow_with_the_model(tmp_path):
    with open(tmp_path / "model", "wb") as stream:
        stream.truncate(96 << 20)
    tracemalloc.start()
    write_litertlm(tmp_path / "a", tmp_path / "model", METADATA, sentencepiece=b"pieces")
    file = read_litertlm(tmp_path / "a")
    file.copy_section(file.find(MODEL_SECTION), tmp_path / "out")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (tmp_path / "out").stat().st_size == 96 << 20
    assert peak < 8 << 20


def test_a_failed_write_leaves_what_was_there(tmp_path, good):
    with pytest.raises(BundleError, match="gone.*No such file"):
        write_litertlm(tmp_path / "good.litertlm", tmp_path / "gone", METADATA, tokenizer_json=TOKENIZER)
    assert (tmp_path / "good.litertlm").read_bytes() == good
    assert len(list(tmp_path.iterdir())) == 1


def test_empty_model(tmp_path):
    with pytest.raises(BundleError, match="TFLiteModel is empty"):
        write_litertlm(tmp_path / "a", b"", METADATA, tokenizer_json=TOKENIZER)
    assert not list(tmp_path.iterdir())


def test_one_tokenizer_neither_none_nor_two(tmp_path):
    with pytest.raises(BundleError, match="no tokenizer given"):
        write_litertlm(tmp_path / "a", b"", METADATA)
    with pytest.raises(BundleError, match="two tokenizers given"):
        write_litertlm(tmp_path / "a", b"", METADATA, tokenizer_json=b"", sentencepiece=b"")


# --- the reader


@pytest.mark.parametrize(
    "data, sentence",
    [
        (b"", "begins with b''"),
        (b"PK\3\4" + bytes(60), "begins with b'PK"),
        (b"LITERTLM", "begins with"),
        (b"LITERTLM" + struct.pack("<4LQ", 2, 0, 0, 0, 64) + bytes(32), "format version 2.0.0"),
        (b"LITERTLM" + struct.pack("<4LQ", 1, 7, 0, 0, 32), "a header said to end at byte 32"),
        (b"LITERTLM" + struct.pack("<4LQ", 1, 7, 0, 0, 2**63), "a header said to end"),
        (b"LITERTLM" + struct.pack("<4LQ", 1, 7, 0, 0, 64) + bytes(32), "cannot be read"),
        (b"LITERTLM" + struct.pack("<4LQ", 1, 7, 0, 0, 64) + b"\xff" * 32, "cannot be read"),
    ],
)
def test_what_is_no_litertlm(tmp_path, data, sentence):
    with pytest.raises(BundleError, match=sentence):
        read(tmp_path, data)


def test_no_file(tmp_path):
    with pytest.raises(BundleError, match="No such file"):
        read_litertlm(tmp_path / "gone")


def test_truncation(tmp_path, good):
    header_end = struct.unpack_from("<Q", good, 24)[0]
    for length in [*range(0, header_end, 7), 16384, 32768, len(good) - 1]:
        with pytest.raises(BundleError):
            read(tmp_path, good[:length])


@given(st.data())
@settings(same_folder, max_examples=400)
def test_a_changed_header_is_refused_or_read(tmp_path, data):
    if not (tmp_path / "good.litertlm").exists():
        write_litertlm(tmp_path / "good.litertlm", b"model bytes", METADATA, tokenizer_json=TOKENIZER)
    changed = bytearray((tmp_path / "good.litertlm").read_bytes())
    header_end = struct.unpack_from("<Q", changed, 24)[0]
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(8, header_end - 1))
        patch = data.draw(st.binary(min_size=1, max_size=8))[: header_end - at]
        changed[at : at + len(patch)] = patch
    try:
        file = read(tmp_path, bytes(changed))
        for section in file.sections:
            assert len(file.bytes_of(section).read()) == section.size
        file.llm_metadata(), file.tokenizer_json()
    except BundleError:
        pass


def test_list_that_would_take_hours(tmp_path, good):
    # The vector of sections starts with its length, 3, and three offsets: make it two billion sections.
    header_end = struct.unpack_from("<Q", good, 24)[0]
    for at in range(32, header_end - 4, 4):
        if good[at : at + 4] == b"\3\0\0\0":
            with pytest.raises(BundleError, match="a list of 2147483647 elements"):
                read(tmp_path, good[:at] + b"\xff\xff\xff\x7f" + good[at + 4 :])
            return
    raise AssertionError("no vector of three sections in the header")


@pytest.mark.parametrize(
    "patch, sentence",
    [
        ((16384).to_bytes(8, "little"), "inside what ends at"),
        ((2**62).to_bytes(8, "little"), "inside what ends at|sections up to byte"),
    ],
)
def test_sections_that_overlap_or_lie_outside(tmp_path, good, patch, sentence):
    at = good.index((49152).to_bytes(8, "little"))
    with pytest.raises(BundleError, match=sentence):
        read(tmp_path, good[:at] + patch + good[at + 8 :])


@pytest.mark.parametrize(
    "content, sentence",
    [
        (b"", "is not"),
        (b"not zlib at all", "does not decompress"),
        ((5).to_bytes(8, "little") + zlib.compress(b"123456"), "said to be 5 bytes"),
        ((7).to_bytes(8, "little") + zlib.compress(b"123456"), "said to be 7 bytes"),
        ((2**60).to_bytes(8, "little") + zlib.compress(b"1"), "said to be"),
        ((6).to_bytes(8, "little") + zlib.compress(b"123456")[:-1], "is not"),
    ],
)
def test_hostile_compressed_tokenizer(tmp_path, good, content, sentence):
    file = read(tmp_path, good)
    section = file.find(HF_TOKENIZER_SECTION)
    object.__setattr__(section, "size", len(content))
    with open(file.path, "r+b") as stream:
        stream.seek(section.offset)
        stream.write(content)
    with pytest.raises(BundleError, match=sentence):
        file.tokenizer_json()


def test_compressed_tokenizer_that_would_fill_the_memory(tmp_path, good):
    bomb = (100).to_bytes(8, "little") + zlib.compress(bytes(64 << 20))
    write_litertlm(tmp_path / "a", b"m", METADATA, tokenizer_json=TOKENIZER)
    data = bytearray((tmp_path / "a").read_bytes())
    file = read_litertlm(tmp_path / "a")
    section = file.find(HF_TOKENIZER_SECTION)
    data[section.offset :] = bomb
    (tmp_path / "a").write_bytes(data)
    object.__setattr__(section, "size", len(bomb))
    tracemalloc.start()
    with pytest.raises(BundleError, match="said to be 100 bytes"):
        file.tokenizer_json()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 << 20


def test_missing_section_names_those_there_are(tmp_path):
    write_litertlm(tmp_path / "a", b"m", METADATA, sentencepiece=b"pieces")
    file = read_litertlm(tmp_path / "a")
    assert file.bytes_of(file.find(SENTENCEPIECE_SECTION)).read() == b"pieces"
    with pytest.raises(
        BundleError, match="no section HF_Tokenizer_Zlib, only LlmMetadataProto, SP_Tokenizer, TFLiteModel"
    ):
        file.tokenizer_json()
