"""The `.task` reader against files that are damaged, cut short or made to deceive."""

import os
import struct
import zipfile
import zlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bundler.containers import task as task_file
from bundler.containers.llm_parameters import LlmParameters
from bundler.containers.task import METADATA_ENTRY, MODEL_ENTRY, TOKENIZER_ENTRY, read_task, write_task
from bundler.errors import BundleError

same_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def bundle():
    metadata = LlmParameters(start_token="<|endoftext|>", stop_tokens=("<|endoftext|>",)).encode()
    return {MODEL_ENTRY: b"model bytes", TOKENIZER_ENTRY: b"tokenizer", METADATA_ENTRY: metadata}


@pytest.fixture
def good(tmp_path):
    write_task(tmp_path / "good.task", bundle())
    return (tmp_path / "good.task").read_bytes()


def refused(tmp_path, data, sentence=None):
    """read_task raises a BundleError that says `sentence`."""
    (tmp_path / "hostile.task").write_bytes(data)
    with pytest.raises(BundleError, match=sentence):
        read_task(tmp_path / "hostile.task")


def test_no_file_and_no_zip(tmp_path):
    with pytest.raises(BundleError, match="No such file"):
        read_task(tmp_path / "gone.task")
    with pytest.raises(BundleError, match="cannot be read"):
        read_task(tmp_path)
    refused(tmp_path, b"", "not a readable ZIP")
    refused(tmp_path, b"TFL3" * 100, "not a readable ZIP")


def test_every_truncation_is_refused(tmp_path, good):
    for length in range(len(good)):
        refused(tmp_path, good[:length])


def test_every_changed_byte_is_refused_or_harmless(tmp_path, good):
    harmless = 0
    for position in range(len(good)):
        changed = bytearray(good)
        changed[position] ^= 0x15
        (tmp_path / "changed.task").write_bytes(changed)
        try:
            file = read_task(tmp_path / "changed.task")
            assert {entry.name: file.read_entry(entry.name) for entry in file.entries} == bundle()
            harmless += 1
        except BundleError:
            pass
    # Padding, dates, versions and attributes carry nothing; the rest of the file is covered by some check.
    assert harmless < len(good) // 3


@given(st.binary(max_size=300))
@same_folder
def test_random_bytes_with_a_zip_ending(tmp_path, data):
    for hostile in (data, data + b"PK\5\6" + data[:18].ljust(18, b"\0")):
        (tmp_path / "random.task").write_bytes(hostile)
        try:
            file = read_task(tmp_path / "random.task")
            assert file.entries == ()  # an empty ZIP is a ZIP
        except BundleError:
            pass


def test_changed_data_fails_its_crc_in_every_checked_way(tmp_path, good):
    (tmp_path / "bad.task").write_bytes(good.replace(b"model bytes", b"model bytez"))
    file = read_task(tmp_path / "bad.task")
    for read in (
        lambda: file.read_entry(MODEL_ENTRY),
        lambda: file.check_entry(MODEL_ENTRY),
        lambda: file.copy_entry(MODEL_ENTRY, tmp_path / "copy"),
    ):
        with pytest.raises(BundleError, match="damaged: its bytes have CRC-32"):
            read()
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize("name", ["..", "../METADATA", "a/b", "C:x", "a\\b", "new\nline"])
def test_names_that_could_be_paths(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "made.task", "w") as archive:
        archive.writestr(zipfile.ZipInfo(name), b"x")
    refused(tmp_path, (tmp_path / "made.task").read_bytes(), "could be a path")


def test_two_entries_of_one_name(tmp_path):
    with pytest.warns(UserWarning), zipfile.ZipFile(tmp_path / "made.task", "w") as archive:
        archive.writestr("METADATA", b"x")
        archive.writestr("METADATA", b"y")
    refused(tmp_path, (tmp_path / "made.task").read_bytes(), "'METADATA': there are two entries of this name")


def test_entries_that_share_bytes(tmp_path):
    local = task_file._local_header("A", zlib.crc32(b"x"), 1, False) + b"x"
    directory = 2 * task_file._central_header("A", zlib.crc32(b"x"), 1, 0, 99)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 2, 2, len(directory), len(local), 0)
    refused(tmp_path, local + directory + end, "'A': begins at byte 0, inside A, which ends at 32")


def test_entry_that_reaches_into_the_directory(tmp_path):
    local = task_file._local_header("A", 0, 60, False) + bytes(10)
    directory = task_file._central_header("A", 0, 60, 0, 99)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, len(directory), len(local), 0)
    refused(tmp_path, local + directory + end, "ends at byte 91, inside the directory that begins at 41")


def test_local_header_that_contradicts_the_directory(tmp_path, good):
    at = good.index(MODEL_ENTRY.encode())
    refused(tmp_path, good[:at] + b"X" + good[at + 1 :], "'TF_LITE_PREFILL_DECODE': the local header names b'XF_LITE")
    refused(
        tmp_path,
        good[: at - 8] + b"\1" + good[at - 7 :],
        "the local header says 1 bytes and CRC 75aedc2d, the directory 11",
    )


def test_encrypted_entry(tmp_path, good):
    changed = bytearray(good)
    for offset in (good.index(b"PK\3\4") + 6, good.index(b"PK\1\2") + 8):
        changed[offset] |= 1
    refused(tmp_path, bytes(changed), "encrypted")


def test_compressed_entry_is_shown_but_not_read(tmp_path):
    with zipfile.ZipFile(tmp_path / "made.task", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(MODEL_ENTRY, bytes(1000))
    file = read_task(tmp_path / "made.task")
    assert file.entry(MODEL_ENTRY).compressed and not file.entry(MODEL_ENTRY).sound
    with pytest.raises(BundleError, match="is compressed; engines map it"):
        file.section(MODEL_ENTRY)


def test_misaligned_entry_is_shown(tmp_path):
    with zipfile.ZipFile(tmp_path / "made.task", "w") as archive:
        archive.writestr("A", b"x")  # data at 30 + 1
    assert read_task(tmp_path / "made.task").entries[0].aligned is False


def test_absurd_metadata_is_not_loaded(tmp_path):
    with open(tmp_path / "large", "wb") as stream:
        stream.truncate(2 << 20)
    write_task(tmp_path / "a.task", {**bundle(), METADATA_ENTRY: tmp_path / "large"})
    with pytest.raises(BundleError, match="METADATA of 2097152 bytes"):
        read_task(tmp_path / "a.task").parameters()


def test_file_cut_after_it_was_opened(tmp_path, good):
    file = read_task(tmp_path / "good.task")
    os.truncate(tmp_path / "good.task", 60)
    with pytest.raises(BundleError, match="bytes early"):
        file.read_entry(METADATA_ENTRY)
    with pytest.raises(BundleError, match="cannot be mapped"), file.section(METADATA_ENTRY).map():
        pass
