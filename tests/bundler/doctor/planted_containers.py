"""Ways to break a good bundle's container: finding -> functions of (good files, folder) that give a broken file."""

import hashlib
import struct
import zipfile
import zlib

from ai_edge_litert import schema_py_generated as schema
from doctor_files import PAGE, Good, aligned_zip, litertlm, plain_zip, task

from bundler.containers import task as task_file
from bundler.containers.litertlm import HF_TOKENIZER_SECTION
from bundler.containers.task import METADATA_ENTRY, MODEL_ENTRY, TOKENIZER_ENTRY

END = "<|endoftext|>"
PLANTED: list[tuple[str, callable]] = []


def plants(code):
    def register(function):
        PLANTED.append((code, function))
        return function

    return register


def write(folder, name, data):
    (folder / name).write_bytes(data)
    return folder / name


def patched(folder, source, *changes):
    """A copy in which at each place other bytes stand."""
    data = bytearray(source.read_bytes())
    for at, new in changes:
        data[at : at + len(new)] = new
    return write(folder, f"broken{source.suffix}", data)


def place(source, mark, which=0):
    """Where `mark` stands in a file, for the time `which`."""
    data, at = source.read_bytes(), -1
    for _ in range(which + 1):
        at = data.index(mark, at + 1)
    return at


def with_entries(good: Good, folder, of="task", **changes):
    return task(folder, {**good.entries(of), **changes})


@plants("not-a-known-file")
def web_page(good, folder):
    return write(folder, "model.task", b"<!DOCTYPE html><html><body>404 Not Found</body></html>")


@plants("file-truncated")
def half_a_download(good, folder):
    return write(folder, "half.task", good.task.read_bytes()[:200_000])


@plants("file-truncated")
def empty_file(good, folder):
    return write(folder, "empty.task", b"")


@plants("file-truncated")
def litertlm_cut_in_its_header(good, folder):
    return write(folder, "cut.litertlm", good.litertlm.read_bytes()[:100])


@plants("name-of-another-kind")
def task_named_litertlm(good, folder):
    return write(folder, "broken.litertlm", good.task.read_bytes())


@plants("name-of-another-kind")
def litertlm_named_task(good, folder):
    return write(folder, "broken.task", good.litertlm.read_bytes())


@plants("name-unknown-to-engine")
def task_named_bin(good, folder):
    return write(folder, "broken.bin", good.task.read_bytes())


@plants("name-unknown-to-engine")
def litertlm_in_capitals(good, folder):
    return write(folder, "BROKEN.LITERTLM", good.litertlm.read_bytes())


@plants("sha256sums-differ")
def three_bits_of_the_weights(good, folder):
    """A .litertlm has no checksums of its own."""
    data = bytearray(good.litertlm.read_bytes())
    (folder / "SHA256SUMS").write_text(f"# made by hand\n{hashlib.sha256(data).hexdigest()}  broken.litertlm\n")
    for at in (-1000, -2000, -3000):
        data[at] ^= 4
    return write(folder, "broken.litertlm", data)


@plants("sha256sums-unreadable")
def sums_of_noise(good, folder):
    (folder / "SHA256SUMS").write_bytes(b"\xff\x1b[2J\n")
    return write(folder, "sound.task", good.task.read_bytes())


@plants("zip-directory-damaged")
def zip64_record_of_another_directory(good, folder):
    """Readers that go by the ZIP64 record, as engines do, and those that do not would find different entries."""
    data = good.task.read_bytes()
    at = data.index(b"PK\5\6")
    count, size, start = struct.unpack_from("<H2L", data, at + 10)
    record = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, count - 1, count - 1, size, start)
    return write(folder, "broken.task", data[:at] + record + struct.pack("<4sLQL", b"PK\6\7", 0, at, 1) + data[at:])


@plants("zip-directory-damaged")
def one_entry_too_many_announced(good, folder):
    at = place(good.task, b"PK\5\6")
    return patched(folder, good.task, (at + 8, b"\5\0\5\0"))


@plants("entry-compressed")
def everything_deflated(good, folder):
    return plain_zip(folder, list(good.entries().items()), zipfile.ZIP_DEFLATED)


