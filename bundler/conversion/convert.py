"""A checkpoint -> TFLite with the signatures `prefill_N` for each N, and `decode`; and with LoRA inputs, if asked
for.

There are two layouts for LoRA, because two runtimes want different ones. MediaPipe's: beside the plain
signatures, `prefill_N_lora_rR` and `decode_lora_rR` for each rank R. LiteRT-LM's: the plain names themselves
take the inputs, of one rank; an adapter of zeros gives the plain model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Callable, Mapping

import torch
from ai_edge_litert import schema_py_generated as schema
from torch import Tensor, nn

from bundler.checkpoints.architecture import GPT2Architecture
from bundler.checkpoints.checkpoint import Checkpoint, open_checkpoint
from bundler.conversion.calibration import TOKENS, read_tokens, sequence_length, write_text, write_tokens
from bundler.conversion.compact import shorten_names
from bundler.conversion.constants import Constant, place_constants
from bundler.conversion.exported_weights import ExportedWeight, TokenRows, exported_weights
from bundler.conversion.gpt2 import ExportableGPT2, weightless
from bundler.conversion.gptq_rounding import CopiedRounding, GptqRounding
from bundler.conversion.recipes import Recipe
from bundler.conversion.repeat_layers import CONVERTED, repeat_layers
from bundler.conversion.rounding import Rounding, nearest
from bundler.conversion.write_model import lay_out, write_model
from bundler.errors import OptionError
from bundler.system.native_output import quiet
from bundler.tflite.lora_inputs import variant_suffix
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
        return [*((variant_suffix(rank), rank) for rank in self.extra), ("", self.plain)]


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

    @property
    def steps(self) -> int:
        """Into how many `convert_graph` divides its work: every signature is exported, then lowered."""
        return 2 * len(self.lora.variants()) * (len(self.prefill) + 1)


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
    """One signature. The weights are arguments too, so the converter never sees their values, or copies them."""

    def __init__(self, model: ExportableGPT2, logits: bool) -> None:
        super().__init__()
        self._model, self.logits = [model], logits  # in a list: its parameters are not this module's

    def forward(
        self,
        tokens: Tensor,
        input_pos: Tensor,
        kv_cache: dict[str, Tensor],
        mask: Tensor,
        weights: dict[str, Tensor],
        lora: dict[str, Tensor] | None = None,
    ) -> dict:
        arguments = (tokens, input_pos, kv_cache, mask, lora)
        return torch.func.functional_call(self._model[0], weights, arguments, {"logits": self.logits})


class _ConverterProgress:
    """Takes the place of the console on which litert-torch says what it does (litert_torch/progress.py), and counts the
    signatures it has exported and lowered: two steps each, which take nearly all of the time.
    """

    def __init__(self, report: Callable[[int], None]) -> None:
        self._report, self._steps = report, 0

    def print(self, text: str) -> None:
        if "[ DONE]" in text and text.count(" > ") == 1 and ("Torch Export: " in text or "Lower to MLIR: " in text):
            self._steps += 1
            self._report(self._steps)


def convert_graph(
    architecture: GPT2Architecture,
    rows: TokenRows,
    signatures: Signatures,
    output: Path,
    report: Callable[[int], None] = lambda steps: None,
) -> None:
    """Write the model's graph to `output`, as TFLite whose signatures have the weights among their inputs, named
    `weights_` and what ExportableGPT2 calls them. Takes the same time and memory whatever the model's size.

    `report` is called with the steps done, of `signatures.steps`.
    """
    shallow = replace(architecture, layers=min(architecture.layers, CONVERTED))
    model = weightless(shallow, signatures.context, rows)

    def thin(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Tensors of the same shapes in which all elements are one."""
        return {name: torch.zeros(1).expand(tensor.shape) for name, tensor in tensors.items()}

    weights, cache = thin(dict(model.named_parameters())), thin(model.empty_cache(signatures.cache))
    with quiet():
        import litert_torch
        import litert_torch.progress

        litert_torch.progress.console = _ConverterProgress(report)
        converter = litert_torch.Converter()
        for suffix, rank in signatures.lora.variants():
            adapter = {} if rank is None else {"lora": thin(model.empty_adapter(rank))}
            for name, length in [*((f"prefill_{n}", n) for n in signatures.prefill), ("decode", 1)]:
                converter.add_signature(
                    name + suffix,
                    _Signature(model, name == "decode").eval(),
                    sample_kwargs={
                        "tokens": torch.zeros(1, length, dtype=torch.int32),
                        "input_pos": torch.arange(length, dtype=torch.int32),
                        "kv_cache": cache,
                        "mask": torch.zeros(1, 1, length, signatures.cache),
                        "weights": weights,
                        **adapter,
                    },
                )
        converter.convert(lightweight_conversion=False).export(str(output))
    if shallow != architecture:
        repeat_layers(output, architecture.layers)


