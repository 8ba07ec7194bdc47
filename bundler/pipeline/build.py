"""The whole pipeline: a checkpoint in, a folder with verified bundles out."""

from __future__ import annotations

import json
from pathlib import Path

from bundler.containers.bundle import MANIFEST
from bundler.containers.litertlm import BASE_FINGERPRINT, write_litertlm
from bundler.containers.llm_metadata import LlmMetadata
from bundler.containers.llm_parameters import LlmParameters
from bundler.containers.task import METADATA, MODEL, TOKENIZER, write_task
from bundler.containers.tokenizer import BundleTokenizer, sentencepiece_tokenizer, typed_texts
from bundler.conversion.convert import Signatures, convert_checkpoint
from bundler.conversion.gpt2 import TokenRows
from bundler.conversion.quantize import RECIPES, quantize
from bundler.errors import BundleError, VerificationError
from bundler.lora.facts import base_of, lora_facts
from bundler.pipeline.adapters import export_adapters, verify_lora
from bundler.pipeline.app_assets import write_app_assets
from bundler.pipeline.manifest import bundle_manifest, folder_manifest, write_documents
from bundler.pipeline.plan import BuildOptions, Plan, plan_build
from bundler.pipeline.report import weight_bytes, write_report
from bundler.system.isolated import run_isolated
from bundler.system.output_folder import staged_folder
from bundler.verification.doctor_gate import doctor_gate
from bundler.verification.gate import Stage, silent
from bundler.verification.text import verification_text
from bundler.verification.verify import Subject, token_gate, verify
from tokenizer_tools.report import MismatchReport, compare
from tokenizer_tools.sentencepiece_model import SentencePieceModel, build_sentencepiece
from tokenizer_tools.vocabulary import reference_tokenizer, tokenizer_json

TOKENIZER_FILE = "tokenizer.model"
GENERATED_STRINGS = 300  # of each of the tokenizer's named generators, in every build


def build(options: BuildOptions, stage: Stage = silent) -> dict:
    """Build, verify, and write `options.output`; returns the manifest.

    `stage` is entered with a line of text around each part of the work. Raises VerificationError when a gate
    fails; then, as on every other error, nothing is left at the output.
    """
    with stage("Reading the checkpoint"):
        plan = plan_build(options)
        plan.checkpoint.check_finite()
    with staged_folder(options.output, options.force, options.inputs()) as folder:
        with stage("Rebuilding the tokenizer"):
            pieces = build_sentencepiece(plan.vocabulary, mode=options.tokenizer_mode)
            tokenizer = sentencepiece_tokenizer(
                reference_tokenizer(plan.vocabulary),
                pieces.proto,
                pieces.alias_of,
                pieces.mode == "F",
                typed_texts(plan.vocabulary),
            )
        with stage("Comparing its ids with the reference tokenizer's"):
            tokens = compare(plan.vocabulary, pieces, generated=GENERATED_STRINGS, built_in=True)
            _refuse_mismatches(tokens)
        rows = TokenRows(len(plan.vocabulary), pieces.alias_of)
        # With LoRA there are two models, because the two engines want its inputs in different places.
        model, litertlm_model = (
            folder / f"{plan.name}.tflite",
            folder / f"{plan.name}.{'lora.' if plan.lora else ''}tflite",
        )
        signatures = plan.lora.task(plan.signatures) if plan.lora else plan.signatures
        fp32 = [_convert(plan, options, rows, signatures, tokenizer, model, stage)]
        if plan.lora:
            fp32.append(
                _convert(plan, options, rows, plan.lora.litertlm(plan.signatures), tokenizer, litertlm_model, stage)
            )
        with stage("Packing .task and .litertlm"):
            base = base_of(plan.checkpoint)
            facts = {
                **bundle_manifest(plan, options.recipe, pieces, rows),
                "lora": lora_facts(plan.checkpoint, base, model, options.recipe, plan.lora.ranks if plan.lora else ()),
            }
            task, litertlm = _pack(plan, options, pieces, facts, model, litertlm_model, folder)
            adapters = export_adapters(plan.lora, base, folder / "adapters") if plan.lora else []
        gates = [token_gate(tokens)]
        with stage("Examining the files"):
            gates += [
                doctor_gate(path)
                for path in (task, litertlm, folder / TOKENIZER_FILE, *(folder / facts["file"] for facts in adapters))
            ]
        if options.verify:
            subject = Subject(
                model,
                (task, litertlm),
                options.recipe,
                tokenizer,
                *plan.special_ids(),
                options.engines,
                pieces.mode == "F",
            )
            gates += verify(subject, plan.checkpoint, stage)
            if plan.lora:
                gates += verify_lora(
                    plan.lora,
                    subject,
                    plan.checkpoint,
                    base,
                    litertlm_model,
                    fp32,
                    task,
                    litertlm,
                    options.packer == "own",
                    stage,
                )
        sizes = {"tflite": model.stat().st_size, "task": task.stat().st_size, "litertlm": litertlm.stat().st_size}
        weights = weight_bytes(model)
        for path in {model, litertlm_model, *fp32}:
            path.unlink()  # they are inside the containers, byte for byte, or were on the way
        if failed := [gate for gate in gates if not gate.passed]:
            raise VerificationError(
                "; ".join(f"{gate.name}: {gate.found}" for gate in failed)
                + f". Nothing was written to {options.output}"
            )
        manifest = {
            **folder_manifest(facts, sizes, gates, options.verify),
            **({"adapters": adapters} if plan.lora else {}),
        }
        write_report(folder, manifest, weights, tokens)
        if options.app_assets:
            write_app_assets(folder, manifest)
        write_documents(folder, plan.name, manifest)
    return manifest


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


