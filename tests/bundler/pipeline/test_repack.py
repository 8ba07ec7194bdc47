"""A bundle moved from one container to the other."""

import dataclasses
import json

import numpy as np
import pytest

from bundler.commands.cli import run
from bundler.containers.bundle import open_bundle
from bundler.containers.litertlm import read_litertlm
from bundler.containers.task import METADATA_ENTRY, MODEL_ENTRY, TOKENIZER_ENTRY, read_task, write_task
from bundler.doctor.examine import examine
from bundler.engines.litertlm import open_engine
from bundler.errors import BundleError, OptionError
from bundler.pipeline.repack import repack
from bundler.tflite.model import open_model
from bundler.tflite.signatures import llm_shape
from bundler.verification.verify import VerifyOptions, verify_bundle


def model_bytes(path):
    return open_bundle(path).model.read()


@pytest.mark.parametrize("with_vocabulary", [False, True])
def test_a_task_becomes_a_litertlm_that_passes_every_gate(tiny_bundle, tiny_checkpoint, tmp_path, with_vocabulary):
    task, output = tiny_bundle[0] / "tiny.task", tmp_path / "out.litertlm"
    assert repack(task, output, tokenizer=tiny_checkpoint if with_vocabulary else None).notes == ()
    assert model_bytes(output) == model_bytes(task)
    assert all(gate.passed for gate in verify_bundle(output, str(tiny_checkpoint), VerifyOptions(recipe="int8")))
    assert (read_litertlm(output).find("SP_Tokenizer") is None) == with_vocabulary
    assert read_litertlm(output).llm_metadata().max_num_tokens == 96


def test_a_litertlm_becomes_a_task_that_passes_every_gate(tiny_bundle, tiny_checkpoint, tmp_path):
    output = tmp_path / "out.task"
    grown, mapless = repack(tiny_bundle[0] / "tiny.litertlm", output).notes
    assert "is that for CPUs" in grown and "lora merge" in mapless
    built = read_task(tiny_bundle[0] / "tiny.task")
    for name in (TOKENIZER_ENTRY, METADATA_ENTRY):  # what build itself would have written
        assert read_task(output).read_entry(name) == built.read_entry(name)
    shape = llm_shape(open_model(open_bundle(output).model))
    assert (shape.cache, shape.placeholder) == (96, None)  # the .litertlm's is 97
    assert all(gate.passed for gate in verify_bundle(output, str(tiny_checkpoint), VerifyOptions(recipe="int8")))


def test_there_and_back(tiny_bundle, tmp_path):
    repack(tiny_bundle[0] / "tiny.task", tmp_path / "a.litertlm")
    repack(tmp_path / "a.litertlm", tmp_path / "b.task")
    assert examine(tmp_path / "b.task").findings == []  # whose manifest says less than a build's
    built, back = read_task(tiny_bundle[0] / "tiny.task"), read_task(tmp_path / "b.task")
    assert all(
        back.read_entry(name) == built.read_entry(name) for name in (MODEL_ENTRY, TOKENIZER_ENTRY, METADATA_ENTRY)
    )
    assert open_bundle(tmp_path / "b.task").alias_of == open_bundle(tiny_bundle[0] / "tiny.task").alias_of


def rewritten(tiny_bundle, path, **entries):
    task = read_task(tiny_bundle[0] / "tiny.task")
    write_task(path, {entry.name: entries.get(entry.name, task.section(entry.name)) for entry in task.entries})
    return path


def test_what_cannot_be_carried_is_refused(tiny_bundle, tmp_path):
    parameters = read_task(tiny_bundle[0] / "tiny.task").parameters()
    for name, changed, message in (
        ("mapped", dict(bytes_to_unicode=True), "byte mapping"),
        ("system", dict(system_prompt="Be brief."), "system prompt"),
        ("stop", dict(stop_tokens=("two tokens",)), "expected exactly one"),
    ):
        path = rewritten(
            tiny_bundle, tmp_path / f"{name}.task", METADATA=dataclasses.replace(parameters, **changed).encode()
        )
        with pytest.raises(BundleError, match=message):
            repack(path, tmp_path / "out.litertlm")
    assert not list(tmp_path.glob("*out.litertlm*"))


def test_a_vocabulary_of_another_model_is_refused(tiny_bundle, tmp_path):
    from gpt2_training.vocabulary import save_vocabulary, train_vocabulary

    save_vocabulary(train_vocabulary(["quite another text, " * 40], 300), tmp_path)
    with pytest.raises(BundleError, match="unlike the given vocabulary"):
        repack(tiny_bundle[0] / "tiny.task", tmp_path / "out.litertlm", tokenizer=tmp_path)


def test_a_model_without_alias_rows_makes_no_task(tiny_checkpoint, tiny_bundle, tmp_path):
    """Such a .litertlm is sound: its tokenizer needs no aliases. A SentencePiece model does."""
    from whole_model import convert

    from bundler.checkpoints.checkpoint import open_checkpoint
    from bundler.containers.litertlm import write_litertlm
    from bundler.conversion.convert import Signatures
    from bundler.conversion.exported_weights import TokenRows

    built = read_litertlm(tiny_bundle[0] / "tiny.litertlm")
    for name, rows, message in (
        ("none", TokenRows(400), "400 rows"),
        ("others", TokenRows(400, (1,) * 600), "not the copy of row"),
    ):
        checkpoint = open_checkpoint(tiny_checkpoint)
        convert(checkpoint, rows, Signatures(96, (8, 32)), "fp32", tmp_path / f"{name}.tflite")
        write_litertlm(
            tmp_path / f"{name}.litertlm",
            tmp_path / f"{name}.tflite",
            built.llm_metadata(),
            tokenizer_json=built.tokenizer_json(),
        )
        with pytest.raises(BundleError, match=message):
            repack(tmp_path / f"{name}.litertlm", tmp_path / "out.task")


def test_the_command(tiny_bundle, tmp_path, capsys):
    task, output = str(tiny_bundle[0] / "tiny.task"), str(tmp_path / "out.litertlm")
    assert run(["repack", task, output, "--json", "--quiet"]) == 0
    assert json.loads(capsys.readouterr().out)["notes"] == []
    with open_engine(tmp_path / "out.litertlm", max_tokens=96) as engine:
        assert np.isfinite(len(engine.complete("a", 4)))
    assert run(["repack", task, output, "--quiet"]) == 2
    assert "exists; add --force" in capsys.readouterr().err
    assert run(["repack", task, output, "--quiet", "--force"]) == 0
    assert run(["repack", task, str(tmp_path / "out.task"), "--quiet"]) == 2
    assert "expected the name of a .litertlm" in capsys.readouterr().err
    with pytest.raises(OptionError):
        repack(tmp_path / "out.litertlm", tmp_path / "x.litertlm")


def test_a_byte_mapped_task_needs_the_vocabulary(tiny_checkpoint, tmp_path):
    from bundler.pipeline.build import build
    from bundler.pipeline.plan import BuildOptions

    build(BuildOptions(str(tiny_checkpoint), tmp_path / "mapped", tokenizer_mode="F", recipe="fp32", verify=False))
    repack(tmp_path / "mapped" / "mapped.task", tmp_path / "out.litertlm", tokenizer=tiny_checkpoint)
    assert all(
        gate.passed
        for gate in verify_bundle(tmp_path / "out.litertlm", str(tiny_checkpoint), VerifyOptions(recipe="fp32"))
    )
