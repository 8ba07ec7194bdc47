"""ExportableGPT2 -> TFLite with the signatures `prefill_N` for each N, and `decode`; and with LoRA inputs, if asked for.

There are two layouts for LoRA, because two runtimes want different ones. MediaPipe's: beside the plain
signatures, `prefill_N_lora_rR` and `decode_lora_rR` for each rank R. LiteRT-LM's: the plain names themselves
take the inputs, of one rank; an adapter of zeros gives the plain model.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from bundler.checkpoint import open_checkpoint
from bundler.compact_tflite import compact_tflite
from bundler.doctor.signatures import overrun
from bundler.errors import OptionError
from bundler.gpt2 import ExportableGPT2, TokenRows, load_exportable
from bundler.native_output import quiet


@dataclass(frozen=True)
class LoraInputs:
    """Which signatures take an adapter: extra ones for each rank of `extra`, and the plain ones if `plain` is a rank."""

    extra: tuple[int, ...] = ()
    plain: int | None = None

    def variants(self) -> list[tuple[str, int | None]]:
        """(suffix of the signatures' names, rank of their LoRA inputs) of every set of signatures.

        The plain ones come last: LiteRT-LM takes every signature whose name begins with "prefill", and of those of one
        length the last. It would run prefill_N_lora_rR with undefined memory for the adapter.
        """
        return [*((f"_lora_r{rank}", rank) for rank in self.extra), ("", self.plain)]


@dataclass(frozen=True)
class Signatures:
    """The shapes a bundle is compiled for: the length of its cache, and of each prefill chunk."""

    context: int
    prefill: tuple[int, ...]
    lora: LoraInputs = LoraInputs()


def choose_signatures(positions: int, context: int | None = None, prefill: tuple[int, ...] | None = None) -> Signatures:
    """Check the asked-for shapes against the model's `positions`, or choose: the whole context, a short and a long prefill.

    The padding of a prompt's last chunk has to end inside the cache.
    """
    context = positions if context is None else context
    if not 1 < context <= positions:
        raise OptionError(f"--context {context}: the checkpoint has {positions} positions; give 2 to {positions}")
    if prefill is None:
        longest = max(1, min(256, context // 4))
        prefill = next((short, long) for short in range(min(32, longest), 0, -1) for long in range(longest, short - 1, -1)
                       if overrun(context, (short, long)) is None)
    bad = [length for length in prefill if not 1 <= length <= context]
    if bad or not prefill:
        raise OptionError(f"--prefill {bad[0] if bad else 'is empty'}: a prefill length must be from 1 to the context of {context}")
    if (prompt := overrun(context, prefill)) is not None:
        raise OptionError(f"--prefill {','.join(map(str, prefill))}: of a prompt of {prompt} tokens the last chunk would run past the end of the "
                          f"context of {context}, over entries in use; give lengths of which the longest divides the context, or leave it out")
    return Signatures(context, tuple(sorted(set(prefill))))


class _Signature(nn.Module):
    def __init__(self, model: ExportableGPT2, logits: bool):
        super().__init__()
        self.model, self.logits = model, logits

    def forward(self, tokens: Tensor, input_pos: Tensor, kv_cache: dict[str, Tensor], mask: Tensor,
                lora: dict[str, Tensor] | None = None) -> dict:
        return self.model(tokens, input_pos, kv_cache, mask, lora, logits=self.logits)


def convert_fp32(model: ExportableGPT2, signatures: Signatures, output: Path) -> None:
    """Write the fp32 TFLite model to `output`. All signatures share one copy of the weights."""
    with quiet():
        import litert_torch

        converter = litert_torch.Converter()
        for suffix, rank in signatures.lora.variants():
            adapter = {} if rank is None else {"lora": model.empty_adapter(rank)}
            for name, length in [*((f"prefill_{n}", n) for n in signatures.prefill), ("decode", 1)]:
                converter.add_signature(name + suffix, _Signature(model, name == "decode").eval(), sample_kwargs={
                    "tokens": torch.zeros(1, length, dtype=torch.int32),
                    "input_pos": torch.arange(length, dtype=torch.int32),
                    "kv_cache": model.empty_cache(),
                    "mask": torch.zeros(1, 1, length, signatures.context),
                    **adapter,
                })
        converter.convert(lightweight_conversion=False).export(str(output))
    compact_tflite(output)


def convert_checkpoint(source: Path, vocabulary: Path, rows: TokenRows, signatures: Signatures, output: Path) -> None:
    """`convert_fp32` from the checkpoint on: what a build runs in a process of its own."""
    convert_fp32(load_exportable(open_checkpoint(source, tokenizer=vocabulary), signatures.context, rows), signatures, output)