def _convert(
    plan: Plan,
    options: BuildOptions,
    rows: TokenRows,
    signatures: Signatures,
    tokenizer: BundleTokenizer,
    model: Path,
    stage: Stage,
) -> Path:
    """Write `model`; returns the fp32 one it was made from, which is the same under the recipe fp32."""
    fp32 = model if options.recipe == "fp32" else model.with_suffix(".fp32.tflite")
    with stage("Converting to TFLite"):
        run_isolated(
            "converting",
            convert_checkpoint,
            plan.checkpoint.source.path,
            plan.checkpoint.folder,
            rows,
            signatures,
            fp32,
        )
    if fp32 is not model:
        calibration = []
        if RECIPES[options.recipe].calibrated:
            calibration = _calibration(options, tokenizer, plan)
        with stage(f"Quantizing to {options.recipe}"):
            run_isolated("quantizing", quantize, fp32, options.recipe, model, calibration)
    return fp32


def _calibration(options: BuildOptions, tokenizer: BundleTokenizer, plan: Plan, sequences: int = 4) -> list[list[int]]:
    try:
        text = options.calibration.read_text(encoding="utf-8") if options.calibration else verification_text()
    except UnicodeDecodeError as error:
        raise BundleError(
            f"{options.calibration} is not UTF-8 ({error}); expected a text file; give `calibration` another"
        ) from None
    ids = tokenizer.encode(text).bundle
    length = min(plan.signatures.context - 1, max(plan.signatures.prefill) + 8, len(ids) // sequences)
    start = plan.vocabulary.id_of_text(plan.start_token)
    return [[start, *ids[i * length : (i + 1) * length]] for i in range(sequences)]


def _pack(
    plan: Plan,
    options: BuildOptions,
    pieces: SentencePieceModel,
    facts: dict,
    model: Path,
    litertlm_model: Path,
    folder: Path,
) -> tuple[Path, Path]:
    task, litertlm = folder / f"{plan.name}.task", folder / f"{plan.name}.litertlm"
    start, stops = plan.special_ids()
    tokenizer = folder / TOKENIZER_FILE
    tokenizer.write_bytes(pieces.proto)
    parameters = LlmParameters(
        start_token=plan.start_token, stop_tokens=plan.stop_tokens, bytes_to_unicode=pieces.mode == "F"
    )
    if options.packer == "mediapipe":
        from bundler.containers.mediapipe_packer import pack_with_mediapipe

        pack_with_mediapipe(task, model, tokenizer, parameters)
    else:
        write_task(
            task,
            {
                MODEL: model,
                TOKENIZER: tokenizer,
                METADATA: parameters.encode(),
                MANIFEST: json.dumps(facts, ensure_ascii=False).encode(),
            },
        )
    write_litertlm(
        litertlm,
        litertlm_model,
        LlmMetadata(start_token=start, stop_tokens=tuple(sorted(stops)), max_num_tokens=plan.signatures.context),
        tokenizer_json=tokenizer_json(plan.vocabulary),
        model_metadata={BASE_FINGERPRINT: facts["lora"]["base_fingerprint"]},
    )
    return task, litertlm
