"""A .task and an adapter -> a .task that writes as the adapter does, in any engine, with or without LoRA support.

Nothing moves: the attention weights and their scales change in place, the manifest's `merged_adapter` is filled in,
and the two entries' CRC-32 are corrected. The rest of the file stays byte for byte.
"""

from __future__ import annotations

import shutil
import zlib
from pathlib import Path
from typing import BinaryIO, Sequence

from bundler.containers.bundle import MANIFEST, open_bundle
from bundler.containers.lora_manifest import UNMERGED, base_of_bundle, tensors_of
from bundler.containers.task import MODEL_ENTRY, read_task, write_crc
from bundler.errors import BundleError
from bundler.system.atomic_file import replacing
from bundler.system.file_section import CHUNK, FileSection
from bundler.tflite.adapter_file import read_adapter_file
from lora_weights.adapter import LITERTLM_RANKS, Adapter, Base
from lora_weights.adapter_file import AdapterFile, adapter_file
from lora_weights.combine import adapter_of, combine
from lora_weights.merge import merge_patches
from lora_weights.peft_adapter import read_peft
from lora_weights.tensor_map import map_from_json

_MARK = b'"merged_adapter": "'


def merge_into_bundle(source: Path, adapter: AdapterFile, output: Path) -> dict:
    """Write `source` with `adapter` merged to `output`; returns {"matrices": changed, "adapter": its SHA-256}.

    Memory does not grow with the model. Raises BundleError or LoraError, and leaves `output` as it was, if the adapter
    does not fit, the bundle has no map of its tensors, or is merged already.
    """
    bundle = open_bundle(source)
    adapter.check_base(base_of_bundle(bundle))
    task = read_task(source)
    model = task.section(MODEL_ENTRY)
    tensors = map_from_json(tensors_of(bundle), adapter.header.layers, adapter.header.width, model.size)
    identity = adapter.sha256
    changed = 0
    with replacing(output) as stream:
        with open(source, "rb") as original:
            shutil.copyfileobj(original, stream, CHUNK)

        def read(offset: int, size: int) -> bytes:
            stream.seek(model.offset + offset)
            return stream.read(size)

        for offset, data in merge_patches(tensors, read, adapter):
            stream.seek(model.offset + offset)
            stream.write(data)
            changed += any(offset == tensor.data for tensor in tensors)
        _name_adapter(stream, task.section(MANIFEST), identity)
        for name in (MODEL_ENTRY, MANIFEST):
            write_crc(stream, name, _crc(stream, task.section(name)))
    return {"matrices": changed, "adapter": identity}


def adapter_for_merging(path: Path, base: Base) -> AdapterFile:
    """An adapter file as it is, or a PEFT folder at the rank it would be exported at, else at its own."""
    if not path.is_dir():
        return read_adapter_file(path)
    return _at_exported_rank(read_peft(path, base.layers), base)


def sum_for_merging(paths: Sequence[Path], scales: Sequence[float], base: Base) -> AdapterFile:
    """Several adapters, files or PEFT folders, each times its scale, as one. Raises LoraError."""
    if len(paths) == 1 and scales[0] == 1:
        return adapter_for_merging(paths[0], base)
    return _at_exported_rank(combine([read_adapter(path, base) for path in paths], scales).adapter, base)


def read_adapter(path: Path, base: Base) -> Adapter:
    """A PEFT folder, or an adapter file for `base`, in the terms of the checkpoint. Raises LoraError."""
    if path.is_dir():
        return read_peft(path, base.layers)
    file = read_adapter_file(path)
    file.check_base(base)
    return adapter_of(file)


def _at_exported_rank(adapter: Adapter, base: Base) -> AdapterFile:
    return adapter_file(
        adapter, base, min((rank for rank in LITERTLM_RANKS if rank >= adapter.rank), default=adapter.rank)
    )


def _name_adapter(stream: BinaryIO, manifest: FileSection, identity: str) -> None:
    stream.seek(manifest.offset)
    text = stream.read(manifest.size)
    if text.count(_MARK + UNMERGED.encode()) != 1:
        raise BundleError(
            f"{manifest.path}: its manifest does not name merged_adapter once, as {UNMERGED[:8]}…; build the bundle "
            "again"
        )
    stream.seek(manifest.offset + text.index(_MARK) + len(_MARK))
    stream.write(identity.encode())


def _crc(stream: BinaryIO, section: FileSection) -> int:
    stream.seek(section.offset)
    crc, left = 0, section.size
    while left:
        chunk = stream.read(min(CHUNK, left))
        crc, left = zlib.crc32(chunk, crc), left - len(chunk)
    return crc
