"""The gates on LoRA support and on adapters: an adapter that loads and changes nothing must not leave this machine.

In this order: an adapter of zeros changes nothing, every LoRA input is consumed, an adapter acts, it acts as in
PyTorch with PEFT, the engine swaps between adapters and back, and merged weights do what the adapter did.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Callable

import numpy as np

from bundler.checkpoints.checkpoint import Checkpoint
from bundler.containers.task import MODEL_ENTRY, read_task
from bundler.containers.tokenizer import Ids
from bundler.conversion.recipes import RECIPES
from bundler.lora.merge_bundle import merge_into_bundle
from bundler.system.file_section import FileSection
from bundler.system.native_output import quiet
from bundler.system.temporary_folder import temporary_folder
from bundler.tflite.lora_inputs import unconsumed_inputs
from bundler.tflite.model import open_model
from bundler.tflite.runner import TFLiteGPT2, context_of
from bundler.verification.divergence import compare_logits
from bundler.verification.engine_gates import Expected, compare_texts, completions
from bundler.verification.gate import Gate, Progress, run_gates
from bundler.verification.logit_gates import GATES as LOGIT_GATES
from bundler.verification.logit_gates import TEXT_TOKENS, Pair, logit_gates
from bundler.verification.references import PeftReference, TFLiteReference
from bundler.verification.subject import Subject, Variant
from bundler.verification.text import verification_text
from lora_weights.adapter import tensor_name
from lora_weights.adapter_file import AdapterFile, adapter_file, encode_adapter, zero_adapter
from lora_weights.peft_adapter import adapter_name, read_peft
from lora_weights.random_adapter import write_random_adapter

# KL divergence, in nats, that merging may add to the path that computes the adapter beside the weights.
MERGED_KL = 0.01
# Nats. What sums in another order change: 1e-7 of a logit in fp32, a step of an activation here and there in int8.
ROUNDING_KL = 1e-4
# Of a random adapter's deltas, in standard deviations of the weights: enough to change the text, not to break it.
RANDOM_STRENGTH = 0.3
RANDOM_RANK = 4
DECODE_STEPS = 4
SWAPS = (None, 0, 1, 0, None)  # the numbers of the adapters, in turn; None: the base


@dataclass(frozen=True)
class Loaded:
    """A subject with PEFT folders to load, random ones after its own until there are two to swap between.

    `ids`: a text that fills a context. `shown`: the numbers of the folders that the bundle is for; a random one's only
    if there is no other. `folder` takes what the gates write.
    """

    subject: Subject
    folders: tuple[Path, ...]
    ids: Ids
    folder: Path

    @property
    def shown(self) -> range:
        return range(max(1, len(self.subject.lora.adapters)))

    def open(self, variant: Variant, adapter: AdapterFile | None = None) -> TFLiteGPT2:
        """The variant's model; without an adapter its LoRA inputs are zeros."""
        rank = None if variant.plain else variant.rank
        return self.subject.runtimes.model(variant.model, rank=rank, adapter=adapter and adapter.tensors)

    def file(self, index: int, rank: int) -> AdapterFile:
        """The adapter of folder number `index`, fitted to the base."""
        base = self.subject.lora.base
        return adapter_file(read_peft(self.folders[index], base.layers), base, rank)


def lora_gates(subject: Subject, progress: Progress = Progress()) -> list[Gate]:
    """The gates on LoRA: on the models as they were converted, if they were quantized since, and on the bundles."""
    lora, gates = subject.lora, []
    if lora and lora.converted:
        variants = replace(lora, variants=lora.converted, task=None, litertlm=None)
        gates += _lora_gates(replace(subject, model=lora.converted[0].model, recipe="fp32", lora=variants), progress)
    return gates + _lora_gates(subject, progress) if lora else []


def _lora_gates(subject: Subject, progress: Progress) -> list[Gate]:
    lora, recipe = subject.lora, subject.recipe
    with temporary_folder("lora") as temporary:
        total = len(lora.variants) * len(VARIANT_GATES)
        with progress.steps(f"Verifying LoRA inputs in {recipe}", total) as step, quiet():
            loaded = _load(subject, Path(temporary))
            gates = [gate for variant in lora.variants for gate in _variant_gates(variant, loaded, step)]
        pairs = [
            (variant, index)
            for variant in lora.variants
            for index in (range(len(loaded.folders)) if variant.plain else loaded.shown)
        ]
        title = f"Verifying adapters in {recipe} against PyTorch and PEFT"
        with progress.steps(title, len(pairs) * len(LOGIT_GATES)) as step, quiet():
            reference = PeftReference(subject.checkpoint, subject.tokenizer.vocabulary, loaded.folders)
            parity = {}
            for variant, index in pairs:
                file = loaded.file(index, variant.rank)
                name = f"{variant.name}, adapter {file.header.name}"
                model, peft = loaded.open(variant, file), reference.use(index)
                parity[variant.name, index] = _as_in_pytorch(name, model, peft, loaded, step)
            gates += parity.values()
        if lora.litertlm:
            with progress.steps("Verifying swaps in LiteRT-LM", len(SWAPS)) as step:
                slack = max(_slack(parity[lora.variants[-1].name, index]) for index in range(len(loaded.folders)))
                gates.append(_swap_gate(loaded, reference, slack, step))
        if lora.task:
            with progress.steps("Verifying merged bundles", len(loaded.shown)) as step:
                for index in loaded.shown:
                    gates += _merge_gates(loaded, reference, index)
                    step()
    return gates


