"""LoRA at several ranks against full fine-tuning, and against a trainer for devices: the same model, text and steps."""

from __future__ import annotations

import copy
import gc
import math
from dataclasses import asdict, dataclass, replace
from html import escape
from pathlib import Path
from typing import Callable, Mapping, NamedTuple, Sequence

import numpy as np
import torch
from safetensors.torch import save

from gpt2_training.base_model import BaseModel, EncodedText
from gpt2_training.corpus import Corpus
from gpt2_training.fused import fuse
from gpt2_training.generate import Sampler, sample
from gpt2_training.loop import StateFile, Step
from gpt2_training.perplexity import Perplexity
from lora_weights.fine_tune import FineTuneConfig, FineTuned, fine_tune
from lora_weights.train import with_adapter
from tokenizer_tools.printable import printable


@dataclass(frozen=True)
class Compared:
    """One kind of fine-tuning. `rank` 0 is the whole model; `curve` is (step, held-out cross-entropy in nats).

    `disk_bytes` has what is saved of it: a checkpoint's weights in float16, an adapter's in float32. `memory_bytes` is
    the most that training took above the opened model; None where it was not measured, or a part was trained before.
    """

    name: str
    rank: int
    trainable_parameters: int
    trainable_share: float
    disk_bytes: int
    optimizer_bytes: int
    memory_bytes: int | None
    seconds: float
    perplexity: float
    perplexity_standard_error: float
    samples: dict[str, str]
    curve: list[tuple[int, float]]


class Kind(NamedTuple):
    """A kind of fine-tuning: of the whole model with `rank` 0; by the trainer for devices, if `on_device`."""

    rank: int
    on_device: bool = False

    @property
    def name(self) -> str:
        return f"LoRA, rank {self.rank}{', as on a device' * self.on_device}" if self.rank else "full fine-tuning"

    @property
    def label(self) -> str:
        """The same for the name of a file."""
        return f"{'device-' * self.on_device}rank-{self.rank or 'full'}"


@dataclass(frozen=True)
class DeviceTrainer:
    """Trains an adapter of this `rank` without PyTorch. `train` returns what the training took, and the matrices by
    PEFT's names for them.
    """

    rank: int
    train: Callable[
        [EncodedText, FineTuneConfig, StateFile, Callable[[Step], None]], tuple[FineTuned, Mapping[str, np.ndarray]]
    ]


@dataclass(frozen=True)
class ComparisonPlan:
    """What is compared: an adapter of each rank, and the whole model, trained at `full_learning_rate`, because what
    suits a few parameters breaks many; and one more adapter by `device`, if there is one.

    `config` is that of every adapter but for the rank. `sample_tokens` are written greedily after each of `prompts`.
    """

    ranks: Sequence[int]
    config: FineTuneConfig
    full_learning_rate: float
    prompts: Sequence[str]
    sample_tokens: int = 48
    device: DeviceTrainer | None = None

    @property
    def kinds(self) -> list[Kind]:
        """In the order of training."""
        return [Kind(0), *map(Kind, self.ranks), *([Kind(self.device.rank, True)] if self.device else [])]


@dataclass(frozen=True)
class Comparison:
    """The untouched model, and what became of it in each way."""

    base: Compared
    results: list[Compared]


@dataclass(frozen=True)
class ComparisonWatch:
    """Who looks on, and what is kept meanwhile. `on_step` is told the kind and its step; `state` gives the file of a
    kind's training; `memory` begins to measure, see `bundler.system.machine.memory_above_now`.
    """

    on_step: Callable[[Kind, Step], None] = lambda kind, step: None
    state: Callable[[Kind], StateFile] = lambda kind: StateFile()
    memory: Callable[[], Callable[[], int | None]] = lambda: lambda: None


def compare(
    base: BaseModel, corpus: Corpus, plan: ComparisonPlan, watch: ComparisonWatch = ComparisonWatch()
) -> Comparison:
    """Fine-tune copies of `base` in every kind of the plan."""
    text = base.encode(corpus, plan.config)
    samples, untouched, results = _samples(base.model, base, plan), None, []
    for kind in plan.kinds:
        before, compared = _trained(base, text, kind, plan, watch)
        if untouched is None:
            value, error = before.value, before.standard_error
            untouched = Compared("the model as it was", 0, 0, 0.0, 0, 0, None, 0.0, value, error, samples, [])
        results.append(compared)
    return Comparison(untouched, results)


