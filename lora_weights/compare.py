"""LoRA at several ranks against full fine-tuning: the same model, text and steps, side by side."""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Callable, Sequence

import torch

from gpt2_training.base_model import BaseModel
from gpt2_training.corpus import Corpus
from gpt2_training.generate import Sampler, sample
from gpt2_training.loop import Step
from lora_weights.fine_tune import FineTuneConfig, fine_tune
from lora_weights.train import with_adapter


@dataclass(frozen=True)
class Compared:
    """One way of fine-tuning. `rank` 0 is the whole model; `curve` is (step, held-out cross-entropy in nats)."""

    name: str
    rank: int
    trainable_parameters: int
    optimizer_bytes: int
    seconds: float
    perplexity: float
    perplexity_standard_error: float
    samples: dict[str, str]
    curve: list[tuple[int, float]]


@dataclass(frozen=True)
class ComparisonPlan:
    """What is compared: an adapter of each rank, and the whole model, trained at `full_learning_rate`, because what
    suits a few parameters breaks many.

    `config` is that of every adapter but for the rank. `sample_tokens` are written greedily after each of `prompts`.
    """

    ranks: Sequence[int]
    config: FineTuneConfig
    full_learning_rate: float
    prompts: Sequence[str]
    sample_tokens: int = 48


@dataclass(frozen=True)
class Comparison:
    """The untouched model, and what became of it in each way."""

    base: Compared
    results: list[Compared]


def compare(
    base: BaseModel,
    corpus: Corpus,
    plan: ComparisonPlan,
    on_step: Callable[[str, Step], None] = lambda name, step: None,
) -> Comparison:
    """Fine-tune copies of `base`, whole and with an adapter of each rank."""
    text, untouched, results = base.encode(corpus, plan.config), None, []
    for rank in (0, *plan.ranks):
        name = f"LoRA, rank {rank}" if rank else "full fine-tuning"
        chosen = replace(plan.config, rank=rank, **({} if rank else {"learning_rate": plan.full_learning_rate}))
        tuned = copy.deepcopy(base.model).requires_grad_(True)
        tuned = with_adapter(tuned, chosen) if rank else tuned
        if untouched is None:
            samples = _samples(tuned, base, plan)
        result = fine_tune(tuned, text, chosen, lambda step: on_step(name, step))
        if untouched is None:
            untouched = Compared(
                "the model as it was", 0, 0, 0, 0.0, result.before.value, result.before.standard_error, samples, []
            )
        curve = [(step.step, step.held_out) for step in result.steps if step.held_out is not None]
        results.append(
            Compared(
                name,
                rank,
                result.trainable,
                result.optimizer_bytes,
                result.seconds,
                result.after.value,
                result.after.standard_error,
                _samples(tuned, base, plan),
                curve,
            )
        )
    return Comparison(untouched, results)


def _samples(model: torch.nn.Module, base: BaseModel, plan: ComparisonPlan) -> dict[str, str]:
    model.eval()
    sampler = Sampler(model, base.tokenizer, base.start)
    return {prompt: "".join(sample(sampler, prompt, plan.sample_tokens, temperature=0)) for prompt in plan.prompts}


def comparison_record(comparison: Comparison) -> dict:
    """What `task-bundler lora compare` writes as comparison.json."""
    return asdict(comparison)


def comparison_table(comparison: Comparison) -> str:
    """The same as Markdown: a table, then what each one writes."""
    lines = ["| | trainable parameters | optimizer state | seconds | held-out perplexity |", "|---|---|---|---|---|"]
    for result in (comparison.base, *comparison.results):
        lines.append(
            f"| {result.name} | {result.trainable_parameters:,} | {result.optimizer_bytes / 1e6:,.2f} MB | "
            f"{result.seconds:.0f} | {result.perplexity:.2f} ± {result.perplexity_standard_error:.2f} |"
        )
    for prompt in comparison.base.samples:
        lines += ["", f"After `{prompt!r}`, greedily:"]
        for result in (comparison.base, *comparison.results):
            lines += ["", f"{result.name}:", "", "```", prompt + result.samples[prompt], "```"]
    return "\n".join(lines) + "\n"


def write_comparison_plot(comparison: Comparison, output: Path) -> None:
    """Held-out loss over the steps, and over the number of trainable parameters, as SVG."""
    import math

    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "comparison"  # else ids in the file are random
    from matplotlib import pyplot

    figure, (over_steps, over_size) = pyplot.subplots(1, 2, figsize=(10, 4), sharey=True)
    for result in comparison.results:
        points = [(0, math.log(comparison.base.perplexity)), *result.curve]
        over_steps.plot(*zip(*points), marker="o", markersize=3, label=result.name)
        over_size.errorbar(
            result.trainable_parameters,
            math.log(result.perplexity),
            yerr=result.perplexity_standard_error / result.perplexity,
            marker="o",
            capsize=3,
        )
        over_size.annotate(
            result.name,
            (result.trainable_parameters, math.log(result.perplexity)),
            textcoords="offset points",
            xytext=(4, 6),
            fontsize=8,
        )
    over_steps.set_xlabel("step")
    over_steps.set_ylabel("held-out cross-entropy, nats per token")
    over_size.set_xlabel("trainable parameters")
    over_size.set_xscale("log")
    over_steps.legend()
    for axes in (over_steps, over_size):
        axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(output, metadata={"Date": None})
    pyplot.close(figure)
