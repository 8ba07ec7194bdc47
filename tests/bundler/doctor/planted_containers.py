"""Ways to break a good bundle's container, metadata and tokenizer: finding -> functions of (good files, folder) that give a broken file."""

import json
import struct
import zipfile
import zlib

from doctor_files import PAGE, Good, aligned_zip, edited_tokenizer, litertlm, plain_zip, task

from bundler import task_file
from bundler.litertlm_file import HF_TOKENIZER_SECTION, LLM_METADATA_SECTION, SENTENCEPIECE_SECTION
from bundler.llm_metadata import LlmMetadata
from bundler.metadata import LlmParameters
from bundler.task_file import METADATA, MODEL, TOKENIZER

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
        data[at:at + len(new)] = new
    return write(folder, f"broken{source.suffix}", data)


def place(source, mark, which=0):
    """Where `mark` stands in a file, for the time `which`."""
    data, at = source.read_bytes(), -1
    for _ in range(which + 1):
        at = data.index(mark, at + 1)
    return at


def with_entries(good: Good, folder, of="task", **changes):
    return task(folder, {**good.entries(of), **changes})


def metadata(**fields):
    return LlmParameters(**{"start_token": END, "stop_tokens": (END,), **fields}).encode()


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
    return patched(folder, good.task, (place(good.task, b"PK\3\4") + 6, b"\1"), (place(good.task, b"PK\1\2") + 8, b"\1"))


@plants("entry-misaligned")
def five_bytes_more_in_a_header(good, folder):
    return aligned_zip(folder, list(good.entries().items()), first_extra=b"\xfe\xca\1\0\0")


@plants("entry-missing")
def no_metadata(good, folder):
    return aligned_zip(folder, [(name, data) for name, data in good.entries().items() if name != METADATA])


@plants("entry-duplicated")
def two_tokenizers(good, folder):
    return aligned_zip(folder, [*good.entries().items(), (TOKENIZER, b"another")])


@plants("entry-overlap")
def entry_inside_another(good, folder):
    inner = task_file._local_header("INNER", zlib.crc32(b"data"), 4, False) + b"data"
    path = with_entries(good, folder, OUTER=b"...." + inner + b"....")
    data, at = path.read_bytes(), place(path, inner)
    end = data.rindex(b"PK\5\6")
    _, _, _, _, count, size, start, _ = struct.unpack("<4s4H2LH", data[end:])
    record = task_file._central_header("INNER", zlib.crc32(b"data"), 4, at, 1 << 40)
    return write(folder, path.name, data[:end] + record + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count + 1, count + 1, size + len(record), start, 0))


@plants("entry-outside-file")
def size_beyond_the_file(good, folder):
    sizes = struct.pack("<2L", 1 << 30, 1 << 30)
    return patched(folder, good.task, (place(good.task, b"PK\3\4") + 18, sizes), (place(good.task, b"PK\1\2") + 20, sizes))


@plants("entry-name-path")
def name_that_climbs(good, folder):
    return aligned_zip(folder, [*good.entries().items(), ("../../evil.so", b"x")])


@plants("entry-header-mismatch")
def another_name_in_the_local_header(good, folder):
    return patched(folder, good.task, (place(good.task, MODEL.encode()), b"X"))


@plants("entry-checksum-wrong")
def one_bit_of_the_model(good, folder):
    data = good.task.read_bytes()
    at = data.index(b"TFL3") + 60_000  # among the weights
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


@plants("metadata-unreadable")
def metadata_of_noise(good, folder):
    return with_entries(good, folder, METADATA=b"\xff\xff\xff")


@plants("metadata-unreadable")
def litertlm_metadata_of_noise(good, folder):
    return litertlm(folder, [(LLM_METADATA_SECTION, {}, b"\xff\xff\xff"), *good.sections()[1:]])


@plants("start-token-missing")
def no_start_token(good, folder):
    return with_entries(good, folder, METADATA=metadata(start_token=None))


@plants("start-token-unknown")
def start_token_of_another_model(good, folder):
    return with_entries(good, folder, METADATA=metadata(start_token="<bos>"))


@plants("start-token-unknown")
def start_id_outside_of_the_vocabulary(good, folder):
    changed = LlmMetadata(start_token=50256, stop_tokens=(399,)).encode()
    return litertlm(folder, [(LLM_METADATA_SECTION, {}, changed), *good.sections()[1:]])


@plants("stop-token-missing")
def no_stop_token(good, folder):
    return with_entries(good, folder, METADATA=b"\x32\x0d" + END.encode())


@plants("stop-token-unknown")
def stop_token_of_another_model(good, folder):
    return with_entries(good, folder, METADATA=metadata(stop_tokens=("</s>",)))