@plants("zip-bomb")
def bomb_beside_the_model(good, folder):
    path = task(folder, good.entries())
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("EXTRA", bytes(1 << 25))
    return path


@plants("entry-encrypted")
def encryption_flag(good, folder):
    return patched(
        folder, good.task, (place(good.task, b"PK\3\4") + 6, b"\1"), (place(good.task, b"PK\1\2") + 8, b"\1")
    )


@plants("entry-misaligned")
def five_bytes_more_in_a_header(good, folder):
    return aligned_zip(folder, list(good.entries().items()), first_extra=b"\xfe\xca\1\0\0")


@plants("entry-missing")
def no_metadata(good, folder):
    return aligned_zip(folder, [(name, data) for name, data in good.entries().items() if name != METADATA_ENTRY])


@plants("entry-duplicated")
def two_tokenizers(good, folder):
    return aligned_zip(folder, [*good.entries().items(), (TOKENIZER_ENTRY, b"another")])


@plants("entry-overlap")
def entry_inside_another(good, folder):
    inner = task_file._local_header("INNER", zlib.crc32(b"data"), 4, False) + b"data"
    path = with_entries(good, folder, OUTER=b"...." + inner + b"....")
    data, at = path.read_bytes(), place(path, inner)
    end = data.rindex(b"PK\5\6")
    _, _, _, _, count, size, start, _ = struct.unpack("<4s4H2LH", data[end:])
    record = task_file._central_header("INNER", zlib.crc32(b"data"), 4, at, 1 << 40)
    return write(
        folder,
        path.name,
        data[:end]
        + record
        + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count + 1, count + 1, size + len(record), start, 0),
    )


@plants("entry-outside-file")
def size_beyond_the_file(good, folder):
    sizes = struct.pack("<2L", 1 << 30, 1 << 30)
    return patched(
        folder, good.task, (place(good.task, b"PK\3\4") + 18, sizes), (place(good.task, b"PK\1\2") + 20, sizes)
    )


@plants("entry-name-path")
def name_that_climbs(good, folder):
    return aligned_zip(folder, [*good.entries().items(), ("../../evil.so", b"x")])


@plants("entry-header-mismatch")
def another_name_in_the_local_header(good, folder):
    return patched(folder, good.task, (place(good.task, MODEL_ENTRY.encode()), b"X"))


@plants("entry-checksum-wrong")
def one_bit_of_the_model(good, folder):
    data, model = good.task.read_bytes(), good.entries()[MODEL_ENTRY]
    root = schema.Model.GetRootAs(model, 0)
    buffers = (root.Buffers(index) for index in range(root.BuffersLength()))
    weights = max((buffer.DataAsNumpy().tobytes() for buffer in buffers if buffer.DataLength()), key=len)
    at = data.index(weights) + len(weights) // 2
    return patched(folder, good.task, (at, bytes([data[at] ^ 1])))


@plants("web-start-bytes")
def no_padding_in_front(good, folder):
    return plain_zip(folder, list(good.entries().items()))


@plants("container-version-unsupported")
def version_2(good, folder):
    return patched(folder, good.litertlm, (8, b"\2"))


@plants("container-header-unreadable")
def header_that_points_outside(good, folder):
    return patched(folder, good.litertlm, (32, b"\xff\xff\xff\x7f"))


@plants("section-missing")
def no_tokenizer_section(good, folder):
    return litertlm(folder, [section for section in good.sections() if section[0] != HF_TOKENIZER_SECTION])


@plants("section-duplicated")
def two_metadata_sections(good, folder):
    return litertlm(folder, [good.sections()[0], *good.sections()])


@plants("section-overlap")
def tokenizer_inside_the_metadata(good, folder):
    return litertlm(folder, good.sections(), shift={1: -PAGE})


@plants("section-outside-file")
def litertlm_cut_in_its_model(good, folder):
    return write(folder, "cut.litertlm", good.litertlm.read_bytes()[:100_000])


@plants("section-misaligned")
def model_not_on_a_page(good, folder):
    return litertlm(folder, good.sections(), shift={2: 64})
