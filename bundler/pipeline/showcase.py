"""What a finished bundle does, to be looked at: prompts continued by the base and by each adapter, the likeliest next
tokens beside PyTorch's, and how fast it is here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Callable, Mapping, Sequence

import numpy as np

from bundler.containers.llm_metadata import Sampler
from bundler.engines.litertlm import Sampling
from bundler.errors import OptionError
from bundler.pipeline.bench import BenchOptions, litertlm_candidate, measure_rounds, summarize
from bundler.system.machine import this_machine
from bundler.system.native_output import quiet
from bundler.system.temporary_folder import temporary_folder
from bundler.tflite.runner import context_of
from bundler.verification.engine_gates import PROMPTS
from bundler.verification.gate import Progress
from bundler.verification.logit_gates import verification_pair
from bundler.verification.subject import Subject
from tokenizer_tools.vocabulary import BytePairVocabulary, reference_tokenizer

TOKENS = 48  # of a text
LIKELIEST = 8  # next tokens of a prompt
SEED = 1
LENGTH = 128  # tokens read, and of context written after, for the speed
BASE = "base"


@dataclass(frozen=True)
class Shown:
    """What is shown: a verified subject, the .litertlm that writes, its adapter files by name, and the prompts."""

    subject: Subject
    bundle: Path
    adapters: Mapping[str, Path]
    prompts: tuple[str, ...]
    speed: bool

    @property
    def context(self) -> int:
        return context_of(self.subject.model)


def check_prompts(prompts: Sequence[str], vocabulary: BytePairVocabulary, context: int) -> None:
    """Raise OptionError for a prompt that leaves no room to write in, before the work."""
    for prompt in prompts:
        tokens = len(reference_tokenizer(vocabulary).encode(prompt).ids) + 1
        if not prompt or "\0" in prompt or tokens + context // 4 > context:
            raise OptionError(
                f"`prompts` {prompt[:40]!r}: {tokens} tokens with the start token; expected a text of at least one "
                f"character and at most {context - context // 4} tokens, without NUL; give another"
            )


def show_bundle(shown: Shown, progress: Progress = Progress()) -> dict[str, Any]:
    """The texts, the next tokens and the speed, as report.json has them. All but the speed is the same twice."""
    prompts = shown.prompts or _fitting(prompts_of(shown.subject.checkpoint.folder) or PROMPTS, shown)
    names = [BASE, *shown.adapters]
    with progress.steps(f"Letting {' and '.join(names)} write", len(prompts) * len(names)) as step:
        texts = _texts(shown, prompts, step)
    with progress.stage("Asking for the next tokens, and PyTorch too"), quiet():
        tokens = _next_tokens(shown, prompts)
    result = {"texts": texts, "next_tokens": tokens}
    if shown.speed:
        with progress.stage("Measuring the speed on this machine"):
            result["speed"] = _speed(shown)
    return result


def prompts_of(folder: Path) -> tuple[str, ...]:
    """The prompts that a model card offers: `widget` in the YAML at the beginning of README.md, as the hub has it."""
    import yaml

    try:
        card = (folder / "README.md").read_text(encoding="utf-8")
        fields = yaml.safe_load(re.match(r"---\n(.*?\n)---\n", card, re.S)[1])
        return tuple(entry["text"] for entry in fields["widget"] if isinstance(entry["text"], str) and entry["text"])
    except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError):  # no card, no YAML, or none with prompts
        return ()


def _fitting(prompts: Sequence[str], shown: Shown) -> list[str]:
    room = shown.context - shown.context // 4
    return [prompt for prompt in prompts if len(shown.subject.tokenizer.prompt(prompt)) <= room] or ["a"]


def _texts(shown: Shown, prompts: Sequence[str], step: Callable[[], None]) -> list[dict[str, Any]]:
    sampler = Sampler()
    samplings = {
        "greedy": Sampling(),
        "sampled": Sampling(sampler.temperature, sampler.top_k, sampler.top_p, SEED),
    }
    count, texts = min(TOKENS, shown.context // 4), []
    with shown.subject.runtimes.engine(shown.bundle) as engine:
        for prompt in prompts:
            for name in (BASE, *shown.adapters):
                written = {
                    kind: engine.complete(prompt, count, sampling, shown.adapters.get(name))
                    for kind, sampling in samplings.items()
                }
                texts.append({"prompt": prompt, "by": name, **written})
                step()
    return texts


def _next_tokens(shown: Shown, prompts: Sequence[str]) -> list[dict[str, Any]]:
    """Of each prompt, the likeliest tokens in the bundle and their probabilities there and in PyTorch."""
    subject, tokenizer = shown.subject, shown.subject.tokenizer
    pair = verification_pair(subject.model, subject.checkpoint, tokenizer, subject.recipe, subject.runtimes)
    result = []
    for prompt in prompts:
        first = [] if tokenizer.start is None else [tokenizer.start]
        ids = tokenizer.encode(prompt)
        found = _probabilities(pair.model.along([*first, *ids.bundle])[-1, : tokenizer.vocabulary])
        expected = _probabilities(pair.reference.logits([*first, *ids.reference])[-1])
        likeliest = np.argsort(-found, kind="stable")[:LIKELIEST].tolist()
        rows = [
            {"token": tokenizer.decode([id_]), "bundle": _rounded(found[id_]), "pytorch": _rounded(expected[id_])}
            for id_ in likeliest
        ]
        result.append({"prompt": prompt, "tokens": rows})
    return result


def _probabilities(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits.astype(np.float64) - logits.max())
    return powers / powers.sum()


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")


def _speed(shown: Shown) -> dict[str, Any]:
    """Medians of one turn of `bench`, with the machine."""
    length = min(LENGTH, shown.context // 4)
    workload = BenchOptions(
        prefill_lengths=(length,), decode_lengths=(length,), tokens=min(TOKENS, shown.context // 4)
    ).workload()
    with temporary_folder("bench") as folder:
        candidate = replace(litertlm_candidate(shown.bundle.name, shown.bundle, folder), starts=None)
        turns, _ = measure_rounds([candidate], workload, 1)
    figures = summarize(turns[candidate.name])
    machine = this_machine()
    return {
        "tokens": length,
        "prefill": figures["prefill"][str(length)]["median"],
        "decode": figures["decode"][str(length)]["median"],
        "load": figures["start"]["start"]["load"]["median"],
        "first_token": figures["start"]["start"]["first_token"]["median"],
        "memory": figures["memory"]["median"],
        "threads": workload.threads,
        "cpu": machine.cpu,
        "busy": machine.busy,
    }
