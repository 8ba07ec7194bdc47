"""The gates on LoRA support and on adapters: an adapter that loads and changes nothing must not leave this machine.

In this order: an adapter of zeros changes nothing, every LoRA input is consumed, an adapter acts, it acts as in
PyTorch with PEFT, the engine swaps between adapters and back, and merged weights do what the adapter did.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Sequence

import numpy as np

from bundler.checkpoints.checkpoint import Checkpoint
from bundler.containers.task import MODEL_ENTRY, read_task
from bundler.containers.tokenizer import BundleTokenizer, Ids
from bundler.conversion.quantize import RECIPES
from bundler.engines.litertlm import open_engine
from bundler.lora.merge_bundle import merge_into_bundle
from bundler.system.file_section import FileSection
from bundler.system.native_output import quiet
from bundler.system.temporary_folder import temporary_folder
from bundler.tflite.lora_layout import unconsumed_inputs
from bundler.tflite.runner import TFLiteGPT2
from bundler.verification.divergence import compare_logits
from bundler.verification.engine_gates import Expected, completions, text_gate
from bundler.verification.gate import Gate, Stage, silent
from bundler.verification.logit_gates import TEXT_TOKENS, logit_gates
from bundler.verification.peft_reference import PeftReference
from bundler.verification.text import verification_text
from bundler.verification.tflite_reference import TFLiteReference
from lora_weights.adapter import Base, tensor_name
from lora_weights.adapter_file import AdapterFile, adapter_file, encode_adapter, zero_adapter
from lora_weights.peft_adapter import read_peft
from lora_weights.random_adapter import write_random_adapter

# KL divergence, in nats, that merging may add to the path that computes the adapter beside the weights.
MERGED_KL = 0.01
# Of a random adapter's deltas, in standard deviations of the weights: enough to change the text, not to break it.
RANDOM_STRENGTH = 0.3
RANDOM_RANK = 4
DECODE_STEPS = 4


@dataclass(frozen=True)
class Variant:
    """A set of signatures that take adapters: those named `_lora_rR`, or with `plain` those of the plain names."""

    name: str
    model: Path
    rank: int
    plain: bool = False

    def open(self, adapter: AdapterFile | None = None) -> TFLiteGPT2:
        return TFLiteGPT2(self.model, rank=None if self.plain else self.rank, adapter=adapter and adapter.tensors)


@dataclass(frozen=True)
class LoraSubject:
    """`model`: TFLite whose plain signatures take no adapter, as in `task`. `litertlm` is in LiteRT-LM's layout, or
    None.

    `engine_reads_task`: not, if the tokenizer in it needs MediaPipe's byte mapping.
    """

    model: Path
    variants: tuple[Variant, ...]
    task: Path | None
    litertlm: Path | None
    recipe: str
    tokenizer: BundleTokenizer
    start: int
    stop: frozenset[int]
    base: Base
    engine_reads_task: bool = True


def lora_gates(
    subject: LoraSubject, checkpoint: Checkpoint, adapters: Sequence[Path], stage: Stage = silent
) -> list[Gate]:
    """Run every gate with the PEFT folders `adapters`; random ones join them until there are two to swap between."""
    with temporary_folder("lora") as temporary:
        with stage("Verifying LoRA inputs"), quiet():
            folders = [*adapters, *_random_adapters(checkpoint, Path(temporary), max(0, 2 - len(adapters)))]
            # Those that a bundle is for; a random one only if there is no other.
            shown = range(max(1, len(adapters)))
            ids = _long_enough(subject)
            gates = [
                gate
                for variant in subject.variants
                for gate in (
                    _consumed_gate(variant),
                    _zero_gate(variant, subject, ids),
                    _acts_gate(variant, subject, ids, folders),
                )
            ]
        with stage("Verifying adapters against PyTorch and PEFT"), quiet():
            reference = PeftReference(checkpoint, subject.tokenizer.vocabulary, folders)
            parity = {}
            for variant in subject.variants:
                for index in range(len(folders)) if variant.plain else shown:
                    file = _file(subject.base, folders[index], variant.rank)
                    parity[variant.name, index] = _as_in_pytorch(
                        f"{variant.name}, adapter {file.header.name}",
                        variant.open(file),
                        reference.use(index),
                        subject,
                        ids,
                    )
            gates += parity.values()
        if subject.litertlm:
            with stage("Verifying swaps in LiteRT-LM"):
                slack = [_slack(parity[subject.variants[-1].name, index]) for index in range(len(folders))]
                gates.append(_swap_gate(subject, reference, folders, slack, Path(temporary)))
        if subject.task:
            with stage("Verifying merged bundles"):
                for index in shown:
                    gates += _merge_gates(subject, reference, folders[index], index, ids, Path(temporary))
    return gates


def _as_in_pytorch(name: str, model: TFLiteGPT2, reference: PeftReference, subject: LoraSubject, ids: Ids) -> Gate:
    """The gates on logits, by the limits of the subject's recipe, as one."""
    gates = logit_gates(model, reference, subject.recipe, ids, subject.start)
    *prompts, text = (gate.figures for gate in gates)
    equal, tokens = (sum(figures[key] for figures in prompts) for key in ("greedy_tokens_equal", "greedy_tokens"))
    difference = max(gate.figures["max_logit_difference"] for gate in gates)
    failed = "; ".join(f"{gate.name}: {gate.found}" for gate in gates if not gate.passed)
    found = (
        f"largest logit difference {difference:.1e}; {equal} of {tokens} greedy tokens equal; "
        f"mean KL divergence {text['mean_kl']:.2g} nats"
    )
    return Gate(
        f"{name}: as in PyTorch",
        not failed,
        failed or found,
        {
            "max_logit_difference": difference,
            "greedy_tokens_equal": equal,
            "greedy_tokens": tokens,
            "mean_kl": text["mean_kl"],
        },
    )


