"""The `.task` writer's bytes, its promises about memory and half files, and the reader's ways to an entry."""

import errno
import os
import struct
import tracemalloc
import zipfile
import zlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bundler.containers import task as task_file
from bundler.containers.llm_parameters import LlmParameters
from bundler.containers.task import METADATA_ENTRY, MODEL_ENTRY, TOKENIZER_ENTRY, read_task, write_task
from bundler.errors import BundleError
from bundler.system.file_section import FileSection

PARAMETERS = LlmParameters(start_token="<|endoftext|>", stop_tokens=("<|endoftext|>",))
# The tests write only inside tmp_path and overwrite the same names, so one folder serves all examples.
same_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def bundle(model=b"model bytes", **extra):
    return {MODEL_ENTRY: model, TOKENIZER_ENTRY: b"tokenizer", METADATA_ENTRY: PARAMETERS.encode(), **extra}


@pytest.fixture
def good(tmp_path):
    write_task(tmp_path / "good.task", bundle())
    return (tmp_path / "good.task").read_bytes()


# --- the writer


def test_first_bytes_are_what_the_web_engine_looks_for(good):
    assert good[:8] == b"\0\0\0\0PK\3\4"


@given(st.lists(st.binary(max_size=40), min_size=3, max_size=6), st.sampled_from([1, 60, 0xFFFFFFFF]))
@same_folder
def test_what_is_written_is_read_by_us_and_by_zipfile(tmp_path, contents, zip64_from):
    entries = dict(zip([MODEL_ENTRY, TOKENIZER_ENTRY, METADATA_ENTRY, "MANIFEST", "a.b", "Z9"], contents))
    write_task(tmp_path / "a.task", entries, zip64_from=zip64_from)
    file = read_task(tmp_path / "a.task")
    assert [entry.name for entry in file.entries] == list(entries)
    raw = (tmp_path / "a.task").read_bytes()
    end = 0
    with zipfile.ZipFile(tmp_path / "a.task") as archive:
        assert archive.testzip() is None
        for info, entry in zip(archive.infolist(), file.entries):
            assert (entry.size, entry.crc) == (len(entries[entry.name]), zlib.crc32(entries[entry.name]))
            assert entry.aligned and entry.sound and not entry.compressed
            assert entry.offset % 4 == 0
            padding = raw[end : info.header_offset]
            assert 1 <= len(padding) <= 4 and not any(padding)
            end = entry.offset + entry.size
            assert raw[entry.offset : end] == file.read_entry(entry.name) == archive.read(info) == entries[entry.name]
            assert (info.date_time, info.compress_type, info.flag_bits) == (
                (1980, 1, 1, 0, 0, 0),
                zipfile.ZIP_STORED,
                0,
            )


def test_files_and_bytes_give_the_same_bundle_every_time(tmp_path, good):
    entries = bundle()
    for name, content in entries.items():
        (tmp_path / name).write_bytes(content)
        os.utime(tmp_path / name, (1e9, 1e9))
    write_task(tmp_path / "b.task", {name: tmp_path / name for name in entries})
    assert (tmp_path / "b.task").read_bytes() == good


def test_zip64_records_where_they_are_needed_and_nowhere_else(tmp_path):
    write_task(tmp_path / "plain.task", bundle(bytes(500)), zip64_from=10_000)
    write_task(tmp_path / "wide.task", bundle(bytes(500)), zip64_from=400)
    assert b"PK\6\6" not in (tmp_path / "plain.task").read_bytes()
    assert b"PK\6\6" in (tmp_path / "wide.task").read_bytes()
    assert read_task(tmp_path / "wide.task").read_entry(MODEL_ENTRY) == bytes(500)
    assert [entry.size for entry in read_task(tmp_path / "wide.task").entries] == [500, 9, 30]


def test_default_threshold_is_the_largest_plain_zip_field():
    assert task_file._local_header("A", 0, 0xFFFFFFFE, 0xFFFFFFFE >= task_file.ZIP64_FROM)[18:22] == b"\xfe\xff\xff\xff"
    # Five gigabytes in the directory: the 32-bit field says "see the extra field", which holds the number.
    record = task_file._central_header("A", 0, 5 << 30, 6 << 30, task_file.ZIP64_FROM)
    assert record[20:28] == b"\xff" * 8 and record[42:46] == b"\xff" * 4
    assert struct.unpack("<2H3Q", record[47:]) == (1, 24, 5 << 30, 5 << 30, 6 << 30)