def fill_graph(
    graph: Path,
    weights: Mapping[str, ExportedWeight],
    recipe: Recipe,
    output: Path,
    rounding: Rounding = nearest,
    report: Callable[[int], None] = lambda written: None,
) -> None:
    """Write the graph in the file `graph` to `output`, with `weights` in it as `recipe` stores them.

    `report` is called with the number of bytes written of the weights.
    """
    model, constants = _with_constants(graph, weights, recipe)
    blocks = {
        name: lambda weight=weight: (block.numpy() for block in weight.blocks()) for name, weight in weights.items()
    }
    write_model(model, constants, blocks, rounding, output, report)


def model_size(graph: Path, weights: Mapping[str, ExportedWeight], recipe: Recipe) -> int:
    """How many bytes `fill_graph` would write."""
    return lay_out(*_with_constants(graph, weights, recipe)).size


def _with_constants(
    graph: Path, weights: Mapping[str, ExportedWeight], recipe: Recipe
) -> tuple[schema.ModelT, list[Constant]]:
    model = schema.ModelT.InitFromPackedBuf(graph.read_bytes())
    shorten_names(model)
    return model, place_constants(model, {name: recipe.storage(name) for name in weights})


@dataclass(frozen=True)
class Export:
    """A checkpoint and the form it is converted to, as values that another process can be given."""

    source: Path
    vocabulary: Path
    rows: TokenRows
    signatures: Signatures

    def open(self) -> Checkpoint:
        return open_checkpoint(self.source, tokenizer=self.vocabulary)


def export_graph(export: Export, output: Path, report: Callable[[int], None] = lambda steps: None) -> None:
    """`convert_graph` of a checkpoint: the part of a build that needs the converter."""
    convert_graph(export.open().architecture, export.rows, export.signatures, output, report)


@dataclass(frozen=True)
class Calibration:
    """`text`: a file with the tokens that GPTQ rounds for, as `export_text` writes it. `written`: a model with the same
    weights in the same recipe, whose rounding is taken instead.
    """

    text: Path
    written: Path | None = None

    def rounding(self, checkpoint: Checkpoint) -> Rounding:
        return CopiedRounding(self.written) if self.written else GptqRounding(checkpoint, read_tokens(self.text))


def export_model(
    export: Export,
    graph: Path,
    recipe: Recipe,
    output: Path,
    calibration: Calibration | None,
    report: Callable[[int], None],
) -> None:
    """`fill_graph` with the weights of a checkpoint: the part of a build that reads and writes all of them.

    `calibration` is for the recipes that GPTQ rounds.
    """
    checkpoint = export.open()
    weights = exported_weights(checkpoint, export.signatures.context, export.rows)
    rounding = calibration.rounding(checkpoint) if calibration else nearest
    fill_graph(graph, weights, recipe, output, rounding, report)


def export_text(export: Export, start: int, output: Path, report: Callable[[int], None]) -> None:
    """Let a checkpoint write the text that it is calibrated on. `report` is called with the number of tokens so far."""
    length = sequence_length(export.signatures.context)
    written = 0

    def advance(tokens: int) -> None:
        nonlocal written
        written += tokens
        report(written)

    shape = (TOKENS // length, length)
    write_tokens(output, write_text(export.open(), start, export.rows.vocabulary, shape, advance))