@plants("stop-id-out-of-range")
def stop_id_outside_of_the_vocabulary(good, folder):
    changed = LlmMetadata(start_token=399, stop_tokens=(50256,)).encode()
    return litertlm(folder, [(LLM_METADATA_SECTION, {}, changed), *good.sections()[1:]])


@plants("token-empty")
def empty_start_token(good, folder):
    return with_entries(good, folder, METADATA=b"\x2a\x0d" + END.encode() + b"\x32\x00")


@plants("max-tokens-over-context")
def context_of_4096_promised(good, folder):
    changed = LlmMetadata(start_token=399, stop_tokens=(399,), max_num_tokens=4096).encode()
    return litertlm(folder, [(LLM_METADATA_SECTION, {}, changed), *good.sections()[1:]])


@plants("tokenizer-unreadable")
def tokenizer_of_noise(good, folder):
    return with_entries(good, folder, TOKENIZER_MODEL=b"\xff" * 100)


@plants("tokenizer-unreadable")
def a_piece_twice(good, folder):
    def change(proto):
        proto.pieces[300].piece = proto.pieces[301].piece
    return with_entries(good, folder, TOKENIZER_MODEL=edited_tokenizer(good.tokenizer.read_bytes(), change))


@plants("tokenizer-unreadable")
def damaged_zlib(good, folder):
    first, (type, pairs, data), last = good.sections()
    return litertlm(folder, [first, (type, pairs, data[:500] + bytes(200) + data[700:]), last])


@plants("tokenizer-unreadable")
def merge_of_an_unknown_token(good, folder):
    first, (type, pairs, data), last = good.sections()
    tokenizer = json.loads(zlib.decompress(data[8:]))
    tokenizer["model"]["merges"].append(["no such", "token"])
    text = json.dumps(tokenizer).encode()
    return litertlm(folder, [first, (type, pairs, len(text).to_bytes(8, "little") + zlib.compress(text)), last])


@plants("unknown-piece-missing")
def no_unknown_piece(good, folder):
    def change(proto):
        for piece in proto.pieces:
            piece.type = 1 if piece.type == 2 else piece.type
    return write(folder, "broken.model", edited_tokenizer(good.tokenizer.read_bytes(), change))


@plants("unknown-piece-ends-text")
def end_of_text_is_the_unknown_piece(good, folder):
    def change(proto):
        for piece in proto.pieces:
            piece.type = {2: 5, 3: 2}.get(piece.type, piece.type)
    return write(folder, "broken.model", edited_tokenizer(good.tokenizer.read_bytes(), change))


@plants("piece-ids-beyond-embedding")
def tokenizer_of_a_larger_model(good, folder):
    def change(proto):
        for number in range(10):
            proto.pieces.add(piece=f"piece {number}".encode(), type=4)
    return with_entries(good, folder, TOKENIZER_MODEL=edited_tokenizer(good.tokenizer.read_bytes(), change))


@plants("byte-mapping-off")
def mapped_pieces_and_no_mapping(good, folder):
    return with_entries(good, folder, TOKENIZER_MODEL=good.mapped_tokenizer)


@plants("byte-mapping-off")
def mapped_pieces_in_a_litertlm(good, folder):
    first, _, last = good.sections()
    return litertlm(folder, [first, (SENTENCEPIECE_SECTION, {}, good.mapped_tokenizer), last])


@plants("byte-mapping-unwanted")
def mapping_and_raw_pieces(good, folder):
    return with_entries(good, folder, METADATA=metadata(bytes_to_unicode=True))


@plants("byte-mapping-ignored")
def mapping_and_mapped_pieces(good, folder):
    return with_entries(good, folder, TOKENIZER_MODEL=good.mapped_tokenizer, METADATA=metadata(bytes_to_unicode=True))


@plants("special-piece-in-text")
def end_of_text_can_be_typed(good, folder):
    def change(proto):
        for piece in proto.pieces:
            piece.type = 4 if piece.type == 3 else piece.type
    return with_entries(good, folder, TOKENIZER_MODEL=edited_tokenizer(good.tokenizer.read_bytes(), change))


@plants("manifest-unreadable")
def manifest_of_noise(good, folder):
    return with_entries(good, folder, MANIFEST=b"not JSON")


@plants("manifest-contradicts")
def tokenizer_exchanged(good, folder):
    def change(proto):
        proto.normalizer_spec.name = b"exchanged"
    return with_entries(good, folder, TOKENIZER_MODEL=edited_tokenizer(good.tokenizer.read_bytes(), change))


@plants("manifest-contradicts")
def map_of_tensors_beyond_the_model(good, folder):
    manifest = json.loads(good.entries()["MANIFEST"])
    manifest["lora"]["tensors"][0]["data"] = 1 << 40
    return with_entries(good, folder, MANIFEST=json.dumps(manifest).encode())