def _trained(
    base: BaseModel, text: EncodedText, kind: Kind, plan: ComparisonPlan, watch: ComparisonWatch
) -> tuple[Perplexity, Compared]:
    """The perplexity before, and what became of the model."""
    rank, seen = kind.rank, []
    config = replace(plan.config, rank=rank, **({} if rank else {"learning_rate": plan.full_learning_rate}))

    def on_step(step: Step) -> None:
        seen.append(step.step)
        watch.on_step(kind, step)

    gc.collect()
    memory = watch.memory()
    if kind.on_device:
        result, matrices = plan.device.train(text, config, watch.state(kind), on_step)
    else:
        tuned = fuse(copy.deepcopy(base.model)).requires_grad_(True)
        tuned = with_adapter(tuned, config) if rank else tuned
        result = fine_tune(tuned, text, config, on_step, watch.state(kind), base.fingerprint)
    peak = memory() if seen[:1] == [1] else None
    if kind.on_device:
        tuned = _with_matrices(base, config, matrices)
    compared = Compared(
        kind.name,
        rank,
        result.trainable,
        result.trainable / base.model.num_parameters(),
        _disk_bytes(tuned, rank),
        result.optimizer_bytes,
        peak,
        result.seconds,
        result.after.value,
        result.after.standard_error,
        _samples(tuned, base, plan),
        [(step.step, step.held_out) for step in result.steps if step.held_out is not None],
    )
    return result.before, compared


def _with_matrices(base: BaseModel, config: FineTuneConfig, matrices: Mapping[str, np.ndarray]) -> torch.nn.Module:
    from peft import set_peft_model_state_dict

    tuned = with_adapter(copy.deepcopy(base.model), config)
    set_peft_model_state_dict(tuned, {name: torch.tensor(matrix) for name, matrix in matrices.items()})
    return tuned


def _disk_bytes(model: torch.nn.Module, rank: int) -> int:
    tensors = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    return len(save({name: (value if rank else value.half()).detach().cpu() for name, value in tensors.items()}))


def _samples(model: torch.nn.Module, base: BaseModel, plan: ComparisonPlan) -> dict[str, str]:
    model.eval()
    sampler = Sampler(model, base.tokenizer, base.start)
    return {prompt: "".join(sample(sampler, prompt, plan.sample_tokens, temperature=0)) for prompt in plan.prompts}


def comparison_record(comparison: Comparison) -> dict:
    """What `task-bundler lora compare` writes as comparison.json."""
    return asdict(comparison)


def comparison_table(comparison: Comparison) -> str:
    """The same as Markdown: a table, then what each one writes."""
    lines = [f"| {' | '.join(_COLUMNS)} |", "|---" * len(_COLUMNS) + "|"]
    lines += [f"| {' | '.join(_cells(result))} |" for result in (comparison.base, *comparison.results)]
    for prompt in comparison.base.samples:
        lines += ["", f"After `{prompt!r}`, greedily:"]
        for result in (comparison.base, *comparison.results):
            lines += ["", f"{result.name}:", "", "```", prompt + result.samples[prompt], "```"]
    return "\n".join(lines) + "\n"


def comparison_page(comparison: Comparison, title: str, plot: str) -> str:
    """The same as an HTML page that needs nothing beside it; `plot` is the SVG of `write_comparison_plot`."""
    head = "".join(f"<th>{name}</th>" for name in _COLUMNS)
    kinds = (comparison.base, *comparison.results)
    rows = "".join(
        f"<tr><th>{escape(name)}</th>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"
        for name, *cells in map(_cells, kinds)
    )
    samples = "".join(
        f"<h3>After <code>{escape(printable(prompt))}</code></h3>"
        + "".join(
            f"<h4>{escape(kind.name)}</h4><pre><b>{escape(prompt)}</b>{escape(kind.samples[prompt])}</pre>"
            for kind in kinds
        )
        for prompt in comparison.base.samples
    )
    svg = plot[plot.index("<svg") :]
    return _PAGE.format(
        title=escape(printable(title)),
        verdict=escape(_verdict(comparison)),
        head=head,
        rows=rows,
        samples=samples,
        svg=svg,
    )


_COLUMNS = ("", "trained parameters", "on disk", "optimizer state", "memory", "time", "held-out perplexity")


