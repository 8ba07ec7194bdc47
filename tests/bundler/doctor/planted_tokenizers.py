"""Ways to break a good bundle's metadata, tokenizer and manifest: finding -> functions of (good files, folder) that
give a broken file.
"""

import json
import zlib

from doctor_files import edited_tokenizer, litertlm
from planted_containers import END, plants, with_entries, write

from bundler.containers.litertlm import LLM_METADATA_SECTION, SENTENCEPIECE_SECTION
from bundler.containers.llm_metadata import LlmMetadata
from bundler.containers.llm_parameters import LlmParameters


def metadata(**fields):
    return LlmParameters(**{"start_token": END, "stop_tokens": (END,), **fields}).encode()


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


def with_tokenizer_json(good, folder, change):
    """The .litertlm after `change(its tokenizer.json)`."""
    first, (type, pairs, data), last = good.sections()
    tokenizer = json.loads(zlib.decompress(data[8:]))
    change(tokenizer)
    text = json.dumps(tokenizer).encode()
    return litertlm(folder, [first, (type, pairs, len(text).to_bytes(8, "little") + zlib.compress(text)), last])


def splitting(pattern):
    """Changes a tokenizer.json to one that splits by `pattern`."""

    def change(tokenizer):
        split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
        tokenizer["pre_tokenizer"] = {
            "type": "Sequence",
            "pretokenizers": [split, {**tokenizer["pre_tokenizer"], "use_regex": False}],
        }

    return change


@plants("tokenizer-unreadable")
def unknown_part_of_a_sequence(good, folder):
    def change(tokenizer):
        tokenizer["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [{"type": "Nobody"}]}

    return with_tokenizer_json(good, folder, change)


@plants("tokenizer-regex-refused")
def parenthesis_left_open(good, folder):
    return with_tokenizer_json(good, folder, splitting(r"(\s+"))


@plants("tokenizer-regex-refused")
def regex_for_oniguruma(good, folder):
    r"""What Hugging Face's Python library takes: \X, a whole grapheme."""
    return with_tokenizer_json(good, folder, splitting(r"\X"))


@plants("tokenizer-decoder-missing")
def no_decoder(good, folder):
    return with_tokenizer_json(good, folder, lambda tokenizer: tokenizer.update(decoder=None))


@plants("max-tokens-too-few")
def room_for_the_start_token_alone(good, folder):
    changed = LlmMetadata(start_token=399, stop_tokens=(399,), max_num_tokens=2).encode()
    return litertlm(folder, [(LLM_METADATA_SECTION, {}, changed), *good.sections()[1:]])


@plants("max-tokens-under-context")
def half_of_the_context(good, folder):
    changed = LlmMetadata(start_token=399, stop_tokens=(399,), max_num_tokens=48).encode()
    return litertlm(folder, [(LLM_METADATA_SECTION, {}, changed), *good.sections()[1:]])


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
            piece.type = 2 if piece.piece == b"<|endoftext|>" else 5 if piece.type == 2 else piece.type

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
            piece.type = 4 if piece.piece == b"<|endoftext|>" else piece.type

    return with_entries(good, folder, TOKENIZER_MODEL=edited_tokenizer(good.tokenizer.read_bytes(), change))


@plants("special-token-is-text")
def end_of_text_cannot_be_typed(good, folder):
    def change(proto):
        proto.normalizer_spec.precompiled_charsmap = b""

    return with_entries(good, folder, TOKENIZER_MODEL=edited_tokenizer(good.tokenizer.read_bytes(), change))


@plants("manifest-unreadable")
def manifest_of_noise(good, folder):
    return with_entries(good, folder, MANIFEST=b"not JSON")


@plants("tokenizer-not-the-built")
def tokenizer_exchanged(good, folder):
    def change(proto):
        proto.normalizer_spec.name = b"exchanged"

    return with_entries(good, folder, TOKENIZER_MODEL=edited_tokenizer(good.tokenizer.read_bytes(), change))


@plants("manifest-contradicts")
def map_of_tensors_beyond_the_model(good, folder):
    manifest = json.loads(good.entries()["MANIFEST"])
    manifest["lora"]["tensors"][0]["data"] = 1 << 40
    return with_entries(good, folder, MANIFEST=json.dumps(manifest).encode())
