"""The LiteRT-LM `.litertlm` container: a flatbuffer header, then sections on 16 KiB boundaries.

The header schema and the LlmMetadata message are the generated classes of Google's litert-lm-builder. Its file
writer is not used: it stamps each file with a random id and the time. docs/CONTAINERS.md explains the bytes.
"""

from __future__ import annotations

import hashlib
import struct
import uuid
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Iterable, Mapping, NamedTuple

import flatbuffers
from litert_lm_builder import litertlm_core as core
from litert_lm_builder import litertlm_header_schema_py_generated as schema

from bundler.containers.llm_metadata import LlmMetadata
from bundler.errors import BundleError
from bundler.system.atomic_file import replacing
from bundler.system.file_section import FileSection
from bundler.tflite.flatbuffer import Damaged, Flatbuffer, Table

MODEL_SECTION, LLM_METADATA_SECTION = "TFLiteModel", "LlmMetadataProto"
HF_TOKENIZER_SECTION, SENTENCEPIECE_SECTION = "HF_Tokenizer_Zlib", "SP_Tokenizer"
# Our own key of the model's section: which base adapters have to be of. Engines pass over keys they do not know.
BASE_FINGERPRINT = "base_fingerprint"
# JSON, in the model's section beside a SentencePiece model with alias ids: see tokenizer_tools/aliases.py
ALIASES = "alias_of"
PREFILL_DECODE = "tf_lite_prefill_decode"  # the model_type under which the engine looks for an LLM

HEADER_LIMIT = 1 << 20  # bytes; real headers take about one kilobyte
_TOKENIZER_LIMIT = 1 << 28  # bytes a compressed tokenizer may unfold to; GPT-2's takes 1.4 MB
_METADATA_LIMIT = 1 << 20  # bytes
_TYPE_NAMES = {number: name for name, number in vars(schema.AnySectionDataType).items() if isinstance(number, int)}
_VALUE_TYPES = {number: name for name, number in vars(schema.VData).items() if isinstance(number, int)}
# Types of values in key-value pairs -> the code of their number in a struct. Slots are those of
# litertlm_header_schema.fbs.
_NUMBERS = {
    "Bool": "?",
    "UInt8": "B",
    "Int8": "b",
    "UInt16": "H",
    "Int16": "h",
    "UInt32": "I",
    "Int32": "i",
    "Float32": "f",
    "UInt64": "Q",
    "Int64": "q",
    "Double": "d",
}


@dataclass(frozen=True)
class LitertLmSection:
    """One section: its type's name in the schema, its place in the file (bytes), and its key-value pairs."""

    type: str
    offset: int
    size: int
    metadata: dict[str, str | int | float | bool]


@dataclass(frozen=True)
class LitertLmFile:
    """The header of a `.litertlm` file, decoded; the sections' data stays on disk."""

    path: Path
    version: tuple[int, int, int]
    system_metadata: dict[str, str | int | float | bool]
    sections: tuple[LitertLmSection, ...]

    def find(self, type: str, model_type: str | None = None) -> LitertLmSection | None:
        """The first section of a type, and of a `model_type` if one is given."""
        for section in self.sections:
            if section.type == type and model_type in (None, section.metadata.get("model_type")):
                return section
        return None

    def bytes_of(self, section: LitertLmSection) -> FileSection:
        """Where the section's bytes are: open, map, read or stream them from there."""
        return FileSection(self.path, section.offset, section.size, section.type)

    def model(self) -> FileSection:
        """The prefill/decode model. Raises BundleError if there is none."""
        return self.bytes_of(self._required(MODEL_SECTION, PREFILL_DECODE))

    def llm_metadata(self) -> LlmMetadata:
        """Start and stop tokens and the rest. Raises BundleError if they are missing or damaged."""
        section = self._required(LLM_METADATA_SECTION)
        if section.size > _METADATA_LIMIT:
            raise _damaged(self.path, f"LlmMetadata of {section.size} bytes")
        return LlmMetadata.decode(self.bytes_of(section).read())

    def tokenizer_json(self) -> bytes:
        """The Hugging Face tokenizer, uncompressed. Raises BundleError if it is missing or damaged."""
        section = self._required(HF_TOKENIZER_SECTION)
        if section.size > _TOKENIZER_LIMIT:
            raise _damaged(self.path, f"a tokenizer of {section.size} bytes")
        data = self.bytes_of(section).read()
        size, unfolder = int.from_bytes(data[:8], "little"), zlib.decompressobj()
        try:
            # Asking for one byte more than announced bounds the memory and shows a wrong size.
            json = unfolder.decompress(data[8:], min(size, _TOKENIZER_LIMIT) + 1)
        except zlib.error as error:
            raise _damaged(self.path, f"a tokenizer that does not decompress ({error})") from error
        if len(json) != size or not unfolder.eof:
            raise _damaged(self.path, f"a tokenizer said to be {size} bytes that is not")
        return json

    def copy_section(self, section: LitertLmSection, destination: Path) -> None:
        """Stream a section, as it is in the file, into a file of its own."""
        with replacing(Path(destination)) as stream:
            for chunk in self.bytes_of(section).chunks():
                stream.write(chunk)

    def _required(self, type: str, model_type: str | None = None) -> LitertLmSection:
        section = self.find(type, model_type)
        if section is None:
            raise BundleError(
                f"{self.path}: no section {type}{f' of model_type {model_type}' if model_type else ''}, only "
                f"{', '.join(section.type for section in self.sections) or 'none at all'}; "
                "expected an LLM's .litertlm; check that this is the right file"
            )
        return section


