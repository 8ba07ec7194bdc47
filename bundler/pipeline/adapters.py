"""The LoRA part of a build: which ranks, in which layouts, and the adapters that go with the bundles."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bundler.checkpoints.checkpoint import Checkpoint
from bundler.conversion.convert import LoraInputs, Signatures
from bundler.conversion.recipes import RECIPES
from bundler.errors import OptionError
from lora_weights.adapter import LITERTLM_RANKS, Adapter, Base, check_base
from lora_weights.adapter_file import adapter_file, encode_adapter, zero_adapter
from lora_weights.peft_adapter import read_peft

if TYPE_CHECKING:
    from bundler.verification.subject import Variant

ZERO = "zero"


@dataclass(frozen=True)
class LoraPlan:
    """`ranks`: those of the .task's extra signatures. `rank`: that of the .litertlm and of the exported adapters."""

    ranks: tuple[int, ...]
    rank: int
    folders: tuple[Path, ...]
    adapters: tuple[Adapter, ...]

    def task(self, signatures: Signatures) -> Signatures:
        return replace(signatures, lora=LoraInputs(extra=self.ranks))

    def litertlm(self, signatures: Signatures) -> Signatures:
        return replace(signatures, lora=LoraInputs(plain=self.rank))


def plan_lora(
    ranks: tuple[int, ...], folders: tuple[Path, ...], recipe: str, checkpoint: Checkpoint
) -> LoraPlan | None:
    """Decide, and refuse, before the work begins; None if nothing was asked for. Raises OptionError or LoraError."""
    if not ranks and not folders:
        return None
    if not RECIPES[recipe].takes_lora:
        raise OptionError(
            f"`recipe` {recipe} with LoRA: its activation ranges are measured without an adapter, and would cut one "
            "off; choose another recipe, or merge the adapter into the checkpoint first: task-bundler lora merge"
        )
    architecture = checkpoint.architecture
    adapters = tuple(read_peft(folder, architecture.layers) for folder in folders)
    shape = Base(architecture.layers, architecture.width, (1.0,) * architecture.layers)
    for adapter in adapters:
        check_base(adapter.name, adapter.layers, adapter.width, None, shape)
    names = [ZERO, *(adapter.name for adapter in adapters)]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise OptionError(
            f"two adapters would be named {twice} (the adapter of zeros is called {ZERO}); rename a folder"
        )
    needed = max((adapter.rank for adapter in adapters), default=1)
    if not ranks:
        ranks = tuple(rank for rank in LITERTLM_RANKS if rank >= needed)[:1]
    # One adapter file serves both engines, so the .task needs the rank that the .litertlm takes.
    usable = [rank for rank in ranks if rank in LITERTLM_RANKS]
    if min(ranks, default=1) < 1:
        raise OptionError(f"`lora_ranks` {min(ranks)}: expected whole numbers from 1")
    if not usable:
        asked = f"`lora_ranks` {','.join(map(str, ranks))}" if ranks else f"an adapter of rank {needed}"
        raise OptionError(
            f"{asked}: LiteRT-LM takes rank {' or '.join(map(str, LITERTLM_RANKS))} only; name one of them (smaller "
            "adapters are padded, which is exact). A larger adapter can be merged: task-bundler lora merge"
        )
    if needed > max(usable):
        raise OptionError(
            f"an adapter of rank {needed} does not fit `lora_ranks` {','.join(map(str, ranks))}; ask for a rank of "
            f"{needed} or more"
        )
    return LoraPlan(tuple(sorted(set(ranks))), max(usable), folders, adapters)


def export_adapters(plan: LoraPlan, base: Base, folder: Path) -> list[dict]:
    """Write each adapter, and the one of zeros, to `folder`; returns what the manifest says about them."""
    folder.mkdir()
    facts = []
    for file in (zero_adapter(base, plan.rank), *(adapter_file(adapter, base, plan.rank) for adapter in plan.adapters)):
        data = encode_adapter(file)
        path = folder / f"{file.header.name}.tflite"
        path.write_bytes(data)
        facts.append(
            {
                "name": file.header.name,
                "file": f"{folder.name}/{path.name}",
                "rank": plan.rank,
                "alpha": file.header.alpha,
                "licence": file.header.licence,
                "bytes": len(data),
            }
        )
    return facts


def lora_variants(plan: LoraPlan, task_model: Path, litertlm_model: Path, label: str = "") -> tuple[Variant, ...]:
    """The signatures that take adapters, those of the exported rank first, the .litertlm's last."""
    from bundler.verification.subject import Variant

    needed = max((adapter.rank for adapter in plan.adapters), default=1)
    ranks = sorted((rank for rank in plan.ranks if rank >= needed), key=lambda rank: (rank != plan.rank, rank))
    return (
        *(Variant(f".task{label}, rank {rank}", task_model, rank) for rank in ranks),
        Variant(f".litertlm{label}", litertlm_model, plan.rank, plain=True),
    )
