"""The whole pipeline: a checkpoint in, a folder with verified bundles out."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from bundler.containers.bundle import MANIFEST
from bundler.containers.litertlm import BASE_FINGERPRINT, write_litertlm
from bundler.containers.llm_metadata import LlmMetadata, Sampler
from bundler.containers.llm_parameters import LlmParameters
from bundler.containers.task import METADATA_ENTRY, MODEL_ENTRY, TOKENIZER_ENTRY, write_task
from bundler.containers.tokenizer import BundleTokenizer, sentencepiece_encoder, typed_texts, written_text
from bundler.conversion.auto import Mix
from bundler.conversion.convert import Calibration, Export, Signatures, at_placeholder, export_graph
from bundler.conversion.exported_weights import TokenRows
from bundler.conversion.lora_signatures import keep_lora_signatures
from bundler.conversion.quantize import quantize
from bundler.conversion.recipes import AUTO, RECIPES, REFERENCE
from bundler.conversion.trainer import TrainerShape
from bundler.conversion.unpacked_decode import unpack_decode
from bundler.errors import VerificationError
from bundler.lora.facts import base_of, lora_facts
from bundler.pipeline.adapters import ZERO, LoraPlan, export_adapters, lora_variants
from bundler.pipeline.app_assets import write_app_assets
from bundler.pipeline.calibrate import given_text, limit_of, measure_mix, write_calibration
from bundler.pipeline.manifest import bundle_manifest, folder_manifest, write_documents
from bundler.pipeline.memory_needs import memory_remark
from bundler.pipeline.plan import STATIC, BuildOptions, Plan, plan_build
from bundler.pipeline.report import weight_bytes, write_report
from bundler.pipeline.showcase import Shown, show_bundle
from bundler.pipeline.trainer_file import trainer_recipe, write_trainer
from bundler.pipeline.worker import Worker, warm_worker, write_weights
from bundler.system.output_folder import staged_folder
from bundler.tflite.placeholder_context import set_context
from bundler.verification.gate import Gate, Progress, require_passed
from bundler.verification.runtimes import runtimes_apart
from bundler.verification.subject import Lora, Subject, Trainer
from bundler.verification.text import verification_text
from bundler.verification.verify import FILE_GATES, verify
from lora_weights.adapter import Base
from lora_weights.card import licence_of
from tokenizer_tools.piece_vocabulary import PieceVocabulary
from tokenizer_tools.report import MismatchReport, compare
from tokenizer_tools.sentencepiece_model import SentencePieceModel, build_sentencepiece
from tokenizer_tools.symbols import BYTE_MAPPED
from tokenizer_tools.vocabulary import BytePairVocabulary, reference_tokenizer, tokenizer_json

TOKENIZER_FILE = "tokenizer.model"
# Of a trainer: what a phone has time for, and a rank that LiteRT-LM takes.
TRAINER_LENGTH, TRAINER_RANK = 128, 16
GENERATED_STRINGS = 300  # of each of the tokenizer's named generators, in every build


def build(options: BuildOptions, progress: Progress = Progress()) -> dict:
    """Build, verify, and write `options.output`; returns the manifest.

    `progress` is told of each part of the work. Raises VerificationError when a gate fails; then, as on every other
    error, nothing is left at the output.
    """
    stage = progress.stage
    with stage("Reading the checkpoint"):
        plan = plan_build(options)
        plan.checkpoint.check_finite()
    if remark := memory_remark(plan.checkpoint.architecture, options.verify):
        progress.say(remark)
    with staged_folder(options.output, options.force, options.inputs()) as folder:
        with warm_worker(progress) as worker:  # it imports the converter meanwhile
            with stage("Rebuilding the tokenizer"):
                pieces = build_sentencepiece(plan.vocabulary, mode=options.tokenizer_mode)
                tokenizer = _bundle_tokenizer(plan, pieces)
            with stage("Comparing its ids with the reference tokenizer's"):
                comparison = compare(plan.vocabulary, pieces, generated=GENERATED_STRINGS, built_in=True)
                _refuse_mismatches(comparison)
            models = _models(plan, options, _rows(tokenizer), folder)
            mix = _convert(plan, options, tokenizer, models, worker)
            trainer = _trainer(plan, options, _rows(tokenizer), folder, worker) if options.trainer else None
        with stage("Packing .task and .litertlm"):
            base = base_of(plan.checkpoint)
            ranks = plan.lora.ranks if plan.lora else ()
            facts = {
                **bundle_manifest(plan, options.recipe, pieces, _rows(tokenizer)),
                **({"mix": mix.as_dict()} if mix else {}),
                "lora": lora_facts(base, models.task.path, options.recipe, ranks),
            }
            bundles = _pack(plan, pieces, facts, models)
            adapters = export_adapters(plan.lora, base, folder / "adapters") if plan.lora else []
        subject = Subject(
            plan.checkpoint,
            models.task.path,
            options.recipe,
            tokenizer,
            (bundles.task, bundles.litertlm),
            options.engines,
            options.texts,
            comparison=comparison,
            files=(
                *bundles,
                folder / TOKENIZER_FILE,
                *(folder / facts["file"] for facts in adapters),
                *([trainer.path] if trainer else []),
            ),
            lora=_lora(plan.lora, base, models, bundles) if plan.lora else None,
            trainer=trainer,
        )
        shown = {facts["name"]: folder / facts["file"] for facts in adapters if facts["name"] != ZERO}
        gates, showcase = _verify_and_show(subject, bundles, shown, options, progress)
        sizes = {
            "tflite": models.task.path.stat().st_size,
            "task": bundles.task.stat().st_size,
            "litertlm": bundles.litertlm.stat().st_size,
            **({"trainer": trainer.path.stat().st_size} if trainer else {}),
        }
        weights = weight_bytes(models.task.path) | {"tokenizer file": (folder / TOKENIZER_FILE).stat().st_size}
        licence = licence_of(plan.checkpoint.source.path)
        for path in {path for model in models.distinct for path in (model.path, model.converted, model.growing)}:
            path.unlink(missing_ok=True)  # they are inside the containers, byte for byte, or were on the way
        manifest = {
            **folder_manifest(facts, sizes, gates, options.verify),
            **({"licence": licence} if licence else {}),
            **({"adapters": adapters} if plan.lora else {}),
        }
        write_report(folder, manifest, weights, comparison, showcase)
        if options.app_assets:
            write_app_assets(folder, manifest)
        write_documents(folder, plan.name, manifest)
    return manifest


def _verify_and_show(
    subject: Subject, bundles: Bundles, adapters: dict[str, Path], options: BuildOptions, progress: Progress
) -> tuple[list[Gate], dict[str, Any]]:
    """The gates of a build, and of a verified one what it writes. Raises VerificationError if a gate fails."""
    consequence = f"Nothing was written to {options.output}"
    if not options.verify:
        gates = verify(subject, progress, FILE_GATES)
        require_passed(gates, consequence)
        return gates, {}
    with runtimes_apart() as runtimes:
        subject = replace(subject, runtimes=runtimes)
        gates = verify(subject, progress)
        require_passed(gates, consequence)
        return gates, show_bundle(Shown(subject, bundles.litertlm, adapters, options.prompts, options.speed), progress)


def _refuse_mismatches(tokens: MismatchReport) -> None:
    """Raise VerificationError unless every id is the reference's, saying what differs and where."""
    if not tokens.mismatched_tokens:
        return
    example = next(example for counts in tokens.by_class.values() for example in counts.examples)
    rules = f" The tokenizer is not GPT-2's: {'; '.join(tokens.deviations)}." if tokens.deviations else ""
    raise VerificationError(
        f"{tokens.mismatched_tokens:,} of {tokens.total('tokens'):,} tokens differ from the reference tokenizer's, for "
        f"example near {example.text!r}: expected {example.expected}, found {example.found}.{rules} The model would "
        "read another text than the one typed; `task-bundler tokenizer report` lists every case"
    )


