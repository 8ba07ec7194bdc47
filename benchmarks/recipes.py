"""Every recipe on one checkpoint: bytes per parameter, and the distance from PyTorch on a text.

On the embedded sample, with the held-out part of the text it was trained on (the default):

    python benchmarks/recipes.py gpt2_training/sample

Sizes alone, of a model with random weights:

    python benchmarks/recipes.py /tmp/gpt2-124M --tokens 0

Perplexity and KL divergence are in nats, over the next-token distributions of `--tokens` tokens, each context
starting anew with the start token. The figures with ± are standard errors of the mean.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from bundler.conversion.calibration import TOKENS, sequence_length, write_text
from bundler.conversion.convert import convert_graph, fill_graph
from bundler.conversion.exported_weights import TokenRows, exported_weights
from bundler.conversion.gptq_rounding import GptqRounding
from bundler.conversion.quantize import check_recipe, quantize
from bundler.conversion.recipes import AUTO, RECIPES, REFERENCE
from bundler.conversion.rounding import nearest
from bundler.errors import OptionError
from bundler.pipeline.plan import BuildOptions, plan_build
from bundler.system.native_output import quiet
from bundler.tflite.runner import TFLiteGPT2
from bundler.verification.divergence import compare_rows, divergence
from bundler.verification.references import Reference
from bundler.verification.text import verification_text
from gpt2_training.corpus import STANDARD_LIBRARY, read_corpus
from tokenizer_tools.vocabulary import reference_tokenizer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--tokens", type=int, default=8192, help="0: sizes only")
    parser.add_argument("--text", type=Path, help="instead of the held-out part of the Python standard library")
    parser.add_argument("--recipes", default=",".join(name for name in RECIPES if name != AUTO))
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        plan = plan_build(BuildOptions(arguments.model, folder / "out"))
        checkpoint, context = plan.checkpoint, plan.signatures.context
        tokenizer = reference_tokenizer(plan.vocabulary)
        parameters = sum(int(np.prod(shape)) for shape in checkpoint.architecture.tensor_shapes().values())
        rows = TokenRows(len(plan.vocabulary))
        convert_graph(checkpoint.architecture, rows, plan.signatures, folder / "graph")
        weights = exported_weights(checkpoint, context, rows)
        fill_graph(folder / "graph", weights, RECIPES[REFERENCE], folder / f"{REFERENCE}.tflite")

        start = plan.vocabulary.id_of_text(plan.start_token)
        held_out = arguments.text.read_text() if arguments.text else "\n".join(read_corpus(STANDARD_LIBRARY).held_out)
        ids = tokenizer.encode(held_out).ids[: arguments.tokens]
        blocks = [[start, *ids[i : i + context - 1]] for i in range(0, len(ids), context - 1)]
        expected = []
        if blocks:
            reference = Reference(checkpoint, len(plan.vocabulary))
            expected = [reference.logits(block) for block in blocks]
            del reference
        results, text = {}, None
        for recipe in arguments.recipes.split(","):
            path = folder / f"{recipe}.tflite"
            try:
                check_recipe(recipe, checkpoint.architecture)
            except OptionError as error:
                Console(stderr=True).print(str(error))
                continue
            if RECIPES[recipe].calibrated:
                calibration = [
                    [start, *tokenizer.encode(verification_text()).ids[i * 150 : (i + 1) * 150]] for i in range(4)
                ]
                quantize(folder / f"{REFERENCE}.tflite", RECIPES[recipe], path, calibration)
            elif recipe != REFERENCE:
                rounding = nearest
                if RECIPES[recipe].compensated:
                    if text is None:
                        length = sequence_length(context)
                        text = write_text(checkpoint, start, len(plan.vocabulary), (TOKENS // length, length))
                    rounding = GptqRounding(checkpoint, text)
                fill_graph(folder / "graph", weights, RECIPES[recipe], path, rounding)
            results[recipe] = {"bytes": path.stat().st_size, "bytes_per_parameter": path.stat().st_size / parameters}
            if blocks:
                with quiet():
                    model = TFLiteGPT2(path)
                results[recipe] |= divergence(
                    compare_rows(reference, model.along(ids)[:, : reference.shape[1]], ids[1:])
                    for reference, ids in zip(expected, track(blocks, transient=True, console=Console(stderr=True)))
                ).as_dict()
            if recipe != REFERENCE:
                path.unlink()

    table = Table(
        "recipe",
        "bytes/parameter",
        "perplexity",
        "mean KL",
        "99.9 % KL",
        "RMS Δp",
        "same top",
        "max |Δlogit|",
        title=f"{arguments.model}, {parameters:,} parameters",
    )
    for recipe, figures in results.items():
        row = [recipe, f"{figures['bytes_per_parameter']:.3f}"]
        if blocks:
            row += [
                f"{figures['perplexity']:.3f} ± {figures['perplexity_error']:.3f}",
                f"{figures['mean_kl']:.2e} ± {figures['mean_kl_error']:.0e}",
                f"{figures['kl_999']:.2e}",
                f"{figures['rms_delta_p']:.2%}",
                f"{figures['same_top']:.2%} ± {figures['same_top_error']:.2%}",
                f"{figures['max_logit_difference']:.2e}",
            ]
        table.add_row(*row)
    Console(stderr=True, width=140).print(table)
    if arguments.json:
        print(json.dumps({"model": arguments.model, "parameters": parameters, "recipes": results}, indent=1))


if __name__ == "__main__":
    main()