def _cells(kind: Compared) -> list[str]:
    perplexity = f"{kind.perplexity:.2f} ± {kind.perplexity_standard_error:.2f}"
    if not kind.trainable_parameters:
        return [kind.name, "0", "", "", "", "", perplexity]
    memory = "not measured" if kind.memory_bytes is None else f"{kind.memory_bytes / 1e6:,.0f} MB"
    return [
        kind.name,
        f"{kind.trainable_parameters:,} ({kind.trainable_share:.2%})",
        f"{kind.disk_bytes / 1e6:,.2f} MB",
        f"{kind.optimizer_bytes / 1e6:,.2f} MB",
        memory,
        f"{kind.seconds:,.0f} s",
        perplexity,
    ]


def _verdict(comparison: Comparison) -> str:
    best = min(comparison.results, key=lambda kind: kind.perplexity)
    small = min(comparison.results, key=lambda kind: kind.trainable_parameters)
    return (
        f"Held-out perplexity {comparison.base.perplexity:.2f} before; {best.perplexity:.2f} after {best.name}, and "
        f"{small.perplexity:.2f} after {small.name}, which trains {small.trainable_share:.2%} of the parameters."
    )


_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; --ink: #1a1a1a; --paper: #fff; --line: #767676; --box: #f2f2f2 }}
@media (prefers-color-scheme: dark) {{ :root {{ --ink: #e8e8e8; --paper: #16181c; --line: #8c8c8c; --box: #23262c }} }}
body {{ font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 60rem;
  margin: 0 auto; padding: 1rem }}
.wide {{ overflow-x: auto }}
table {{ border-collapse: collapse; white-space: nowrap }}
th, td {{ border-bottom: 1px solid var(--line); padding: .3rem .6rem; text-align: right }}
tr > :first-child {{ text-align: left; padding-left: 0 }}
th {{ white-space: normal; min-width: 5.5rem }}
pre {{ background: var(--box); padding: .6rem; white-space: pre-wrap; overflow-wrap: anywhere }}
svg {{ background: #fff; width: 100%; min-width: 36rem; max-width: 60rem; height: auto }}
</style>
<h1>{title}</h1>
<p>{verdict}</p>
<div class="wide" tabindex="0" role="region" aria-label="Figures">
<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>
<h2>While training</h2>
<div class="wide" tabindex="0" role="region" aria-label="Curves">{svg}</div>
<h2>What they write, greedily</h2>
{samples}
</html>
"""


def write_comparison_plot(comparison: Comparison, output: Path) -> None:
    """Held-out perplexity over the steps, each curve named where it ends, and over the number of trained parameters, as
    SVG.
    """
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "comparison"  # else ids in the file are random
    from matplotlib import pyplot
    from matplotlib.ticker import FuncFormatter, NullFormatter

    figure, (over_steps, over_size) = pyplot.subplots(1, 2, figsize=(10, 4.5), sharey=True)
    last = max((step for kind in comparison.results for step, _ in kind.curve), default=1)
    ends = _apart([math.log10(math.exp(kind.curve[-1][1])) for kind in comparison.results])
    for kind, end in zip(comparison.results, ends):
        points = [(0, comparison.base.perplexity), *((step, math.exp(loss)) for step, loss in kind.curve)]
        (line,) = over_steps.plot(*zip(*points), marker="o", markersize=3)
        color = line.get_color()
        over_steps.annotate(
            kind.name,
            (points[-1][0], points[-1][1]),
            xytext=(last * 1.04, 10**end),
            fontsize=8,
            va="center",
            color=color,
            arrowprops={"arrowstyle": "-", "color": color, "linewidth": 0.6},
        )
        over_size.errorbar(
            kind.trainable_parameters,
            kind.perplexity,
            yerr=kind.perplexity_standard_error,
            marker="o",
            capsize=3,
            color=color,
        )
    for axes in (over_steps, over_size):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.grid(alpha=0.3, which="both")
    over_steps.set_xlim(0, last * 1.45)  # the names stand right of the last step
    over_steps.set_xticks([step for step in over_steps.get_xticks() if 0 <= step <= last])
    over_steps.set_xlabel("step")
    over_steps.set_ylabel("held-out perplexity")
    over_size.set_xlabel("trained parameters")
    over_size.set_xscale("log")
    figure.tight_layout()
    figure.savefig(output, metadata={"Date": None})
    pyplot.close(figure)


def _apart(heights: list[float]) -> list[float]:
    """The heights, moved up as far as labels need to stand clear of each other: a twentieth of their range."""
    gap = max(0.05 * (max(heights) - min(heights)), 0.02)
    moved: dict[int, float] = {}
    below = -math.inf
    for index in sorted(range(len(heights)), key=heights.__getitem__):
        below = moved[index] = max(heights[index], below + gap)
    return [moved[index] for index in range(len(heights))]
