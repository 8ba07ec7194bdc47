"""The METADATA entry of a `.task` bundle: MediaPipe's LlmParameters message, to bytes and back.

Field numbers and types are those of MediaPipe's `llm_params.proto` and `prompt_template.proto`; the byte
format is protobuf's (https://protobuf.dev/programming-guides/encoding/). It is written by hand because the
message is small, and because the generated class is shipped only inside MediaPipe's native library.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator

from bundler.errors import BundleError

# Field numbers of LlmParameters.
_START_TOKEN_ID, _STOP_TOKENS, _START_TOKEN, _NORMALIZATIONS, _PROMPT_TEMPLATE = 4, 5, 6, 7, 8
_PROMPT_TEMPLATES, _STOP_TOKEN_IDS = 17, 18
_BYTES_TO_UNICODE = 1  # enum InputOutputNormalization
# Field numbers of PromptTemplates and of PromptTemplate.
_ROLES = {"user": 1, "model": 2, "system": 3}
_SESSION_PREFIX, _PREFIX, _SUFFIX = 1, 2, 3

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types; 3 and 4 are groups, dead since proto3
_AFTERMATH = "expected a serialized LlmParameters message; build the bundle again"


@dataclass(frozen=True)
class PromptTemplate:
    """Text put before and after one role's part of a prompt."""

    prefix: str = ""
    suffix: str = ""


@dataclass(frozen=True)
class LlmParameters:
    """What a `.task` bundle tells the engine about its model.

    The start token is given as text or as an id, never both: `start_token` must be a piece of the tokenizer,
    else the engine tokenizes it as text. `stop_tokens` end the output; `stop_token_ids` are the same as ids, read
    by LiteRT-LM only. `bytes_to_unicode` makes MediaPipe map text to GPT-2's printable alphabet before tokenizing.
    `system_prompt` is put before the first prompt of a session. `prompt_template` is the deprecated single template
    for older engines: None means the one MediaPipe's bundler derives from `user` and `model`, see `encode`.
    `unknown` holds top-level fields of other versions as (number, bytes with their tag), so that they are not lost.
    """

    start_token: str | None = None
    start_token_id: int | None = None
    stop_tokens: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    bytes_to_unicode: bool = False
    user: PromptTemplate = PromptTemplate()
    model: PromptTemplate = PromptTemplate()
    system: PromptTemplate = PromptTemplate()
    system_prompt: str = ""
    prompt_template: PromptTemplate | None = None
    unknown: tuple[tuple[int, bytes], ...] = ()

    def encode(self) -> bytes:
        """The message as bytes, fields in ascending order: what mediapipe 0.10.35's bundler writes, byte for byte.

        As that bundler does, field 8 repeats for older engines the user's prefix, and the user's suffix with the
        model's prefix joined to it. Raises BundleError for what makes an engine fail later: two start tokens, an
        empty one, no stop token or an empty one, a NUL character, an id outside int32.
        """
        self._check()
        template = self.prompt_template or self._derived_template()
        single = (
            _text(_SESSION_PREFIX, self.system_prompt)
            + _text(_PREFIX, template.prefix)
            + _text(_SUFFIX, template.suffix)
        )
        roles = b"".join(
            _message(number, _text(_PREFIX, role.prefix) + _text(_SUFFIX, role.suffix))
            for role, number in ((getattr(self, name), number) for name, number in _ROLES.items())
        )
        fields = [
            (_STOP_TOKENS, b"".join(_tagged(_STOP_TOKENS, token.encode()) for token in self.stop_tokens)),
            (_PROMPT_TEMPLATE, _message(_PROMPT_TEMPLATE, single)),
            (_PROMPT_TEMPLATES, _message(_PROMPT_TEMPLATES, roles)),
            (_STOP_TOKEN_IDS, _message(_STOP_TOKEN_IDS, b"".join(map(_varint, self.stop_token_ids)))),
            *self.unknown,
        ]
        if self.start_token is not None:
            fields.append((_START_TOKEN, _tagged(_START_TOKEN, self.start_token.encode())))
        if self.start_token_id is not None:
            fields.append((_START_TOKEN_ID, _varint(_START_TOKEN_ID << 3 | _VARINT) + _varint(self.start_token_id)))
        if self.bytes_to_unicode:
            fields.append((_NORMALIZATIONS, _message(_NORMALIZATIONS, _varint(_BYTES_TO_UNICODE))))
        return b"".join(encoded for _, encoded in sorted(fields, key=lambda field: field[0]))

    @classmethod
    def decode(cls, data: bytes) -> LlmParameters:
        """The message in `data`. Raises BundleError if that is no protobuf message; what is odd but readable passes.

        Unknown top-level fields go to `unknown`; unknown fields inside the templates are dropped.
        """
        start_token, start_token_id, normalizations = None, None, []
        stop_tokens, stop_token_ids, unknown, single, roles = [], [], [], bytearray(), bytearray()
        for number, wire, value, raw in _fields(data):
            match number, wire:
                # One of the two: the later one on the wire wins.
                case (4, 0):
                    start_token, start_token_id = None, _int32(value)
                case (6, 2):
                    start_token, start_token_id = _decode_text(value, "start_token"), None
                case (5, 2):
                    stop_tokens.append(_decode_text(value, "stop_tokens"))
                case (7, 0):
                    normalizations.append(value)
                case (7, 2):
                    normalizations += _packed(value)
                # Protobuf merges repeats of a message, which is the same as reading them as one.
                case (8, 2):
                    single += value
                case (17, 2):
                    roles += value
                case (18, 0):
                    stop_token_ids.append(_int32(value))
                case (18, 2):
                    stop_token_ids += map(_int32, _packed(value))
                case _:
                    unknown.append((number, raw))
        unknown += [
            (_NORMALIZATIONS, _varint(_NORMALIZATIONS << 3 | _VARINT) + _varint(value))
            for value in normalizations
            if value != _BYTES_TO_UNICODE
        ]
        bodies = {number: bytearray() for number in _ROLES.values()}
        for number, wire, value, _ in _fields(bytes(roles)):
            if wire == _BYTES and number in bodies:
                bodies[number] += value
        parts = _strings(bytes(single))
        given = PromptTemplate(parts.get(_PREFIX, ""), parts.get(_SUFFIX, ""))
        parameters = dict(
            start_token=start_token,
            start_token_id=start_token_id,
            stop_tokens=tuple(stop_tokens),
            stop_token_ids=tuple(stop_token_ids),
            bytes_to_unicode=_BYTES_TO_UNICODE in normalizations,
            system_prompt=parts.get(_SESSION_PREFIX, ""),
            unknown=tuple(sorted(unknown, key=lambda field: field[0])),
            **{name: _template(bytes(bodies[number])) for name, number in _ROLES.items()},
        )
        derived = cls(**parameters)._derived_template()
        return cls(**parameters, prompt_template=None if given == derived else given)

    def _derived_template(self) -> PromptTemplate:
        return PromptTemplate(self.user.prefix, self.user.suffix + self.model.prefix if self.user.suffix else "")

    def _check(self) -> None:
        if self.start_token is not None and self.start_token_id is not None:
            raise BundleError(
                f"two start tokens: {self.start_token!r} and id {self.start_token_id}; the metadata holds one; give one"
            )
        if self.start_token == "":
            raise BundleError(
                "the start token is empty, which aborts the engine; expected a piece of the tokenizer; "
                "give one such as <|endoftext|>"
            )
        if not self.stop_tokens and not self.stop_token_ids or "" in self.stop_tokens:
            raise BundleError(
                f"stop tokens {list(self.stop_tokens)}; engines need at least one and none of them empty; "
                "give one such as <|endoftext|>"
            )
        texts = [self.start_token or "", *self.stop_tokens, self.system_prompt]
        for template in (self.user, self.model, self.system, self.prompt_template or PromptTemplate()):
            texts += [template.prefix, template.suffix]
        for text in texts:
            # Engines hand these on as C strings: everything after a NUL would be lost in silence.
            if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
                raise BundleError(
                    f"{text!r} in the metadata; expected text without NUL characters or lone surrogates; remove them"
                )
        for token_id in (*self.stop_token_ids, self.start_token_id or 0):
            if not 0 <= token_id < 1 << 31:
                raise BundleError(
                    f"token id {token_id} in the metadata; expected an int32 from 0 up; give a piece's id"
                )


