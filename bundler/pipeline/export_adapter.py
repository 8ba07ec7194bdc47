"""A PEFT folder -> an adapter file for a finished bundle, after the gates."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Sequence

from bundler.containers.bundle import Bundle, open_bundle
from bundler.containers.lora_manifest import base_of_bundle, ranks_of
from bundler.errors import BundleError, OptionError
from bundler.lora.merge_bundle import read_adapter
from bundler.system.atomic_file import replacing
from bundler.system.temporary_folder import temporary_folder
from bundler.tflite.fixed_model import write_fixed
from bundler.tflite.lora_inputs import lora_layout
from bundler.tflite.model import open_model
from bundler.tflite.signatures import llm_shape
from lora_weights.adapter import Adapter, Base
from lora_weights.adapter_file import AdapterFile, adapter_file, encode_adapter
from lora_weights.combine import Combined, combine
from lora_weights.errors import LoraError
from lora_weights.peft_adapter import read_peft
from lora_weights.peft_folder import write_peft

if TYPE_CHECKING:
    from bundler.checkpoints.checkpoint import Checkpoint
    from bundler.verification.gate import Gate, Progress


@dataclass(frozen=True)
class LoraBundles:
    """The .task of a build, the .litertlm beside it if there is one, the base they are of, and the ranks they take.

    `rank` is that of the .litertlm, and so of files that both take; without one it is None.
    """

    task: Bundle
    litertlm: Bundle | None
    base: Base
    ranks: tuple[int, ...]
    rank: int | None


def open_lora_bundles(path: Path) -> LoraBundles:
    """Open a build's output folder, or its .task. Raises BundleError if its signatures take no adapters."""
    task = path
    if path.is_dir():
        tasks = sorted(path.glob("*.task"))
        if len(tasks) != 1:
            raise BundleError(
                f"{path} holds {len(tasks)} .task files; expected the output folder of `task-bundler build`, or one "
                ".task"
            )
        task = tasks[0]
    bundle = open_bundle(task)
    base, ranks = base_of_bundle(bundle), ranks_of(bundle)
    if not ranks:
        raise BundleError(
            f"{task} has no signatures that take adapters; build it with `lora_ranks`, or merge the adapter: "
            "task-bundler lora merge"
        )
    beside = task.with_suffix(".litertlm")
    litertlm = open_bundle(beside) if beside.is_file() else None
    rank = lora_layout(open_model(litertlm.model)).plain if litertlm else None
    return LoraBundles(bundle, litertlm if rank else None, base, ranks, rank)


def choose_rank(adapter: Adapter, bundles: LoraBundles, rank: int | None) -> int:
    """The rank to export at: as asked, else the .litertlm's, else the smallest that fits. Raises OptionError or
    LoraError.
    """
    exported = ", ".join(map(str, bundles.ranks))
    if rank is not None and rank not in bundles.ranks:
        raise OptionError(f"`rank` {rank}: {bundles.task.path} has signatures for rank {exported}; choose one of them")
    if rank is None:
        rank = bundles.rank or min((fit for fit in bundles.ranks if fit >= adapter.rank), default=max(bundles.ranks))
    if adapter.rank > rank and (fitting := min((fit for fit in bundles.ranks if fit >= adapter.rank), default=None)):
        alone = (
            f", for the .task alone: the .litertlm takes rank {bundles.rank}"
            if bundles.rank not in (None, fitting)
            else ""
        )
        raise OptionError(
            f"adapter {adapter.name} has rank {adapter.rank}, more than {rank}, but {bundles.task.path} was built for "
            f"rank {exported}; give `rank` {fitting}{alone}"
        )
    if adapter.rank > rank:
        raise LoraError(
            f"adapter {adapter.name} has rank {adapter.rank}, but {bundles.task.path} was built for rank {exported}; "
            f"build it with `lora_ranks` {adapter.rank} or more, or merge the adapter: task-bundler lora merge"
        )
    return rank


def prepare_adapter(folder: Path, bundles: LoraBundles, rank: int | None = None) -> AdapterFile:
    """Read a PEFT folder and fit it to the bundles; nothing of the model is read."""
    adapter = read_peft(folder, bundles.base.layers)
    return adapter_file(adapter, bundles.base, choose_rank(adapter, bundles, rank))


def combine_for(bundles: LoraBundles, paths: Sequence[Path], scales: Sequence[float], rank: int | None) -> Combined:
    """The sum of adapters, each times its scale, at most of `rank`, else of the highest rank that the bundles take."""
    most = rank or bundles.rank or max(bundles.ranks)
    return combine([read_adapter(path, bundles.base) for path in paths], scales, most)


def write_combined(combined: Combined, folder: Path) -> Path:
    """Write it as a PEFT folder of its name inside of `folder`, for the gates and `prepare_adapter`; returns it."""
    path = folder / combined.adapter.name
    write_peft(combined.adapter, path)
    return path


def write_adapter(file: AdapterFile, output: Path) -> int:
    """Write the adapter file; returns its size in bytes."""
    data = encode_adapter(file)
    with replacing(output) as stream:
        stream.write(data)
    return len(data)


def check_adapter(
    folder: Path, file: AdapterFile, bundles: LoraBundles, checkpoint: Checkpoint, progress: Progress
) -> list[Gate]:
    """Run the LoRA gates on the bundles with this adapter, against the checkpoint. Raises VerificationError."""
    from bundler.containers.tokenizer import bundle_tokenizer
    from bundler.doctor.own_pieces import read_sound_vocabulary
    from bundler.lora.facts import weights_fingerprint
    from bundler.verification.gate import require_passed
    from bundler.verification.lora_gates import lora_gates
    from bundler.verification.runtimes import runtimes_apart
    from bundler.verification.subject import Lora, Subject, Variant

    if (fingerprint := weights_fingerprint(checkpoint)) != bundles.base.fingerprint:
        raise BundleError(
            f"{checkpoint.source.name} has the fingerprint {fingerprint[:16]}…, but {bundles.task.path} was made from "
            f"{bundles.base.fingerprint[:16]}…; give the checkpoint it was built from"
        )
    vocabulary = read_sound_vocabulary(checkpoint.folder)
    with temporary_folder("export") as temporary, runtimes_apart() as runtimes:
        rank, model, litertlm_model = file.header.rank, Path(temporary) / "a.tflite", Path(temporary) / "b.tflite"
        bundles.task.model.copy_to(model)
        variants = [Variant(f".task, rank {rank}", model, rank)]
        litertlm = bundles.litertlm if bundles.rank == rank else None
        if litertlm:
            write_fixed(litertlm.model, litertlm_model)
            growing = llm_shape(open_model(litertlm.model)).placeholder is not None
            variants.append(Variant(".litertlm", litertlm_model, rank, plain=True, unpacked=growing))
        subject = Subject(
            checkpoint,
            model,
            bundles.task.manifest["recipe"],
            bundle_tokenizer(bundles.task, vocabulary),
            lora=Lora(
                bundles.base,
                (folder,),
                tuple(variants),
                task=bundles.task.path,
                litertlm=litertlm and litertlm.path,
            ),
            runtimes=runtimes,
        )
        gates = lora_gates(subject, progress)
    require_passed(gates, "Nothing was written")
    return gates