def _bundle_tokenizer(plan: Plan, pieces: SentencePieceModel) -> BundleTokenizer:
    """The tokenizer of the .task."""
    byte_mapped = pieces.mode == BYTE_MAPPED
    return BundleTokenizer(
        reference_tokenizer(plan.vocabulary),
        sentencepiece_encoder(pieces.proto, byte_mapped),
        pieces.alias_of,
        typed_texts(plan.vocabulary),
        plan.start_id,
        plan.stop_ids,
        byte_mapped,
        written_text(plan.vocabulary),
    )


def _rows(tokenizer: BundleTokenizer) -> TokenRows:
    return TokenRows(tokenizer.vocabulary, tokenizer.alias_of)


@dataclass(frozen=True)
class Model:
    """A TFLite file on its way into a container. `converted`: the same in fp32, where something needs it (ranges are
    measured on it, a verification holds adapters against it); the file itself if the recipe is fp32.

    Both are of the context's length. `growing`: with a placeholder in its place, if the signatures have one.
    """

    signatures: Signatures
    path: Path
    converted: Path

    @property
    def growing(self) -> Path:
        return self.path.with_suffix(".growing.tflite") if self.signatures.placeholder else self.path


class Models(NamedTuple):
    """The .task's and the .litertlm's: two with LoRA, because the engines want its inputs in different places. Else
    one, of which the .litertlm gets the growing form. `shared`: the signatures of the graph that both are made of.
    """

    task: Model
    litertlm: Model
    shared: Signatures

    @property
    def distinct(self) -> list[Model]:
        return [*dict.fromkeys((self.task, self.litertlm))]


