"""Good files to break, and the ways to take them apart and put them together again."""

import uuid
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path

from ai_edge_litert import schema_py_generated as schema

from bundler.containers import litertlm as litertlm_file
from bundler.containers import task as task_file
from bundler.containers.litertlm import read_litertlm
from bundler.containers.task import MODEL_ENTRY, read_task, write_task
from bundler.conversion.compact import SharingBuilder
from bundler.doctor import sentencepiece_file

PAGE = 16384


@dataclass(frozen=True)
class Good:
    """Files of builds: a bundle in int8, the same in fp32, with LoRA ranks, an adapter; and a byte-mapped tokenizer."""

    task: Path
    litertlm: Path
    fp32_task: Path
    fp32_litertlm: Path
    lora_task: Path
    lora_litertlm: Path
    adapter: Path
    zero_adapter: Path
    tokenizer: Path
    mapped_tokenizer: bytes

    def entries(self, name="task") -> dict[str, bytes]:
        file = read_task(getattr(self, name))
        return {entry.name: file.read_entry(entry.name) for entry in file.entries}

    def sections(self, name="litertlm") -> list[tuple[str, dict, bytes]]:
        file = read_litertlm(getattr(self, name))
        return [(section.type, section.metadata, file.bytes_of(section).read()) for section in file.sections]


def task(folder: Path, entries: dict[str, bytes]) -> Path:
    """A sound ZIP with whatever entries, ours first."""
    write_task(folder / "broken.task", entries)
    return folder / "broken.task"


def plain_zip(folder: Path, entries: list[tuple[str, bytes]], method=zipfile.ZIP_STORED) -> Path:
    """What a ZIP tool makes of them."""
    with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(folder / "broken.task", "w", method) as archive:
        for name, data in entries:
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return folder / "broken.task"


def aligned_zip(folder: Path, entries: list[tuple[str, bytes]], first_extra=b"") -> Path:
    """As `task`, with any names and order; `first_extra`: an extra field in the first header, which shifts the data
    behind it.
    """
    path = folder / "broken.task"
    with open(path, "wb") as stream:
        records = [task_file._write_entry(stream, name, data, 1 << 40) for name, data in entries]
        task_file._write_directory(stream, records, 1 << 40)
    if first_extra:
        data = bytearray(path.read_bytes())
        at = 4 + 30 + len(entries[0][0])
        data[4 + 28 : 4 + 30] = len(first_extra).to_bytes(2, "little")
        end = data.rindex(b"PK\5\6")
        start = int.from_bytes(data[end + 16 : end + 20], "little")
        data[end + 16 : end + 20] = (start + len(first_extra)).to_bytes(4, "little")
        record = start
        for name, _ in entries:
            if name != entries[0][0]:
                offset = int.from_bytes(data[record + 42 : record + 46], "little") + len(first_extra)
                data[record + 42 : record + 46] = offset.to_bytes(4, "little")
            record += 46 + len(name)
        data[at:at] = first_extra
        path.write_bytes(data)
    return path


def litertlm(
    folder: Path,
    sections: list[tuple[str, dict, bytes]],
    shift: dict[int, int] | None = None,
    grow: dict[int, int] | None = None,
) -> Path:
    """A .litertlm of these sections; `shift` moves the beginning of a section, `grow` its end, by number, in the
    header.
    """
    shift, grow = shift or {}, grow or {}
    placed, data, at = [], bytearray(PAGE), PAGE
    for number, (type, pairs, content) in enumerate(sections):
        begin = at + shift.get(number, 0)
        placed.append((type, pairs, begin, begin + len(content) + grow.get(number, 0)))
        data += bytes(max(0, begin - len(data)))
        data[begin : begin + len(content)] = content
        at = -(-(begin + len(content)) // PAGE) * PAGE
        data += bytes(at - len(data))
    header = litertlm_file._header(placed, uuid.UUID(int=0))
    data[:8], data[8:20], data[24:32] = (
        b"LITERTLM",
        bytes([1, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0]),
        (32 + len(header)).to_bytes(8, "little"),
    )
    data[32 : 32 + len(header)] = header
    (folder / "broken.litertlm").write_bytes(data[: placed[-1][3] if not grow else None])
    return folder / "broken.litertlm"


def edited_model(data: bytes, change) -> bytes:
    """A TFLite file after `change(its ModelT)`."""
    model = schema.ModelT.InitFromPackedBuf(bytearray(data))
    change(model)
    builder = SharingBuilder(2 * len(data) + (1 << 20))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def with_model(good: Good, folder: Path, change, of="task", keep_manifest=False) -> Path:
    """The .task with a changed model; without our manifest, which would tell of the change."""
    entries = good.entries(of)
    entries[MODEL_ENTRY] = edited_model(entries[MODEL_ENTRY], change)
    if not keep_manifest:
        del entries["MANIFEST"]
    return task(folder, entries)


def with_litertlm_model(good: Good, folder: Path, change, of="litertlm") -> Path:
    *others, (type, pairs, data) = good.sections(of)
    return litertlm(folder, [*others, (type, pairs, edited_model(data, change))])


def edited_tokenizer(data: bytes, change) -> bytes:
    """A SentencePiece model after `change(its ModelProto)`, in which pieces are bytes."""
    proto = sentencepiece_file._message().FromString(data)
    change(proto)
    return proto.SerializeToString()


def signature(model, key: str):
    return next(each for each in model.signatureDefs if each.signatureKey == key.encode())


def tensor(model, key: str, name: str, end="inputs"):
    """The tensor that a signature knows by `name`."""
    definition = signature(model, key)
    index = next(entry.tensorIndex for entry in getattr(definition, end) if entry.name == name.encode())
    return model.subgraphs[definition.subgraphIndex].tensors[index]