def _random_adapters(checkpoint: Checkpoint, folder: Path, count: int) -> list[Path]:
    deviation = float(checkpoint.tensor("h.0.attn.c_attn.weight").std())
    folders = [folder / f"random_{index + 1}" for index in range(count)]
    for index, path in enumerate(folders):
        write_random_adapter(
            path,
            checkpoint.architecture.layers,
            checkpoint.architecture.width,
            RANDOM_RANK,
            RANDOM_STRENGTH * deviation,
            seed=index,
        )
    return folders


def _file(base: Base, folder: Path, rank: int) -> AdapterFile:
    return adapter_file(read_peft(folder, base.layers), base, rank)


def _long_enough(subject: LoraSubject) -> Ids:
    """The verification text, repeated until it fills a context."""
    return subject.tokenizer.encode(verification_text()).repeated(TFLiteGPT2(subject.model).context)


def _outputs(model: TFLiteGPT2, subject: LoraSubject, ids: Ids) -> np.ndarray:
    """Logits [DECODE_STEPS, rows] after a prompt that fills one prefill chunk and a part of another."""
    length = min(max(model.prefill_lengths) + 2, model.context - DECODE_STEPS)
    model.reset()
    model.prefill([subject.start, *ids.bundle[: length - 1]])
    return np.stack([model.decode(token) for token in ids.bundle[length - 1 : length - 1 + DECODE_STEPS]])


def _consumed_gate(variant: Variant) -> Gate:
    """Every LoRA input of every signature reaches an output; in prefill, but for those that can have no effect."""
    section = FileSection.whole(variant.model)
    layers = len(variant.open().lora_shapes) // 8
    # What prefill returns is the cache, and nothing after the last layer's keys and values goes into it.
    without_effect = {tensor_name(projection, factor, layers - 1) for projection in "qo" for factor in "ab"}
    lost = [
        f"{signature}: {name}"
        for signature, names in unconsumed_inputs(section).items()
        for name in names
        if not (signature.startswith("prefill") and name in without_effect)
    ]
    return Gate(
        f"{variant.name}: LoRA inputs",
        not lost and layers > 0,
        f"all {8 * layers} inputs of every signature are consumed"
        if not lost
        else f"{len(lost)} inputs change nothing, first {lost[0]}",
        {"inputs": 8 * layers, "unconsumed": len(lost)},
    )


def _zero_gate(variant: Variant, subject: LoraSubject, ids: Ids) -> Gate:
    """An adapter of zeros gives the plain signatures' logits, bit for bit."""
    plain = _outputs(TFLiteGPT2(subject.model), subject, ids)
    zeros = _outputs(variant.open(zero_adapter(subject.base, variant.rank)), subject, ids)
    different = int((plain != zeros).sum())
    return Gate(
        f"{variant.name}: zero adapter",
        not different,
        f"{different} of {plain.size:,} logits differ from the base's",
        {"logits": plain.size, "different": different},
    )


def _acts_gate(variant: Variant, subject: LoraSubject, ids: Ids, folders: Sequence[Path]) -> Gate:
    """Each adapter changes the logits, and to numbers. In bundles, adapters have been seen that load and change
    nothing.
    """
    base = _outputs(variant.open(), subject, ids)
    changed = [_outputs(variant.open(_file(subject.base, folder, variant.rank)), subject, ids) for folder in folders]
    differences = {folder.name: float(np.abs(base - logits).max()) for folder, logits in zip(folders, changed)}
    return Gate(
        f"{variant.name}: adapters act",
        all(np.isfinite(logits).all() for logits in changed) and min(differences.values()) > 0,
        "logits change by up to " + ", ".join(f"{difference:.2g} ({name})" for name, difference in differences.items()),
        {"max_logit_difference": differences},
    )


