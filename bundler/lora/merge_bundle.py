"""A .task and an adapter -> a .task that writes as the adapter does, in any engine, with or without LoRA support.

Nothing moves: the weights of attention and MLP and their scales change in place, the manifest's `merged_adapter` is
filled in, and the two entries' CRC-32 are corrected. The rest of the file stays byte for byte.
"""

from __future__ import annotations

import hashlib
import shutil
import zlib
from itertools import chain
from pathlib import Path
from typing import BinaryIO, Mapping, NamedTuple, Sequence

from bundler.containers.bundle import MANIFEST, open_bundle
from bundler.containers.lora_manifest import UNMERGED, base_of_bundle, tensors_of
from bundler.containers.task import MODEL_ENTRY, read_task, write_crc
from bundler.errors import BundleError
from bundler.lora.find_tensors import find_matrices
from bundler.system.atomic_file import replacing
from bundler.system.file_section import CHUNK, FileSection
from bundler.tflite.adapter_file import read_adapter_file
from bundler.tflite.model import open_model
from lora_weights.adapter import LITERTLM_RANKS, MLP, PROJECTIONS, Adapter, Base, LowRank
from lora_weights.adapter_file import AdapterFile, adapter_file
from lora_weights.combine import adapter_of, combine
from lora_weights.errors import LoraError
from lora_weights.merge import merge_patches, tensor_patches
from lora_weights.peft_adapter import read_peft
from lora_weights.tensor_map import MappedTensor, map_from_json

_MARK = b'"merged_adapter": "'
Pairs = Mapping[tuple[int, str], LowRank]


class Merging(NamedTuple):
    """What is merged into a bundle: an adapter file's content, and pairs of the MLP, for which such a file has no
    place.
    """

    file: AdapterFile
    mlp: Pairs = {}


def merge_into_bundle(source: Path, adapter: AdapterFile, output: Path, mlp: Pairs = {}) -> dict:
    """Write `source` with `adapter` merged to `output`; returns {"matrices": changed, "adapter": its SHA-256}.

    `mlp`: pairs of (layer, c_fc or c_proj), merged too. The SHA-256 is then that of both.

    Memory does not grow with the model. Raises BundleError or LoraError, and leaves `output` as it was, if the adapter
    does not fit, the bundle has no map of its tensors, or is merged already.
    """
    bundle = open_bundle(source)
    adapter.check_base(base_of_bundle(bundle))
    task = read_task(source)
    model = task.section(MODEL_ENTRY)
    tensors = map_from_json(tensors_of(bundle), adapter.header.layers, adapter.header.width, model.size)
    inside = _mlp_tensors(model, mlp)
    identity = _identity(adapter, mlp)
    changed = 0
    with replacing(output) as stream:
        with open(source, "rb") as original:
            shutil.copyfileobj(original, stream, CHUNK)

        def read(offset: int, size: int) -> bytes:
            stream.seek(model.offset + offset)
            return stream.read(size)

        changes = [tensor_patches(tensor, read, pair.a, pair.b) for tensor, pair in zip(inside, mlp.values())]
        for offset, data in chain(merge_patches(tensors, read, adapter), *changes):
            stream.seek(model.offset + offset)
            stream.write(data)
            changed += any(offset == tensor.data for tensor in (*tensors, *inside))
        _name_adapter(stream, task.section(MANIFEST), identity)
        for name in (MODEL_ENTRY, MANIFEST):
            write_crc(stream, name, _crc(stream, task.section(name)))
    return {"matrices": changed, "adapter": identity}


def _mlp_tensors(model: FileSection, mlp: Pairs) -> list[MappedTensor]:
    """Where the matrices of `mlp` lie in a bundle's model. Raises LoraError if they are not there, or of another
    shape.
    """
    if not mlp:
        return []
    try:
        tensors = find_matrices(open_model(model), mlp)
    except KeyError as error:
        raise LoraError(f"{model.path} has no matrix {error}; merge the adapter into the checkpoint instead") from None
    for tensor, pair in zip(tensors, mlp.values()):
        if tensor.shape != (pair.b.shape[1], pair.a.shape[0]):
            raise LoraError(
                f"the adapter's {tensor.projection} of layer {tensor.layer} is [{pair.a.shape[0]}, {pair.b.shape[1]}], "
                f"this model's {[*reversed(tensor.shape)]}; give the model it was trained on"
            )
    return tensors


def _identity(adapter: AdapterFile, mlp: Pairs) -> str:
    if not mlp:
        return adapter.sha256
    digest = hashlib.sha256(adapter.sha256.encode())
    for (layer, matrix), pair in mlp.items():
        digest.update(f"{layer}.{matrix}".encode() + pair.a.tobytes() + pair.b.tobytes())
    return digest.hexdigest()


def adapter_for_merging(path: Path, base: Base) -> AdapterFile:
    """An adapter file as it is, or a PEFT folder at the rank it would be exported at, else at its own."""
    if not path.is_dir():
        return read_adapter_file(path)
    return _at_exported_rank(read_peft(path, base.layers), base)


def sum_for_merging(paths: Sequence[Path], scales: Sequence[float], base: Base) -> Merging:
    """Several adapters, files or PEFT folders, each times its scale, as one. Raises LoraError."""
    if len(paths) == 1 and scales[0] == 1 and not paths[0].is_dir():
        return Merging(read_adapter_file(paths[0]))
    total = combine([read_adapter(path, base, mlp=True) for path in paths], scales).adapter
    attention, mlp = total.part(PROJECTIONS), total.part(MLP).pairs
    return Merging(_at_exported_rank(attention, base), mlp)


def read_adapter(path: Path, base: Base, mlp: bool = False) -> Adapter:
    """A PEFT folder, or an adapter file for `base`, in the terms of the checkpoint. `mlp`: with pairs of the MLP.

    Raises LoraError.
    """
    if path.is_dir():
        return read_peft(path, base.layers, mlp)
    file = read_adapter_file(path)
    file.check_base(base)
    return adapter_of(file)


def _at_exported_rank(adapter: Adapter, base: Base) -> AdapterFile:
    """At the rank it would be exported at, else at its own; one without pairs is of zeros."""
    needed = adapter.rank if adapter.pairs else 1
    return adapter_file(adapter, base, min((rank for rank in LITERTLM_RANKS if rank >= needed), default=needed))


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