def _variant_gates(variant: Variant, loaded: Loaded, step: Callable[[], None]) -> list[Gate]:
    return run_gates([partial(gate, loaded=loaded) for gate in VARIANT_GATES], variant, step)


def _load(subject: Subject, folder: Path) -> Loaded:
    adapters = subject.lora.adapters
    random = _random_adapters(subject.checkpoint, folder, max(0, 2 - len(adapters)))
    ids = subject.tokenizer.encode(verification_text()).repeated(context_of(subject.model))
    return Loaded(subject, (*adapters, *random), ids, folder)


def _as_in_pytorch(
    name: str, model: TFLiteGPT2, reference: PeftReference, loaded: Loaded, step: Callable[[], None] = lambda: None
) -> Gate:
    """The gates on logits, by the limits of the subject's recipe, as one."""
    subject = loaded.subject
    gates = logit_gates(Pair(model, reference, subject.recipe, loaded.ids, subject.tokenizer.start), step)
    *prompts, text = (gate.figures for gate in gates)
    equal, tokens = (sum(figures[key] for figures in prompts) for key in ("greedy_tokens_equal", "greedy_tokens"))
    difference = max(gate.figures["max_logit_difference"] for gate in gates)
    failed = "; ".join(f"{gate.name}: {gate.found}" for gate in gates if not gate.passed)
    sentence = (
        f"largest logit difference {difference:.1e}; {equal} of {tokens} greedy tokens equal; "
        f"mean KL divergence {text['mean_kl']:.2g} nats"
    )
    return Gate(
        f"{name}: as in PyTorch",
        not failed,
        failed or sentence,
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


def _outputs(model: TFLiteGPT2, loaded: Loaded) -> np.ndarray:
    """Logits [DECODE_STEPS, rows] after a prompt that fills one prefill chunk and a part of another."""
    length = min(max(model.prefill_lengths) + 2, model.context - DECODE_STEPS)
    ids = [loaded.subject.tokenizer.start, *loaded.ids.bundle]
    model.reset()
    model.prefill(ids[:length])
    return np.stack([model.decode(token) for token in ids[length : length + DECODE_STEPS]])


def consumed_gate(variant: Variant, loaded: Loaded) -> Gate:
    """Every LoRA input of every signature reaches an output; in prefill, but for those that can have no effect."""
    layers = len(loaded.open(variant).lora_shapes) // 8
    # What prefill returns is the cache, and nothing after the last layer's keys and values goes into it.
    without_effect = {tensor_name(projection, factor, layers - 1) for projection in "qo" for factor in "ab"}
    lost = [
        f"{signature}: {name}"
        for signature, names in unconsumed_inputs(open_model(FileSection.whole(variant.model))).items()
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


def zero_gate(variant: Variant, loaded: Loaded) -> Gate:
    """An adapter of zeros gives the plain signatures' logits, bit for bit; where decode adds up in another order, up to
    what that rounds.
    """
    plain = _outputs(loaded.subject.runtimes.model(loaded.subject.model), loaded)
    zeros = _outputs(loaded.open(variant, zero_adapter(loaded.subject.lora.base, variant.rank)), loaded)
    different = int((plain != zeros).sum())
    found, figures = f"{different} of {plain.size:,} logits differ from the base's", {"different": different}
    if variant.unpacked:
        figures["mean_kl"] = compare_logits(plain, zeros)["mean_kl"]
        found += f", with its decode for one length; mean KL divergence {figures['mean_kl']:.1e}"
    passed = not different or figures.get("mean_kl", np.inf) <= ROUNDING_KL
    return Gate(f"{variant.name}: zero adapter", passed, found, {"logits": plain.size, **figures})


def acts_gate(variant: Variant, loaded: Loaded) -> Gate:
    """Each adapter changes the logits, and to numbers. In bundles, adapters have been seen that load and change
    nothing.
    """
    base = _outputs(loaded.open(variant), loaded)
    files = [loaded.file(index, variant.rank) for index in range(len(loaded.folders))]
    changed = [_outputs(loaded.open(variant, file), loaded) for file in files]
    differences = {
        adapter_name(folder): float(np.abs(base - logits).max()) for folder, logits in zip(loaded.folders, changed)
    }
    return Gate(
        f"{variant.name}: adapters act",
        all(np.isfinite(logits).all() for logits in changed) and min(differences.values()) > 0,
        "logits change by up to " + ", ".join(f"{difference:.2g} ({name})" for name, difference in differences.items()),
        {"max_logit_difference": differences},
    )


# On each set of signatures, in the order of the table.
VARIANT_GATES = (consumed_gate, zero_gate, acts_gate)


def _slack(gate: Gate) -> float:
    # A token passes for greedy if rounding could have put it first: both logits may be off by the difference measured.
    return 2 * gate.figures["max_logit_difference"]


def _writer(reference: PeftReference, model: TFLiteGPT2, subject: Subject) -> PeftReference | TFLiteReference:
    """Whose texts an engine has to write: PyTorch's, and under a recipe that rounds, those of the rounded weights."""
    return reference if RECIPES[subject.recipe].exact else TFLiteReference(model, subject.tokenizer.vocabulary)


def _swap_gate(loaded: Loaded, reference: PeftReference, slack: float, step: Callable[[], None]) -> Gate:
    """base, A, B, A, base in one engine: each time the text that PyTorch writes, or the rounded weights in TFLite."""
    subject = loaded.subject
    variant = next(variant for variant in subject.lora.variants if variant.plain)
    adapters = [loaded.file(index, variant.rank) for index in range(2)]
    paths = [loaded.folder / f"swap_{index}.tflite" for index in range(len(adapters))]
    for path, adapter in zip(paths, adapters):
        path.write_bytes(encode_adapter(adapter))
    names = [adapter_name(folder) for folder in loaded.folders[:2]]
    context = context_of(subject.model)
    wrong, texts, seconds = [], [], []
    with subject.runtimes.engine(subject.lora.litertlm) as engine:
        for index in SWAPS:
            path = None if index is None else paths[index]
            if path:
                engine.check_adapter(path)
            written: list[str] = []

            def complete(prompt: str, count: int) -> str:
                written.append(engine.complete(prompt, count, adapter=path))
                return written[-1]

            writer = _writer(
                reference.use(index), loaded.open(variant, None if index is None else adapters[index]), subject
            )
            expected = Expected(writer, subject.tokenizer, context, slack)
            seconds.append(engine.swap_seconds(path, expected.count))
            gate = compare_texts("base" if index is None else names[index], completions(complete, expected), expected)
            texts.append([gate.name, written])
            if not gate.passed:
                wrong.append(f"{gate.name}: {gate.found}")
            step()
    same = [name for index, name in enumerate(names, 1) if texts[index][1] == texts[0][1]]
    sentence = f"{writer.name}'s greedy texts each time ({', '.join(names)})"
    if same:
        sentence += f"; the short texts of {' and '.join(same)} are the base's"
    return Gate(
        "LiteRT-LM, .litertlm: base, A, B, A, base",
        not wrong,
        "; ".join(wrong) or sentence,
        {"texts": texts},
        {"a swap, at most": max(seconds[1:])},
    )


def _merge_gates(loaded: Loaded, reference: PeftReference, index: int) -> list[Gate]:
    """A merged .task: logits as PyTorch's with the adapter, the path beside the weights, and the engine's text."""
    subject, variant = loaded.subject, loaded.subject.lora.variants[0]
    file = loaded.file(index, variant.rank)
    merged, model = loaded.folder / f"merged_{index}.task", loaded.folder / f"merged_{index}.tflite"
    merge_into_bundle(subject.lora.task, file, merged)
    read_task(merged).copy_entry(MODEL_ENTRY, model)
    name = f".task with {file.header.name} merged"
    with quiet():
        runner = subject.runtimes.model(model)
        parity = _as_in_pytorch(name, runner, reference.use(index), loaded)
        tokens = [subject.tokenizer.start, *loaded.ids.bundle[: min(TEXT_TOKENS, runner.context - 1)]]
        beside, inside = loaded.open(variant, file).along(tokens), runner.along(tokens)
    vocabulary = subject.tokenizer.vocabulary
    kl = compare_logits(beside[:, :vocabulary], inside[:, :vocabulary])["mean_kl"]
    recipe = RECIPES[subject.recipe]
    limit = recipe.mean_kl if recipe.coarse else MERGED_KL  # coarse weights are rounded a second time
    gates = [
        parity,
        Gate(
            f"{name}: against the adapter beside the weights",
            kl <= limit,
            f"mean KL divergence {kl:.2g} nats (at most {limit:g})",
            {"mean_kl": kl},
        ),
    ]
    if subject.tokenizer.byte_mapped:  # by MediaPipe alone
        return gates
    expected = Expected(_writer(reference, runner, subject), subject.tokenizer, runner.context, _slack(parity))
    with subject.runtimes.engine(merged) as engine:
        texts = completions(engine.complete, expected)
        gates.append(compare_texts(f"LiteRT-LM, {name}: greedy text", texts, expected))
    return gates