def _models(plan: Plan, options: BuildOptions, rows: TokenRows, folder: Path) -> Models:
    def model(signatures: Signatures, name: str) -> Model:
        path = folder / f"{name}.tflite"
        return Model(signatures, path, path if RECIPES[options.recipe].exact else path.with_suffix(".fp32.tflite"))

    def growing(signatures: Signatures) -> Signatures:
        fixed = options.cache == STATIC or RECIPES[options.recipe].calibrated  # ranges are measured in one length
        return signatures if fixed else at_placeholder(signatures, plan.checkpoint.architecture, rows)

    if not plan.lora:
        signatures = growing(plan.signatures)
        return Models(*[model(signatures, plan.name)] * 2, signatures)
    signatures = plan.lora.task(plan.signatures)
    shared = growing(signatures)
    return Models(model(signatures, plan.name), model(plan.lora.litertlm(shared), f"{plan.name}.lora"), shared)


def _convert(
    plan: Plan, options: BuildOptions, tokenizer: BundleTokenizer, models: Models, worker: Worker
) -> Mix | None:
    """Write the files of the models. Returns what was chosen, where the recipe is a mix."""
    recipe, calibration, mix = RECIPES[options.recipe], None, None
    export = Export(plan.checkpoint.source.path, plan.checkpoint.folder, _rows(tokenizer), models.shared)
    shared = models.task.path.with_suffix(".shared")
    title = "Converting the graph to TFLite"
    worker.bar(title, models.shared.steps, "converting", export_graph, export, shared)
    for model in models.distinct:
        export = replace(export, signatures=model.signatures)
        graph = model.path.with_suffix(".graph")
        _take_signatures(shared, models.shared, model.signatures, graph)
        growing = _growing_graph(model.signatures, graph)
        if recipe.compensated and calibration is None:
            calibration = Calibration(write_calibration(plan, options, export, model.path.parent, worker))
        if options.recipe == AUTO and mix is None:
            mix = measure_mix(export, calibration.text, graph, limit_of(options), worker)
            recipe = mix.recipe()
        if not recipe.calibrated:
            write_weights(export, graph, recipe, model.path, calibration, worker)
        if recipe.compensated:
            calibration = replace(calibration, written=model.path)
        if model.path != model.converted and (recipe.calibrated or (plan.lora and options.verify)):
            write_weights(export, graph, RECIPES[REFERENCE], model.converted, None, worker)
        if growing:
            write_weights(export, growing, recipe, model.growing, calibration, worker)
            growing.unlink()
        graph.unlink()
        if recipe.calibrated:
            arguments = (model.converted, recipe, model.path, _calibration(options, tokenizer, plan))
            worker.stage(f"Quantizing to {options.recipe}", "quantizing", quantize, *arguments)
    shared.unlink()
    if calibration:
        calibration.text.unlink()
    return mix