def _varint(value: int) -> bytes:
    encoded = bytearray()
    value &= (1 << 64) - 1  # negative numbers travel as their 64-bit two's complement
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _tagged(number: int, body: bytes) -> bytes:
    return _varint(number << 3 | _BYTES) + _varint(len(body)) + body


def _text(number: int, text: str) -> bytes:
    return _message(number, text.encode())


def _message(number: int, body: bytes) -> bytes:
    # Proto3 leaves an empty string, list or template of ours off the wire.
    return _tagged(number, body) if body else b""


def _fields(data: bytes) -> Iterator[tuple[int, int, int | bytes, bytes]]:
    """Each field of a message: number, wire type, value, and its bytes with the tag."""
    position = 0
    while position < len(data):
        start = position
        tag, position = _read_varint(data, position)
        number, wire = tag >> 3, tag & 7
        if not 0 < number < 1 << 29:
            raise BundleError(f"metadata: field number {number} at byte {start}; {_AFTERMATH}")
        if wire == _VARINT:
            value, position = _read_varint(data, position)
        elif wire in (_FIXED32, _FIXED64, _BYTES):
            length = {_FIXED32: 4, _FIXED64: 8}.get(wire)
            if length is None:
                length, position = _read_varint(data, position)
            if length > len(data) - position:
                raise BundleError(
                    f"metadata: field {number} at byte {start} claims {length} bytes where {len(data) - position} are "
                    "left; " + _AFTERMATH
                )
            value = data[position : position + length]
            position += length
        else:
            raise BundleError(f"metadata: wire type {wire} at byte {start}; {_AFTERMATH}")
        yield number, wire, value, data[start:position]


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    value = 0
    for index, byte in enumerate(data[position : position + 10]):
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return value & (1 << 64) - 1, position + index + 1
    raise BundleError(f"metadata: a number at byte {position} has no end; {_AFTERMATH}")


def _packed(data: bytes) -> list[int]:
    values, position = [], 0
    while position < len(data):
        value, position = _read_varint(data, position)
        values.append(value)
    return values


def _int32(value: int) -> int:
    value &= (1 << 32) - 1
    return value - (1 << 32) if value >> 31 else value


def _decode_text(value: bytes, field: str) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise BundleError(f"metadata: {field} holds {value[:40]!r}, which is not UTF-8; {_AFTERMATH}") from error


def _strings(data: bytes) -> dict[int, str]:
    return {
        number: _decode_text(value, "a prompt template") for number, wire, value, _ in _fields(data) if wire == _BYTES
    }


def _template(data: bytes) -> PromptTemplate:
    parts = _strings(data)
    return PromptTemplate(parts.get(_PREFIX, ""), parts.get(_SUFFIX, ""))
