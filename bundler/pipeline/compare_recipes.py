"""One checkpoint in several recipes: what each weighs, how far it is from PyTorch, and how fast it is here."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from bundler.checkpoints.checkpoint import open_checkpoint
from bundler.containers.bundle import open_bundle
from bundler.containers.tokenizer import bundle_tokenizer
from bundler.conversion.quantize import check_known, check_recipe
from bundler.conversion.recipes import AUTO
from bundler.doctor.own_pieces import read_sound_vocabulary
from bundler.errors import OptionError
from bundler.pipeline.bench import BenchOptions, litertlm_candidate, measure_rounds, summarize
from bundler.pipeline.build import build
from bundler.pipeline.plan import BuildOptions
from bundler.pipeline.report import render
from bundler.system.machine import this_machine
from bundler.system.native_output import quiet
from bundler.system.temporary_folder import temporary_folder
from bundler.tflite.fixed_model import write_fixed
from bundler.verification.divergence import Divergence
from bundler.verification.gate import Progress
from bundler.verification.logit_gates import text_distance, verification_pair
from bundler.verification.text_divergence import text_blocks, text_divergence
from bundler.verification.verify import check_texts

LENGTH = 128  # tokens read, and of context written after, for the speed
NAME = "compared"


@dataclass(frozen=True)
class CompareOptions:
    """What is compared. `build`: of every recipe, with its texts; its recipe and its output are not used."""

    build: BuildOptions
    recipes: tuple[str, ...]
    rounds: int = 3


def compare_recipes(options: CompareOptions, progress: Progress = Progress()) -> dict[str, Any]:
    """Build every recipe, and measure it; returns what comparison.json has. Nothing is kept of the builds.

    The distance is taken on `options.build.texts`, or on the built-in text. The speeds are taken in turns. Raises
    OptionError for a recipe that the checkpoint cannot have, before any is built.
    """
    given = options.build
    if not options.recipes or AUTO in options.recipes or len({*options.recipes}) < len(options.recipes):
        raise OptionError(
            f"`recipes` {','.join(options.recipes)}: expected recipes, each once, and none of them {AUTO}"
        )
    for recipe in options.recipes:
        check_known(recipe)
    checkpoint = open_checkpoint(given.model, tokenizer=given.tokenizer, revision=given.revision, hub=given.hub)
    for recipe in options.recipes:
        check_recipe(recipe, checkpoint.architecture)
    check_texts(given.texts)
    with temporary_folder("compare") as folder:
        results, bundles = {}, {}
        for recipe in options.recipes:
            output = folder / recipe
            named = Progress(
                lambda text, recipe=recipe: progress.stage(f"{recipe}: {text}"),
                lambda text, total, recipe=recipe: progress.bar(f"{recipe}: {text}", total),
            )
            manifest = build(replace(given, recipe=recipe, output=output, name=NAME, verify=False, speed=False), named)
            bundles[recipe] = output / f"{NAME}.litertlm"
            with named.stage("Comparing with PyTorch"), quiet():
                distance = _distance(output / f"{NAME}.task", options)
            results[recipe] = {"bytes": manifest["bytes"], **asdict(distance)}
        length = min(LENGTH, manifest["context"] // 4)
        tokens = min(BenchOptions.tokens, length)
        workload = BenchOptions(None, (length,), (length,), tokens, options.rounds).workload()
        candidates = [replace(litertlm_candidate(name, path, folder), starts=None) for name, path in bundles.items()]
        with progress.bar("Measuring the speed in turns", options.rounds * len(candidates)) as done:
            turns, _ = measure_rounds(
                candidates, workload, options.rounds, lambda finished, total, text: done(completed=finished)
            )
    for recipe, measured in turns.items():
        figures = summarize(measured)
        results[recipe] |= {
            "prefill": figures["prefill"][str(length)],
            "decode": figures["decode"][str(length)],
            "memory": figures["memory"],
        }
    return {
        "model": checkpoint.source.name,
        "machine": asdict(this_machine()),
        "threads": workload.threads,
        "speed_tokens": length,
        "rounds": options.rounds,
        "text": [path.name for path in given.texts],
        "recipes": results,
    }


def _distance(task: Path, options: CompareOptions) -> Divergence:
    given = options.build
    bundle = open_bundle(task)
    checkpoint = open_checkpoint(given.model, tokenizer=given.tokenizer, revision=given.revision, hub=given.hub)
    tokenizer = bundle_tokenizer(bundle, read_sound_vocabulary(checkpoint.folder))
    with temporary_folder("verify") as folder:
        write_fixed(bundle.model, model := folder / "model.tflite")
        if not given.texts:
            return text_distance(verification_pair(model, checkpoint, tokenizer, ""))
        blocks = text_blocks(given.texts, tokenizer, bundle.manifest["context"])
        return text_divergence(blocks, checkpoint, tokenizer.vocabulary, model, lambda read: None)


def write_comparison(result: dict[str, Any], folder: Path) -> None:
    """Write comparison.json, and comparison.html with the same."""
    (folder / "comparison.json").write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    page = render("comparison.html", result=result, columns=_columns(result))
    (folder / "comparison.html").write_text(page, encoding="utf-8")


def _columns(result: dict[str, Any]) -> list[dict[str, Any]]:
    """What is drawn: a title, and by recipe a value, its length as a share of the longest, and how it is written."""
    recipes = result["recipes"]
    drawn = {
        "Size of the .litertlm, MB": {
            name: (row["bytes"]["litertlm"] / 1e6, f"{row['bytes']['litertlm'] / 1e6:.1f}")
            for name, row in recipes.items()
        },
        "KL divergence from PyTorch, nats": {
            name: (row["mean_kl"], f"{row['mean_kl']:.1e} ± {row['mean_kl_error']:.0e}")
            for name, row in recipes.items()
        },
        "Perplexity": {
            name: (row["perplexity"], f"{row['perplexity']:.2f} ± {row['perplexity_error']:.2f}")
            for name, row in recipes.items()
        },
        "Written, tokens/s": {
            name: (row["decode"]["median"], f"{row['decode']['median']:,.0f}") for name, row in recipes.items()
        },
    }
    return [
        {
            "title": title,
            "rows": [
                (name, value / max(max(value for value, _ in rows.values()), 1e-30), text)
                for name, (value, text) in rows.items()
            ],
        }
        for title, rows in drawn.items()
    ]
