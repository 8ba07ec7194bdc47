"""One container into the other, where the other's engine can make the same of it."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

from bundler.containers.bundle import FORMAT, MANIFEST, Bundle, is_litertlm, open_bundle
from bundler.containers.litertlm import ALIASES, write_litertlm
from bundler.containers.llm_metadata import LlmMetadata, Sampler
from bundler.containers.llm_parameters import LlmParameters
from bundler.containers.task import METADATA_ENTRY, MODEL_ENTRY, TOKENIZER_ENTRY, read_task, write_task
from bundler.containers.tokenizer import BundleTokenizer, read_by_bundle
from bundler.engines.litertlm import open_engine
from bundler.errors import BundleError, OptionError
from bundler.system.output_folder import check_output_file
from bundler.system.temporary_folder import temporary_folder
from bundler.tflite.fixed_model import write_fixed
from bundler.tflite.lora_inputs import lora_layout
from bundler.tflite.model import Model, open_model
from bundler.tflite.runner import TFLiteGPT2
from bundler.tflite.signatures import llm_shape, read_context
from bundler.verification.gate import Stage, silent
from bundler.verification.text import PROMPTS, verification_text
from tokenizer_tools.sentencepiece_model import SentencePieceModel, build_sentencepiece
from tokenizer_tools.vocabulary import BytePairVocabulary, tokenizer_json
from tokenizer_tools.vocabulary_files import read_vocabulary

TOKENS = 24  # that the engine writes after each prompt from both files


@dataclass(frozen=True)
class Repacked:
    """`notes`: what the new container cannot carry, a sentence each."""

    output: Path
    notes: tuple[str, ...]


def repack(
    source: Path, output: Path, *, tokenizer: Path | None = None, force: bool = False, stage: Stage = silent
) -> Repacked:
    """Write the .task `source` as the .litertlm `output`, or the other way round; the model's bytes stay as they are,
    but for a cache that grows: the .task's has the length of the context.

    `tokenizer`: the checkpoint's vocabulary (folder or tokenizer.json), for a .litertlm with Hugging Face's tokenizer;
    without it the .litertlm gets the .task's SentencePiece model. LiteRT-LM opens both files at the end and has to
    write the same texts. Raises BundleError where the other container's engine would not do the same, OptionError for a
    wrong output name.
    """
    check_output_file(output, force, [source])
    with stage("Reading the bundle"):
        bundle = open_bundle(source)
        model = open_model(bundle.model)
    to_task = is_litertlm(source)
    suffix = ".task" if to_task else ".litertlm"
    if output.suffix != suffix:
        raise OptionError(
            f"{output}: {source} is a {'.litertlm' if to_task else '.task'}; expected the name of a {suffix} to write"
        )
    with temporary_folder("repack", output.absolute().parent) as folder:
        partial = folder / output.name
        with stage(f"Writing {suffix}"):
            notes = (
                _write_task(bundle, model, partial, folder)
                if to_task
                else _write_litertlm(bundle, model, partial, tokenizer)
            )
        if not bundle.byte_mapped:
            with stage("Comparing the two in LiteRT-LM"):
                _compare(source, partial)
        os.replace(partial, output)
    return Repacked(output, tuple(notes))


def _write_litertlm(bundle: Bundle, model: Model, output: Path, tokenizer: Path | None) -> list[str]:
    parameters, notes = read_task(bundle.path).parameters(), []
    if parameters.system_prompt or parameters.prompt_template:
        raise BundleError(
            f"{bundle.path}: has a system prompt or a single prompt template, which a .litertlm has no place for; "
            "build the bundle again without"
        )
    if extra := lora_layout(model).extra:
        notes.append(
            f"The signatures for adapters of rank {', '.join(map(str, extra))} are in MediaPipe's layout, which "
            "LiteRT-LM ignores: the .litertlm takes no adapters. `task-bundler build --lora-ranks` makes one that "
            "does."
        )
    id_of = lambda token: token if isinstance(token, int) else _token_id(bundle, token)  # noqa: E731
    model_facts = {
        key: str(value) for key, value in bundle.manifest.get("lora", {}).items() if key == "base_fingerprint" and value
    }
    if tokenizer is not None:
        read = read_by_bundle(bundle, read_vocabulary(tokenizer))
        _same_ids(bundle, read.tokenizer)
        tokens = {"tokenizer_json": tokenizer_json(read.vocabulary)}
    elif bundle.byte_mapped:
        raise BundleError(
            f"{bundle.path}: its tokenizer needs MediaPipe's byte mapping, which LiteRT-LM does not do; "
            "give the checkpoint's vocabulary with `tokenizer`"
        )
    else:
        tokens = {"sentencepiece": bundle.sentencepiece}
        model_facts |= {ALIASES: json.dumps(bundle.alias_of)} if bundle.alias_of else {}
    metadata = LlmMetadata(
        None if bundle.start_token is None else id_of(bundle.start_token),
        tuple(map(id_of, bundle.stop_tokens)),
        llm_shape(model).context or 0,
        parameters.user,
        parameters.model,
        parameters.system,
        sampler=Sampler() if bundle.manifest else None,
    )
    write_litertlm(output, bundle.model, metadata, model_metadata=model_facts, **tokens)
    return notes


def _token_id(bundle: Bundle, token: str) -> int:
    """The id of a start or stop token: that of the piece of this name, or of the one piece that the text is cut
    into.
    """
    from sentencepiece import SentencePieceProcessor

    pieces = SentencePieceProcessor(model_proto=bundle.sentencepiece)
    id_ = pieces.piece_to_id(token)
    ids = [id_] if pieces.id_to_piece(id_) == token else pieces.encode(token)
    if len(ids) != 1:
        raise BundleError(
            f"{bundle.path}: its start or stop token {token!r} is {len(ids)} tokens; expected exactly one. Engines "
            "would not find it"
        )
    return ids[0]


def _same_ids(bundle: Bundle, tokenizer: BundleTokenizer) -> None:
    for line in (*verification_text().splitlines(), *tokenizer.typed):
        ids = tokenizer.encode(line)
        if tokenizer.original(ids.bundle) != ids.reference:
            raise BundleError(
                f"{bundle.path}: its tokenizer reads {line[:40]!r} unlike the given vocabulary; expected the one that "
                "the bundle was made with"
            )


def _write_task(bundle: Bundle, model: Model, output: Path, folder: Path) -> list[str]:
    if lora_layout(model).plain is not None:
        raise BundleError(
            f"{bundle.path}: it takes LoRA adapters, for which a .task has inputs of another kind, so it cannot be "
            "repacked; take the .task that the same build wrote beside it"
        )
    notes = []
    if llm_shape(model).placeholder is not None:
        notes.append(
            "The .litertlm's cache grows: its decode is that for CPUs, and is slower on GPUs. `task-bundler build` "
            "writes a .task for both."
        )
    write_fixed(bundle.model, fixed := folder / "model.tflite")
    if bundle.sentencepiece is not None:
        from sentencepiece import SentencePieceProcessor

        proto, alias_of = bundle.sentencepiece, bundle.alias_of
        spelling = SentencePieceProcessor(model_proto=proto).id_to_piece
    else:
        (folder / "tokenizer.json").write_bytes(bundle.tokenizer_json)
        vocabulary = read_vocabulary(folder / "tokenizer.json")
        model = build_sentencepiece(vocabulary)
        _check_aliases(bundle, vocabulary, model, fixed)
        proto, alias_of = model.proto, model.alias_of
        spelling = vocabulary.name_of
    start, *stops = (
        spelling(token) if isinstance(token, int) else token for token in (bundle.start_token, *bundle.stop_tokens)
    )
    if None in stops or (start is None and bundle.start_token is not None):
        raise BundleError(
            f"{bundle.path}: start token {bundle.start_token}, stop tokens {list(bundle.stop_tokens)}; expected tokens "
            "that text can name, as a .task does: one of them is part of a character. Build with `stop_tokens`"
        )
    facts = {
        "format": FORMAT,
        "name": output.stem,
        "tokenizer": {"mode": "T", "sha256": hashlib.sha256(proto).hexdigest(), "alias_of": list(alias_of)},
    }
    write_task(
        output,
        {
            MODEL_ENTRY: fixed,
            TOKENIZER_ENTRY: proto,
            METADATA_ENTRY: LlmParameters(start_token=start, stop_tokens=tuple(stops)).encode(),
            MANIFEST: json.dumps(facts).encode(),
        },
    )
    notes.append(
        "The .task carries no map of its weights, so `lora merge` cannot be used on it; `task-bundler build` writes "
        "one that has it."
    )
    return notes


def _check_aliases(bundle: Bundle, vocabulary: BytePairVocabulary, pieces: SentencePieceModel, path: Path) -> None:
    """Every alias id must be the exact copy of its token in the model, and never be written by it."""
    model = TFLiteGPT2(path)
    needed = len(vocabulary) + len(pieces.alias_of)
    remedy = "build the .task from the checkpoint: task-bundler build"
    if model.rows < needed:
        raise BundleError(
            f"{bundle.path}: its model has {model.rows} rows; a SentencePiece model with the same ids needs {needed}, "
            f"of which {len(pieces.alias_of)} are second spellings of tokens; {remedy}"
        )
    for alias, original in enumerate(pieces.alias_of, len(vocabulary)):
        copy, row = model.along([alias]), model.along([original])
        if (copy != row).any() or int(copy.argmax()) >= len(vocabulary):
            raise BundleError(
                f"{bundle.path}: row {alias} of its model is not the copy of row {original} that a SentencePiece model "
                f"with the same ids needs; {remedy}"
            )


def _compare(source: Path, repacked: Path) -> None:
    texts = []
    for path in (source, repacked):
        context = read_context(open_bundle(path).model) or len(PROMPTS) * TOKENS
        with open_engine(path, max_tokens=context) as engine:
            texts.append(
                [
                    engine.complete(prompt, TOKENS)
                    for prompt in PROMPTS
                    if len(engine.tokenize(prompt)) + TOKENS < context
                ]
            )
    if texts[0] != texts[1]:
        text, repacked_text = next(pair for pair in zip(*texts) if pair[0] != pair[1])
        raise BundleError(
            f"{repacked.name}: LiteRT-LM writes {repacked_text!r} from it and {text!r} from {source}; nothing was "
            "written. Build it from the checkpoint: task-bundler build"
        )