def _slack(gate: Gate) -> float:
    # A token passes for greedy if rounding could have put it first: both logits may be off by the difference measured.
    return 2 * gate.figures["max_logit_difference"]


def _writer(reference: PeftReference, model: TFLiteGPT2, subject: LoraSubject) -> PeftReference | TFLiteReference:
    """Whose texts an engine has to write: PyTorch's, and under a recipe that rounds, those of the rounded weights."""
    return reference if RECIPES[subject.recipe].exact else TFLiteReference(model, subject.tokenizer.vocabulary)


def _swap_gate(
    subject: LoraSubject, reference: PeftReference, folders: Sequence[Path], slack: Sequence[float], temporary: Path
) -> Gate:
    """base, A, B, A, base in one engine: each time the text that PyTorch writes, or the rounded weights in TFLite."""
    variant = next(variant for variant in subject.variants if variant.plain)
    adapters = [_file(subject.base, folder, variant.rank) for folder in folders[:2]]
    files = [temporary / f"swap_{index}.tflite" for index in range(len(adapters))]
    for path, adapter in zip(files, adapters):
        path.write_bytes(encode_adapter(adapter))
    wrong, texts, seconds = [], [], []
    with open_engine(subject.litertlm) as engine:
        context = TFLiteGPT2(subject.model).context
        for index in (None, 0, 1, 0, None):
            path = None if index is None else files[index]
            if path:
                engine.check_adapter(path)
            written: list[str] = []

            def complete(prompt: str, count: int) -> str:
                written.append(engine.complete(prompt, count, adapter=path))
                return written[-1]

            writer = _writer(reference.use(index), variant.open(None if index is None else adapters[index]), subject)
            expected = Expected(writer, subject.tokenizer, subject.start, subject.stop, context, max(slack))
            seconds.append(engine.swap_seconds(path, expected.count))
            gate = text_gate(
                "base" if index is None else folders[index].name, completions(complete, expected), expected
            )
            texts.append([gate.name, written])
            if not gate.passed:
                wrong.append(f"{gate.name}: {gate.found}")
    names = [folder.name for folder in folders[:2]]
    same = [name for index, name in enumerate(names, 1) if texts[index][1] == texts[0][1]]
    found = f"{writer.name}'s greedy texts each time ({', '.join(names)})"
    if same:
        found += f"; the short texts of {' and '.join(same)} are the base's"
    return Gate(
        "LiteRT-LM, .litertlm: base, A, B, A, base",
        not wrong,
        "; ".join(wrong) or found,
        {"texts": texts},
        {"a swap, at most": max(seconds[1:])},
    )


def _merge_gates(
    subject: LoraSubject, reference: PeftReference, folder: Path, index: int, ids: Ids, temporary: Path
) -> list[Gate]:
    """A merged .task: logits as PyTorch's with the adapter, the path beside the weights, and the engine's text."""
    rank = subject.variants[0].rank
    file = _file(subject.base, folder, rank)
    merged, model = temporary / f"merged_{index}.task", temporary / f"merged_{index}.tflite"
    merge_into_bundle(subject.task, file, merged)
    read_task(merged).copy_entry(MODEL_ENTRY, model)
    name = f".task with {file.header.name} merged"
    with quiet():
        runner = TFLiteGPT2(model)
        parity = _as_in_pytorch(name, runner, reference.use(index), subject, ids)
        tokens = [subject.start, *ids.bundle[: min(TEXT_TOKENS, runner.context - 1)]]
        beside, inside = (
            one.along(tokens)[:, : subject.tokenizer.vocabulary] for one in (subject.variants[0].open(file), runner)
        )
    kl = compare_logits(beside, inside)["mean_kl"]
    # Weights of four bits are rounded a second time, by as much as the first.
    limit = RECIPES[subject.recipe].mean_kl if subject.recipe.startswith("int4") else MERGED_KL
    gates = [
        parity,
        Gate(
            f"{name}: against the adapter beside the weights",
            kl <= limit,
            f"mean KL divergence {kl:.2g} nats (at most {limit:g})",
            {"mean_kl": kl},
        ),
    ]
    if not subject.engine_reads_task:
        return gates
    expected = Expected(
        _writer(reference, runner, subject),
        subject.tokenizer,
        subject.start,
        subject.stop,
        runner.context,
        _slack(parity),
    )
    with open_engine(merged) as engine:
        gates.append(text_gate(f"LiteRT-LM, {name}: greedy text", completions(engine.complete, expected), expected))
    return gates