def write_litertlm(
    path: Path,
    model: Path | bytes | FileSection,
    metadata: LlmMetadata,
    *,
    tokenizer_json: Path | bytes | None = None,
    sentencepiece: Path | bytes | None = None,
    model_metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a `.litertlm` file whose bytes are a function of the arguments alone.

    `model` is a TFLite file, or one inside another file, streamed through; give one of `tokenizer_json` (Hugging Face;
    exact, compressed here) and `sentencepiece`. `model_metadata` adds text pairs to the model's section. The file's
    uuid is a hash of the sections, so two different files never share one; no time is written. Raises BundleError;
    `path` is then as it was.
    """
    if (tokenizer_json is None) == (sentencepiece is None):
        raise BundleError(
            f"{path}: {'no tokenizer' if tokenizer_json is None else 'two tokenizers'} given; "
            "a .litertlm holds one; give tokenizer_json or sentencepiece"
        )
    if tokenizer_json is not None:
        json = b"".join(_chunks(tokenizer_json))
        tokenizer = (HF_TOKENIZER_SECTION, {}, len(json).to_bytes(8, "little") + zlib.compress(json))
    else:
        tokenizer = (SENTENCEPIECE_SECTION, {}, sentencepiece)
    planned = [
        (LLM_METADATA_SECTION, {}, metadata.encode()),
        tokenizer,
        (MODEL_SECTION, {"model_type": PREFILL_DECODE, **(model_metadata or {})}, model),
    ]
    # The header's length does not depend on the offsets and the id that are known only at the end.
    header_size = len(_header([(type, pairs, 1, 1) for type, pairs, _ in planned], uuid.UUID(int=0)))
    placed, digest = [], hashlib.sha256()
    with replacing(Path(path)) as stream:
        end = core.HEADER_BEGIN_BYTE_OFFSET + header_size
        for type, pairs, source in planned:
            begin = -(-end // core.BLOCK_SIZE) * core.BLOCK_SIZE
            stream.seek(begin)
            for chunk in _chunks(source):
                stream.write(chunk)
                digest.update(chunk)
            end = stream.tell()
            if end == begin:
                raise BundleError(f"{path}: {type} is empty; expected bytes to bundle; check the file given for it")
            digest.update(f"{type} {pairs} {end - begin}".encode())
            placed.append((type, pairs, begin, end))
        header = _header(placed, uuid.UUID(bytes=digest.digest()[:16], version=5))
        assert len(header) == header_size
        stream.seek(0)
        stream.write(core.HEADER_MAGIC_BYTES)
        stream.write(
            struct.pack(
                "<4LQ",
                core.LITERTLM_MAJOR_VERSION,
                core.LITERTLM_MINOR_VERSION,
                core.LITERTLM_PATCH_VERSION,
                0,
                core.HEADER_BEGIN_BYTE_OFFSET + header_size,
            )
        )
        stream.write(header)


def read_litertlm(path: Path) -> LitertLmFile:
    """The header of a `.litertlm` file; section data is not read.

    Raises BundleError for anything else and for a damaged one: cut short, another major version, an unreadable
    header, sections that overlap or lie outside the file.
    """
    path = Path(path)
    try:
        with open(path, "rb") as stream:
            file_size = stream.seek(0, 2)
            stream.seek(0)
            fixed = stream.read(core.HEADER_BEGIN_BYTE_OFFSET)
            if fixed[:8] != core.HEADER_MAGIC_BYTES or len(fixed) < core.HEADER_BEGIN_BYTE_OFFSET:
                raise BundleError(
                    f"{path}: begins with {fixed[:8]!r}; a .litertlm file begins with {core.HEADER_MAGIC_BYTES!r}; "
                    "check that this is the right file"
                )
            *version, _, header_end = struct.unpack("<4LQ", fixed[8:])
            if version[0] != core.LITERTLM_MAJOR_VERSION:
                raise BundleError(
                    f"{path}: format version {'.'.join(map(str, version))}; expected "
                    f"{core.LITERTLM_MAJOR_VERSION}.x; use a release of task-bundler made for it"
                )
            header_size = header_end - core.HEADER_BEGIN_BYTE_OFFSET
            if not 0 < header_size <= HEADER_LIMIT or header_end > file_size:
                raise _damaged(path, f"a header said to end at byte {header_end} of {file_size}")
            header = stream.read(header_size)
    except OSError as error:
        raise BundleError(
            f"{path}: cannot be read ({error.strerror or error}); expected a .litertlm file; check the path"
        ) from error
    try:
        parsed = parse_header(header)
    except Damaged as damage:
        raise _damaged(path, f"a header that cannot be read ({damage})") from damage
    end = header_end
    for section in sorted(parsed.sections, key=lambda section: section.offset):
        if section.offset < end or section.size < 0:
            raise _damaged(path, f"{section.type} at byte {section.offset}, inside what ends at {end}")
        end = section.offset + section.size
    if end > file_size:
        raise _damaged(path, f"sections up to byte {end} in a file of {file_size}")
    return LitertLmFile(path, tuple(version), parsed.metadata, tuple(parsed.sections))


def _header(sections: Iterable[tuple[str, Mapping[str, str], int, int]], identity: uuid.UUID) -> bytes:
    root = schema.LiteRTLMMetaDataT(
        systemMetadata=schema.SystemMetadataT(entries=_pairs({"uuid": str(identity)})),
        sectionMetadata=schema.SectionMetadataT(
            objects=[
                schema.SectionObjectT(
                    items=_pairs(pairs),
                    beginOffset=begin,
                    endOffset=end,
                    dataType=getattr(schema.AnySectionDataType, type),
                )
                for type, pairs, begin, end in sections
            ]
        ),
    )
    builder = flatbuffers.Builder(core.BLOCK_SIZE)
    builder.Finish(root.Pack(builder))
    return bytes(builder.Output())


def _pairs(pairs: Mapping[str, str]) -> list[schema.KeyValuePairT]:
    return [
        schema.KeyValuePairT(key=key, value=schema.StringValueT(value), valueType=schema.VData.StringValue)
        for key, value in pairs.items()
    ]


class Header(NamedTuple):
    """What a header says: the file's key-value pairs, and its sections, in any order and place."""

    metadata: dict
    sections: list[LitertLmSection]


def parse_header(header: bytes) -> Header:
    """Read the header's flatbuffer. Raises Damaged."""
    root = Flatbuffer(header).root()
    system, listed = root.table(0), root.table(1)
    if listed is None:
        raise Damaged("no list of sections")
    sections = []
    for item in listed.tables(0):
        begin, end, type = item.number(1, "Q"), item.number(2, "Q"), item.number(3, "B")
        sections.append(
            LitertLmSection(_TYPE_NAMES.get(type, f"type {type}"), begin, end - begin, _read_pairs(item.tables(0)))
        )
    return Header(_read_pairs(system.tables(0)) if system else {}, sections)


def _read_pairs(tables: Iterable[Table]) -> dict[str, str | int | float | bool]:
    pairs = {}
    for pair in tables:
        value, kind = pair.table(2), _VALUE_TYPES.get(pair.number(1, "B"))
        if value is None or kind not in (*_NUMBERS, "StringValue"):
            continue  # a value type of a later schema: nothing we could show
        pairs[pair.text(0)] = value.text(0) if kind == "StringValue" else value.number(0, _NUMBERS[kind])
    return pairs


def _chunks(source: Path | bytes | FileSection) -> Iterable[bytes]:
    if isinstance(source, bytes):
        return [source]
    return (FileSection.whole(source) if isinstance(source, Path) else source).chunks()


def _damaged(path: Path, defect: str) -> BundleError:
    return BundleError(
        f"{path}: {defect}; expected a sound .litertlm file; copy or download it again, or build it again"
    )
