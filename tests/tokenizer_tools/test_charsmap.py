"""The double array and the compiled character map: written, read back, and read by SentencePiece."""

import struct

import pytest
import sentencepiece
from charsmap_reader import Charsmap, DoubleArrayReader
from hypothesis import given, settings
from hypothesis import strategies as st
from sentencepiece import sentencepiece_model_pb2

from tokenizer_tools.charsmap import compile_charsmap, deepest_nesting
from tokenizer_tools.double_array import build_double_array

KEYS = st.binary(min_size=1, max_size=6).filter(lambda key: 0 not in key)
FEW = st.lists(st.sampled_from([b"a", b"b", b"ab", b"\xc3", b"\xa9", b" "]), min_size=1, max_size=6).map(b"".join)


@given(st.dictionaries(KEYS | FEW, st.integers(0, 2**31 - 1), min_size=1), st.binary(max_size=20))
def test_double_array_holds_exactly_its_keys(values, text):
    reader = DoubleArrayReader(build_double_array(values))
    assert reader.items() == values
    expected = [(end, values[text[:end]]) for end in range(1, len(text) + 1) if text[:end] in values]
    assert reader.prefixes(text) == expected


def test_large_double_array():
    values = {index.to_bytes(3, "big").replace(b"\0", b"\xfe\xfd"): index for index in range(0, 1 << 24, 577)}
    data = build_double_array(values)
    assert len(data) % 1024 == 0 and len(data) < 16 * len(values)
    assert DoubleArrayReader(data).items() == values


@pytest.mark.parametrize("values", [{}, {b"": 1}, {b"a\0": 1}, {b"a": -1}, {b"a": 2**31}])
def test_double_array_refuses(values):
    with pytest.raises(ValueError):
        build_double_array(values)


@pytest.mark.parametrize("data", [b"", b"abc", bytes(1023)])
def test_no_double_array(data):
    with pytest.raises(ValueError):
        DoubleArrayReader(data)


def test_a_circle_of_nodes_is_no_endless_loop():
    # Node 0 leads to base 1; its child "a" (place 1 ^ 97 = 96) leads back to base 1.
    units = [0] * 256
    units[0] = 1 << 10
    units[96] = (96 ^ 1) << 10 | ord("a")
    with pytest.raises(ValueError, match="circle"):
        DoubleArrayReader(struct.pack("<256I", *units)).items()


REPLACEMENTS = st.dictionaries(KEYS | FEW, st.binary(max_size=6).filter(lambda text: 0 not in text), min_size=1)


@given(REPLACEMENTS, st.lists(FEW | KEYS, max_size=8).map(b"".join))
def test_charsmap_replaces_the_longest_key(replacements, text):
    charsmap = Charsmap(compile_charsmap(replacements))
    assert charsmap.replacements() == replacements
    expected, index = b"", 0
    while index < len(text):
        key = next((text[index:end] for end in range(len(text), index, -1) if text[index:end] in replacements), None)
        expected += text[index : index + 1] if key is None else replacements[key]
        index += len(key or b"x")
    assert charsmap.normalize(text) == expected


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(FEW, FEW.filter(lambda text: text.isascii()), min_size=1, max_size=12),
    st.text(alphabet="ab é中", max_size=12),
)
def test_sentencepiece_reads_it_the_same(replacements, text):
    model = sentencepiece_model_pb2.ModelProto()
    model.trainer_spec.model_type = model.trainer_spec.BPE
    model.pieces.add(piece="<unk>", type=2)
    model.pieces.add(piece="a")
    model.normalizer_spec.precompiled_charsmap = compile_charsmap(replacements)
    for flag in ("add_dummy_prefix", "remove_extra_whitespaces", "escape_whitespaces"):
        setattr(model.normalizer_spec, flag, False)
    processor = sentencepiece.SentencePieceProcessor()
    processor.LoadFromSerializedProto(model.SerializeToString())
    try:
        expected = Charsmap(model.normalizer_spec.precompiled_charsmap).normalize(text.encode()).decode()
    except UnicodeDecodeError:
        return  # a key took part of a character; SentencePiece then writes U+FFFD
    assert processor.normalize(text) == expected


def test_too_deeply_nested_keys_are_refused():
    nested = {b"'" * count: b"x" for count in range(1, 34)}
    assert deepest_nesting(nested) == 33
    with pytest.raises(ValueError, match="33 keys"):
        compile_charsmap(nested)


@pytest.mark.parametrize("data", [b"", b"\0\0\0\0", b"\xff\xff\xff\xff", b"\0\4\0\0" + bytes(100)])
def test_no_charsmap(data):
    with pytest.raises(ValueError):
        Charsmap(data)
