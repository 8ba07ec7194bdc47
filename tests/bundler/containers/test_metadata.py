"""LlmParameters against MediaPipe's bytes, against Google's protobuf library, and against hostile bytes."""

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import example, given
from hypothesis import strategies as st

from bundler.containers.llm_parameters import LlmParameters, PromptTemplate
from bundler.errors import BundleError

END = "<|endoftext|>"

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
templates = st.builds(PromptTemplate, texts, texts)
ids = st.integers(0, 2**31 - 1)
starts = st.one_of(
    st.just({}),
    st.builds(lambda text: {"start_token": text}, texts.filter(bool)),
    st.builds(lambda number: {"start_token_id": number}, ids),
)
parameters = st.builds(
    lambda start, **rest: LlmParameters(**start, **rest),
    starts,
    stop_tokens=st.lists(texts.filter(bool), min_size=1, max_size=4).map(tuple),
    stop_token_ids=st.lists(ids, max_size=4).map(tuple),
    bytes_to_unicode=st.booleans(),
    user=templates,
    model=templates,
    system=templates,
    system_prompt=texts,
)


def _message_class():
    """LlmParameters as Google's library builds it from the field numbers of llm_params.proto."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="llm_params.proto", package="reference", syntax="proto3")

    def message(name, *fields):
        described = file.message_type.add(name=name)
        for name, number, kind, label, inner in fields:
            described.field.add(
                name=name, number=number, type=kind, label=label, type_name=inner and f".reference.{inner}"
            )
        return described

    single, many = field.LABEL_OPTIONAL, field.LABEL_REPEATED
    message(
        "PromptTemplate",
        *(
            (name, number, field.TYPE_STRING, single, None)
            for name, number in (("session_prefix", 1), ("prompt_prefix", 2), ("prompt_suffix", 3))
        ),
    )
    message(
        "PromptTemplates",
        *(
            (name, number, field.TYPE_MESSAGE, single, "PromptTemplate")
            for name, number in (("user", 1), ("model", 2), ("system", 3))
        ),
    )
    described = message(
        "LlmParameters",
        ("vocab_size", 2, field.TYPE_INT32, single, None),
        ("start_token_id", 4, field.TYPE_INT32, single, None),
        ("stop_tokens", 5, field.TYPE_STRING, many, None),
        ("start_token", 6, field.TYPE_STRING, single, None),
        ("input_output_normalizations", 7, field.TYPE_INT32, many, None),
        ("prompt_template", 8, field.TYPE_MESSAGE, single, "PromptTemplate"),
        ("user_role_token", 11, field.TYPE_STRING, single, None),
        ("prompt_templates", 17, field.TYPE_MESSAGE, single, "PromptTemplates"),
        ("stop_token_ids", 18, field.TYPE_INT32, many, None),
    )
    described.oneof_decl.add(name="start_token_union")
    for member in described.field:
        if member.name in ("start_token", "start_token_id"):
            member.oneof_index = 0
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("reference.LlmParameters"))


Reference = _message_class()


def test_the_bytes_mediapipe_writes_for_gpt2():
    encoded = LlmParameters(start_token=END, stop_tokens=(END,), bytes_to_unicode=True).encode()
    assert encoded == b"\x2a\x0d<|endoftext|>\x32\x0d<|endoftext|>\x3a\x01\x01"
    assert len(encoded) == 33


def test_the_deprecated_template_repeats_user_and_model_as_mediapipe_does():
    encoded = LlmParameters(stop_tokens=("x",), user=PromptTemplate("a", "b"), model=PromptTemplate("c", "d")).encode()
    assert encoded == bytes.fromhex("2a0178 4207 120161 1a026263 8a0110 0a06 120161 1a0162 1206 120163 1a0164")
    # Without a user suffix the model's prefix has no suffix to be joined to.
    assert b"\x42" not in LlmParameters(stop_tokens=("x",), model=PromptTemplate("c", "d")).encode()


@given(parameters)
def test_decode_undoes_encode(value):
    assert LlmParameters.decode(value.encode()) == value


@given(parameters)
def test_googles_library_reads_the_same(value):
    message = Reference.FromString(value.encode())
    assert message.SerializeToString() == value.encode()
    assert (message.start_token or None, tuple(message.stop_tokens)) == (value.start_token, value.stop_tokens)
    assert message.WhichOneof("start_token_union") != "start_token_id" or message.start_token_id == value.start_token_id
    assert tuple(message.stop_token_ids) == value.stop_token_ids
    assert list(message.input_output_normalizations) == [1] * value.bytes_to_unicode
    for role in ("user", "model", "system"):
        template = getattr(message.prompt_templates, role)
        assert PromptTemplate(template.prompt_prefix, template.prompt_suffix) == getattr(value, role)
    assert message.prompt_template.session_prefix == value.system_prompt


def test_reads_what_googles_library_writes_and_keeps_fields_it_does_not_know():
    message = Reference(
        vocab_size=50257,
        stop_tokens=["a", ""],
        start_token="",
        user_role_token="U",
        stop_token_ids=[-1, 7],
        input_output_normalizations=[1, 9],
    )
    message.prompt_template.prompt_prefix = "only here"
    decoded = LlmParameters.decode(message.SerializeToString())
    assert (decoded.start_token, decoded.stop_tokens, decoded.stop_token_ids) == ("", ("a", ""), (-1, 7))
    assert decoded.bytes_to_unicode and decoded.prompt_template == PromptTemplate("only here")
    assert [number for number, _ in decoded.unknown] == [2, 7, 11]
    kept = LlmParameters(stop_tokens=("a",), prompt_template=decoded.prompt_template, unknown=decoded.unknown).encode()
    back = Reference.FromString(kept)
    assert (back.vocab_size, back.user_role_token, back.prompt_template.prompt_prefix) == (50257, "U", "only here")
    assert list(back.input_output_normalizations) == [9]


def test_repeats_on_the_wire_merge_as_in_protobuf():
    pieces = [Reference(stop_tokens=["a"], start_token="x"), Reference(start_token_id=3, stop_tokens=["b"])]
    pieces[0].prompt_templates.user.prompt_prefix, pieces[1].prompt_templates.user.prompt_suffix = "p", "s"
    pieces[0].prompt_template.session_prefix, pieces[1].prompt_template.prompt_suffix = "once", "legacy"
    decoded = LlmParameters.decode(b"".join(piece.SerializeToString() for piece in pieces))
    assert (decoded.system_prompt, decoded.prompt_template) == ("once", PromptTemplate("", "legacy"))
    assert (decoded.start_token, decoded.start_token_id, decoded.stop_tokens) == (None, 3, ("a", "b"))
    assert decoded.user == PromptTemplate("p", "s")


@given(st.binary(max_size=200))
@example(b"\xff" * 30)
@example(b"\x2a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")
@example(b"\x92\x01\x01\x80")
def test_hostile_bytes_are_refused_or_read(data):
    try:
        LlmParameters.decode(data)
    except BundleError:
        pass


@given(parameters, st.data())
def test_a_valid_message_cut_or_changed_is_refused_or_read(value, data):
    encoded = bytearray(value.encode())
    position = data.draw(st.integers(0, len(encoded) - 1))
    encoded[position] = data.draw(st.integers(0, 255))
    for hostile in (bytes(encoded), bytes(encoded[:position])):
        try:
            LlmParameters.decode(hostile)
        except BundleError:
            pass


@pytest.mark.parametrize(
    "data, sentence",
    [
        (b"\x2a\x0dshort", "claims 13 bytes where 5 are left"),
        (b"\x32\x02\xc3\x28", "not UTF-8"),
        (b"\x80" * 11, "has no end"),
        (b"\x0b", "wire type 3"),
        (b"\x00\x00", "field number 0"),
    ],
)
def test_damage_is_named(data, sentence):
    with pytest.raises(BundleError, match=sentence):
        LlmParameters.decode(data)


def test_hostile_repeats_cost_time_in_proportion_to_their_size():
    decoded = LlmParameters.decode(b"\x42\x03\x12\x01a" * 200_000)
    assert decoded.prompt_template == PromptTemplate("a")


@pytest.mark.parametrize(
    "fields, sentence",
    [
        (dict(start_token=""), "start token is empty"),
        (dict(start_token=END, start_token_id=0), "two start tokens"),
        (dict(stop_tokens=()), "at least one"),
        (dict(stop_tokens=("a", "")), "none of them empty"),
        (dict(start_token="a\0b"), "NUL"),
        (dict(user=PromptTemplate(suffix="\ud800")), "surrogates"),
        (dict(stop_token_ids=(2**31,)), "2147483648"),
        (dict(start_token_id=-1), "token id -1"),
    ],
)
def test_what_fails_in_an_engine_is_refused_here(fields, sentence):
    with pytest.raises(BundleError, match=sentence):
        LlmParameters(**{"stop_tokens": (END,), **fields}).encode()
