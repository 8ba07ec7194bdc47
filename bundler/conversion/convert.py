"""ExportableGPT2 -> TFLite with the signatures `prefill_N` for each N, and `decode`; and with LoRA inputs, if asked
for.

There are two layouts for LoRA, because two runtimes want different ones. MediaPipe's: beside the plain
signatures, `prefill_N_lora_rR` and `decode_lora_rR` for each rank R. LiteRT-LM's: the plain names themselves
take the inputs, of one rank; an adapter of zeros gives the plain model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from bundler.checkpoints.architecture import GPT2Architecture
from bundler.checkpoints.checkpoint import open_checkpoint
from bundler.conversion.compact import compact_tflite
from bundler.conversion.gpt2 import ExportableGPT2, TokenRows, load_exportable
from bundler.errors import OptionError
from bundler.system.native_output import quiet
from bundler.tflite.placeholder_context import is_placeholder, placeholder_above

# Prefill lengths: a line's worth of tokens, and a page's.
SHORT, LONG = 32, 256


@dataclass(frozen=True)
class LoraInputs:
    """Which signatures take an adapter: extra ones for each rank of `extra`, and the plain ones if `plain` is a
    rank.
    """

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
    """The shapes a bundle is compiled for: its context, the length of each prefill chunk, and if it is not the
    context's, the length of its cache: a placeholder, see bundler.tflite.placeholder_context.
    """

    context: int
    prefill: tuple[int, ...]
    lora: LoraInputs = LoraInputs()
    placeholder: int | None = None

    @property
    def cache(self) -> int:
        """How many tokens the cache in the file has places for."""
        return self.placeholder or self.context


def choose_signatures(positions: int, context: int | None = None, prefill: tuple[int, ...] | None = None) -> Signatures:
    """Check the asked-for shapes against the model's `positions`, or choose: the whole context, a short and a long
    prefill.

    Each prefill length divides the next longer one, and the longest the context: so the padding of a prompt's last
    chunk ends inside the cache, whatever chunks an engine takes. Where lengths are not given, and the context has no
    divisors near the usual ones, the next smaller context that has is chosen. Raises OptionError.
    """
    context = positions if context is None else context
    if not 1 < context <= positions:
        raise OptionError(f"`context` {context}: the checkpoint has {positions} positions; give 2 to {positions}")
    if prefill is not None:
        _check_lengths(context, sorted(set(prefill)))
        return Signatures(context, tuple(sorted(set(prefill))))
    while not (lengths := _usual_lengths(context)):
        context -= 1
    return Signatures(context, lengths)


def _usual_lengths(context: int) -> tuple[int, ...]:
    """The short and the long prefill length nearest to the usual ones; empty if none is within a factor of two."""
    usual = [max(1, min(length, context // 4)) for length in (SHORT, LONG)]
    pairs = {
        (short, long): [max(length / aim, aim / length) for length, aim in zip((short, long), usual)]
        for long in _divisors(context)
        for short in _divisors(long)
    }
    near = [pair for pair, factors in pairs.items() if max(factors) <= 2]
    if is_placeholder(context) or not near:
        return ()
    return tuple(sorted(set(min(near, key=lambda pair: math.prod(pairs[pair])))))


def _check_lengths(context: int, lengths: list[int]) -> None:
    if bad := [length for length in lengths if not 1 <= length <= context]:
        raise OptionError(f"`prefill` {bad[0]}: a prefill length must be from 1 to the context of {context}")
    if not lengths:
        raise OptionError(f"`prefill` is empty: a prefill length must be from 1 to the context of {context}")
    if is_placeholder(context):
        raise OptionError(
            f"`context` {context}: LiteRT-LM takes a prime above 10 for a placeholder and computes with another "
            f"length; give {context - 1}"
        )
    for length, whole in zip(lengths[::-1], (context, *lengths[:0:-1])):
        if whole % length or is_placeholder(length):
            name = f"the context of {whole}" if whole == context else f"{whole}, the next longer"
            why = (
                f"does not divide {name}, so the last chunk of a long prompt would pass the end of the cache and "
                "overwrite entries in use"
                if whole % length
                else "is a prime above 10, which LiteRT-LM takes for a placeholder"
            )
            below, above = (
                max(n for n in _divisors(whole) if n < length),
                min(n for n in (*_divisors(whole), whole) if n > length),
            )
            raise OptionError(f"`prefill` {length} {why}; the nearest that serve are {below} and {above}")


def _divisors(number: int) -> list[int]:
    return [n for n in range(1, number + 1) if number % n == 0 and not is_placeholder(n)]


def at_placeholder(signatures: Signatures, architecture: GPT2Architecture, rows: TokenRows) -> Signatures:
    """The same with a cache whose length is chosen when the file is loaded."""
    sizes = {architecture.width, architecture.inner, architecture.heads, architecture.head_dim, rows.count}
    sizes |= {signatures.context, *signatures.prefill, *(rank for _, rank in signatures.lora.variants() if rank)}
    return replace(signatures, placeholder=placeholder_above(signatures.context, sizes))


class _Signature(nn.Module):
    def __init__(self, model: ExportableGPT2, logits: bool) -> None:
        super().__init__()
        self.model, self.logits = model, logits

    def forward(
        self,
        tokens: Tensor,
        input_pos: Tensor,
        kv_cache: dict[str, Tensor],
        mask: Tensor,
        lora: dict[str, Tensor] | None = None,
    ) -> dict:
        return self.model(tokens, input_pos, kv_cache, mask, lora, logits=self.logits)


def convert_fp32(model: ExportableGPT2, signatures: Signatures, output: Path) -> None:
    """Write the fp32 TFLite model to `output`. All signatures share one copy of the weights."""
    with quiet():
        import litert_torch

        converter = litert_torch.Converter()
        for suffix, rank in signatures.lora.variants():
            adapter = {} if rank is None else {"lora": model.empty_adapter(rank)}
            for name, length in [*((f"prefill_{n}", n) for n in signatures.prefill), ("decode", 1)]:
                converter.add_signature(
                    name + suffix,
                    _Signature(model, name == "decode").eval(),
                    sample_kwargs={
                        "tokens": torch.zeros(1, length, dtype=torch.int32),
                        "input_pos": torch.arange(length, dtype=torch.int32),
                        "kv_cache": model.empty_cache(signatures.cache),
                        "mask": torch.zeros(1, 1, length, signatures.cache),
                        **adapter,
                    },
                )
        converter.convert(lightweight_conversion=False).export(str(output))
    compact_tflite(output)


def convert_checkpoint(source: Path, vocabulary: Path, rows: TokenRows, signatures: Signatures, output: Path) -> None:
    """`convert_fp32` from the checkpoint on: what a build runs in a process of its own."""
    convert_fp32(
        load_exportable(open_checkpoint(source, tokenizer=vocabulary), signatures.context, rows), signatures, output
    )