def _take_signatures(source: Path, contained: Signatures, wanted: Signatures, graph: Path) -> None:
    """Write to `graph` what is `wanted` of those that the graph `source` contains."""
    if wanted.lora.plain:
        keep_lora_signatures(source, wanted.lora.plain, graph)
    elif wanted.placeholder != contained.placeholder:
        set_context(source, wanted.context, graph, contained.placeholder)
    else:
        shutil.copyfile(source, graph)


def _growing_graph(signatures: Signatures, graph: Path) -> Path | None:
    """Make two of a graph with a placeholder: itself with the context in its place, and the one that is returned, for a
    cache that grows. None if it has none.
    """
    if signatures.placeholder is None:
        return None
    growing = graph.with_suffix(".growing")
    shutil.copyfile(graph, growing)
    unpack_decode(growing)
    set_context(graph, signatures.context, graph, signatures.placeholder)
    return growing


def _calibration(options: BuildOptions, tokenizer: BundleTokenizer, plan: Plan, sequences: int = 4) -> list[list[int]]:
    text = given_text(options.calibration) or verification_text()
    ids = tokenizer.encode(text).bundle
    length = min(plan.signatures.context - 1, max(plan.signatures.prefill) + 8, len(ids) // sequences)
    return [[plan.start_id, *ids[i * length : (i + 1) * length]] for i in range(sequences)]


class Bundles(NamedTuple):
    """The containers of a build."""

    task: Path
    litertlm: Path


def _pack(plan: Plan, pieces: SentencePieceModel, facts: dict, models: Models) -> Bundles:
    """Write the containers and the tokenizer beside the models."""
    folder = models.task.path.parent
    bundles = Bundles(folder / f"{plan.name}.task", folder / f"{plan.name}.litertlm")
    tokenizer = folder / TOKENIZER_FILE
    tokenizer.write_bytes(pieces.proto)
    parameters = LlmParameters(
        start_token=plan.start_token, stop_tokens=plan.stop_tokens, bytes_to_unicode=pieces.mode == BYTE_MAPPED
    )
    write_task(
        bundles.task,
        {
            MODEL_ENTRY: models.task.path,
            TOKENIZER_ENTRY: tokenizer,
            METADATA_ENTRY: parameters.encode(),
            MANIFEST: json.dumps(facts, ensure_ascii=False).encode(),
        },
    )
    write_litertlm(
        bundles.litertlm,
        models.litertlm.growing,
        LlmMetadata(
            start_token=plan.start_id,
            stop_tokens=tuple(sorted(plan.stop_ids)),
            max_num_tokens=plan.signatures.context,
            sampler=Sampler(),
        ),
        **_litertlm_tokenizer(plan.vocabulary),
        model_metadata={BASE_FINGERPRINT: facts["lora"]["base_fingerprint"]},
    )
    return bundles


def _litertlm_tokenizer(vocabulary: BytePairVocabulary) -> dict[str, bytes]:
    if isinstance(vocabulary, PieceVocabulary):
        return {"sentencepiece": vocabulary.model}
    return {"tokenizer_json": tokenizer_json(vocabulary)}


def _trainer(plan: Plan, options: BuildOptions, rows: TokenRows, folder: Path, worker: Worker) -> Trainer:
    """Write NAME-trainer.tflite: for adapters of the bundles' rank, if they take any."""
    shape = TrainerShape(min(TRAINER_LENGTH, plan.signatures.context), plan.lora.rank if plan.lora else TRAINER_RANK)
    trainer = Trainer(folder / f"{plan.name}-trainer.tflite", trainer_recipe(options.recipe))
    write_trainer(plan.checkpoint, rows, shape, trainer.path, trainer.recipe, worker)
    return trainer


def _lora(plan: LoraPlan, base: Base, models: Models, bundles: Bundles) -> Lora:
    """What the gates on LoRA look at."""
    quantized = models.task.path != models.task.converted
    return Lora(
        base,
        plan.folders,
        lora_variants(plan, models.task.path, models.litertlm.path),
        lora_variants(plan, models.task.converted, models.litertlm.converted, " in fp32") if quantized else (),
        bundles.task,
        bundles.litertlm,
    )
