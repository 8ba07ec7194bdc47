"""The text that a build calibrates on, and the mix of recipes that it chooses by it."""

from __future__ import annotations

from pathlib import Path

from bundler.conversion.auto import Limit, Mix, choose_mix, export_sensitivities, read_sensitivities
from bundler.conversion.calibration import TOKENS, cut_text, sequence_length, write_tokens
from bundler.conversion.convert import Export, export_text
from bundler.conversion.exported_weights import exported_weights
from bundler.errors import BundleError
from bundler.pipeline.plan import BuildOptions, Plan
from bundler.pipeline.worker import Worker
from tokenizer_tools.vocabulary import reference_tokenizer


def given_text(path: Path | None) -> str | None:
    """The user's text. Raises BundleError where it is no UTF-8, or empty."""
    if path is None:
        return None
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise BundleError(f"{path} is not UTF-8 ({error}); expected a text file; give `calibration` another") from None
    if not text:
        raise BundleError(f"{path} is empty; expected a text; give `calibration` another")
    return text


def limit_of(options: BuildOptions) -> Limit:
    """The limit that the options of a build with the recipe `auto` name."""
    return Limit(None if options.max_size is None else int(options.max_size * 1e6), options.max_kl)


def write_calibration(plan: Plan, options: BuildOptions, export: Export, folder: Path, worker: Worker) -> Path:
    """Write the tokens that GPTQ rounds for to a file in `folder`: those of the user's text, or of the model's own."""
    path = folder / "calibration.npy"
    if text := given_text(options.calibration):
        ids = reference_tokenizer(plan.vocabulary).encode(text).ids
        write_tokens(path, cut_text(ids, plan.start_id, sequence_length(export.signatures.context)))
        return path
    title = "Letting the model write a text to calibrate on"
    worker.bar(title, TOKENS, "writing a text to calibrate on", export_text, export, plan.start_id, path)
    return path


def measure_mix(export: Export, text: Path, graph: Path, limit: Limit, worker: Worker) -> Mix:
    """Measure what each part of the model loses in each recipe, and choose the mix. Raises BundleError if none fits."""
    checkpoint, path = export.open(), text.with_name("sensitivities.json")
    layers = checkpoint.architecture.layers
    title = "Measuring what each part of the model loses in int8 and int4"
    worker.bar(title, layers, "measuring sensitivities", export_sensitivities, export, text, path)
    found = read_sensitivities(path)
    path.unlink()
    return choose_mix(found, exported_weights(checkpoint, export.signatures.context, export.rows), graph, limit)