def test_memory_does_not_grow_with_the_model(tmp_path):
    with open(tmp_path / "model", "wb") as stream:
        stream.truncate(96 << 20)  # sparse: takes no disk here
    tracemalloc.start()
    write_task(tmp_path / "a.task", bundle(tmp_path / "model"))
    read_task(tmp_path / "a.task").copy_entry(MODEL_ENTRY, tmp_path / "out")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (tmp_path / "out").stat().st_size == 96 << 20
    assert peak < 8 << 20


@pytest.mark.parametrize("failure", [KeyboardInterrupt, OSError(errno.ENOSPC, "No space left on device")])
def test_a_failed_write_leaves_what_was_there_and_nothing_else(tmp_path, monkeypatch, failure):
    (tmp_path / "a.task").write_bytes(b"the old bundle")

    def fail(*_):
        raise failure

    monkeypatch.setattr(task_file, "_write_directory", fail)
    expected, sentence = (BundleError, "No space left") if isinstance(failure, OSError) else (KeyboardInterrupt, None)
    with pytest.raises(expected, match=sentence):
        write_task(tmp_path / "a.task", bundle())
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.task"]
    assert (tmp_path / "a.task").read_bytes() == b"the old bundle"


def test_the_bundle_is_on_disk_before_it_has_its_name(tmp_path, monkeypatch):
    calls, fsync, rename = [], os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: calls.append("fsync") or fsync(descriptor))
    monkeypatch.setattr(os, "replace", lambda *names: calls.append("rename") or rename(*names))
    write_task(tmp_path / "a.task", bundle())
    assert calls[:2] == ["fsync", "rename"]


def test_a_source_that_shrinks_while_it_is_copied(tmp_path):
    (tmp_path / "model").write_bytes(b"short")
    with pytest.raises(BundleError, match="ends 4 bytes early"):
        write_task(tmp_path / "a.task", bundle(FileSection(tmp_path / "model", 0, 9)))
    assert not (tmp_path / "a.task").exists()


@pytest.mark.parametrize(
    "entries, sentence",
    [
        ({MODEL_ENTRY: b"", METADATA_ENTRY: b"", TOKENIZER_ENTRY: b""}, "in this order"),
        ({}, "in this order"),
        (bundle(**{"../evil": b""}), "evil"),
        (bundle(**{"": b""}), "expected letters"),
        (bundle(**{"Ġ": b""}), "expected letters"),
    ],
)
def test_entries_no_reader_would_find(tmp_path, entries, sentence):
    with pytest.raises(BundleError, match=sentence):
        write_task(tmp_path / "a.task", entries)


def test_missing_source_and_missing_folder(tmp_path):
    with pytest.raises(BundleError, match="gone.*No such file"):
        write_task(tmp_path / "a.task", bundle(tmp_path / "gone"))
    with pytest.raises(BundleError, match="expected a writable folder"):
        write_task(tmp_path / "nowhere" / "a.task", bundle())


# --- the reader


def test_the_ways_to_an_entrys_bytes_agree(tmp_path, good):
    file = read_task(tmp_path / "good.task")
    file.copy_entry(TOKENIZER_ENTRY, tmp_path / "copy")
    with file.section(TOKENIZER_ENTRY).map() as view:
        assert (
            file.read_entry(TOKENIZER_ENTRY)
            == (tmp_path / "copy").read_bytes()
            == file.section(TOKENIZER_ENTRY).read()
            == bytes(view)
            == b"tokenizer"
        )
    assert file.parameters() == PARAMETERS


@pytest.mark.parametrize("offset", [0, 1, 4095, 4096, 4097, 70_000])
@pytest.mark.parametrize("size", [0, 1, 5000])
def test_a_mapped_section_begins_and_ends_anywhere(tmp_path, offset, size):
    content = os.urandom(offset + size + 10)
    (tmp_path / "whole").write_bytes(content)
    with FileSection(tmp_path / "whole", offset, size).map() as view:
        assert bytes(view) == content[offset : offset + size]
        assert view.readonly


def test_absent_entry_names_those_there_are(tmp_path, good):
    with pytest.raises(BundleError, match="no entry LORA, only TF_LITE_PREFILL_DECODE, TOKENIZER_MODEL, METADATA"):
        read_task(tmp_path / "good.task").entry("LORA")
