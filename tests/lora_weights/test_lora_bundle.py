"""Adapters in bundles: conversion in both layouts, every gate green on a sound build, and each gate red on a broken
one.
"""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from peft_folders import write_adapter
from reference_quantizer import quantize
from tiny_gpt2 import write_tiny_checkpoint

from bundler.checkpoints.checkpoint import open_checkpoint
from bundler.commands.cli import run
from bundler.containers.bundle import open_bundle
from bundler.containers.lora_manifest import tensors_of
from bundler.containers.task import MODEL_ENTRY, read_task
from bundler.containers.tokenizer import bundle_tokenizer
from bundler.conversion.compact import compact_tflite
from bundler.engines.litertlm import open_engine
from bundler.errors import BundleError, OptionError
from bundler.lora.facts import base_of
from bundler.lora.merge_bundle import adapter_for_merging, merge_into_bundle
from bundler.pipeline.build import build
from bundler.pipeline.export_adapter import open_lora_bundles, prepare_adapter
from bundler.pipeline.plan import BuildOptions, plan_build
from bundler.system.file_section import FileSection
from bundler.tflite.adapter_file import read_adapter_file
from bundler.tflite.fixed_model import write_fixed
from bundler.tflite.lora_inputs import lora_layout
from bundler.tflite.model import open_model
from bundler.tflite.runner import TFLiteGPT2
from bundler.verification.lora_gates import _load, consumed_gate, lora_gates, zero_gate
from bundler.verification.subject import Lora, Subject, Variant
from lora_weights.adapter_file import encode_adapter
from lora_weights.errors import LoraError

RANK = 16


@pytest.fixture(scope="module")
def adapters(tiny_checkpoint, tmp_path_factory):
    """Two PEFT folders for the tiny checkpoint; the second leaves out a projection and a layer."""
    folder = tmp_path_factory.mktemp("peft")
    model = open_checkpoint(tiny_checkpoint).reference_model
    write_adapter(folder / "loud", model(), seed=1, strength=0.15)
    write_adapter(
        folder / "quiet",
        model(),
        seed=2,
        strength=0.3,
        r=3,
        use_rslora=True,
        target_modules=["c_attn"],
        layers_to_transform=[1],
    )
    return folder / "loud", folder / "quiet"


@pytest.fixture(scope="module")
def built(tiny_checkpoint, adapters, tmp_path_factory):
    """(output folder, manifest) of a verified fp32 build with both adapters."""
    output = tmp_path_factory.mktemp("lora") / "tiny"
    return output, build(
        BuildOptions(str(tiny_checkpoint), output, recipe="fp32", lora_ranks=(RANK,), adapters=adapters)
    )


@pytest.fixture(scope="module")
def models(built, tmp_path_factory):
    """The two TFLite files inside the bundles."""
    folder = tmp_path_factory.mktemp("models")
    paths = {}
    for kind in ("task", "litertlm"):
        paths[kind] = folder / f"{kind}.tflite"
        write_fixed(open_bundle(built[0] / f"tiny.{kind}").model, paths[kind])
    return paths


# --- what a build gives


def test_every_gate_ran_and_passed(built):
    names = [gate["name"] for gate in built[1]["verification"] if gate["passed"]]
    assert len(names) == len(built[1]["verification"])
    for expected in (
        ".task, rank 16: LoRA inputs",
        ".task, rank 16: zero adapter",
        ".task, rank 16: adapters act",
        ".litertlm: zero adapter",
        ".task, rank 16, adapter loud: as in PyTorch",
        ".litertlm, adapter quiet: as in PyTorch",
        "LiteRT-LM, .litertlm: base, A, B, A, base",
        ".task with loud merged: as in PyTorch",
        "LiteRT-LM, .task with quiet merged: greedy text",
    ):
        assert expected in names


def test_fp32_logits_are_those_of_pytorch_and_peft(built):
    for gate in built[1]["verification"]:
        if gate["name"].endswith(": as in PyTorch"):
            assert (
                gate["figures"]["max_logit_difference"] <= 1e-3
                and gate["figures"]["greedy_tokens_equal"] == gate["figures"]["greedy_tokens"]
            )


def test_signatures_of_both_layouts(models):
    task, litertlm = (lora_layout(open_model(FileSection.whole(models[kind]))) for kind in ("task", "litertlm"))
    assert (task.layers, task.width, task.plain, task.extra) == (2, 32, None, (RANK,))
    assert (litertlm.plain, litertlm.extra) == (RANK, ())


def test_signatures_share_every_weight(built, models):
    """No constant of a row's size is there twice, and together they are the model's weights."""
    data = models["task"].read_bytes()
    model = schema.Model.GetRootAs(data, 0)
    large = [
        bytes(model.Buffers(index).DataAsNumpy())
        for index in range(model.BuffersLength())
        if model.Buffers(index).DataLength() >= 128
    ]
    assert len(large) == len(set(large))
    rows = built[1]["tokenizer"]["rows"]
    weights = 4 * (rows * 33 + 96 * 32 + 2 * (12 * 32 * 32 + 13 * 32) + 2 * 32)
    assert weights <= sum(map(len, large)) < 1.01 * weights


def test_adapters_in_the_output(built):
    output, manifest = built
    assert [adapter["name"] for adapter in manifest["adapters"]] == ["zero", "loud", "quiet"]
    for adapter in manifest["adapters"]:
        file = read_adapter_file(output / adapter["file"])
        assert (file.header.rank, file.header.base_fingerprint) == (RANK, manifest["lora"]["base_fingerprint"])
        assert (output / "SHA256SUMS").read_text().count(adapter["file"]) == 1


@pytest.mark.parametrize("language", ["python", "sh"])
def test_the_cards_snippets_run(built, tmp_path, language):
    """Where a session needs an adapter, the card's Python gives the one of zeros; its shell takes the .task."""
    folder = shutil.copytree(built[0], tmp_path / "tiny")
    (snippet,) = re.findall(rf"```{language}\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    shell = ["sh", "-c", snippet.replace("litert-lm ", f"{Path(sys.executable).parent / 'litert-lm'} ", 1)]
    command = shell if language == "sh" else [sys.executable, "-c", snippet]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and len(done.stdout.strip()) > 10, done.stderr[-2000:]


# --- export for a finished bundle


def test_export_writes_what_the_build_wrote(built, adapters, tiny_checkpoint, tmp_path):
    output = tmp_path / "loud.tflite"
    assert (
        run(
            [
                "lora",
                "export",
                str(adapters[0]),
                "--bundle",
                str(built[0]),
                "--against",
                str(tiny_checkpoint),
                "-o",
                str(output),
                "--quiet",
            ]
        )
        == 0
    )
    assert output.read_bytes() == (built[0] / "adapters" / "loud.tflite").read_bytes()


def test_several_adapters_are_exported_as_one(built, adapters, tiny_checkpoint, tmp_path, capsys):
    """Their sum passes the gates, and merges to nearly the same bytes as the adapters themselves."""
    output, sources = tmp_path / "both.tflite", [*map(str, adapters)]
    options = ["--scale", "0.5", "--scale", "0.75", "--quiet"]
    against = ["--bundle", str(built[0]), "--against", str(tiny_checkpoint)]
    assert run(["lora", "export", *sources, *against, "-o", str(output), "--json", *options]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["name"], result["rank"], result["cut_error"]) == ("0.5*loud+0.75*quiet", RANK, 0)
    assert run(["lora", "merge", str(built[0] / "tiny.task"), *sources, "-o", str(tmp_path / "a.task"), *options]) == 0
    assert run(["lora", "merge", str(built[0] / "tiny.task"), str(output), "-o", str(tmp_path / "b.task")]) == 0
    a, b = (read_task(tmp_path / name).read_entry(MODEL_ENTRY) for name in ("a.task", "b.task"))
    assert a == b


def test_scales_that_do_not_fit(built, adapters, tmp_path, capsys):
    command = ["lora", "merge", str(built[0] / "tiny.task"), *map(str, adapters), "-o", str(tmp_path / "a.task")]
    assert run([*command, "--scale", "1", "--scale", "2", "--scale", "3"]) == 2
    assert "--scale 1, 2, 3 with 2 adapters; give one number" in capsys.readouterr().err


def test_export_for_another_checkpoint_writes_nothing(built, adapters, tmp_path, capsys):
    stranger = write_tiny_checkpoint(tmp_path / "other", seed=5)
    assert (
        run(
            [
                "lora",
                "export",
                str(adapters[0]),
                "--bundle",
                str(built[0]),
                "--against",
                str(stranger),
                "-o",
                str(tmp_path / "a.tflite"),
                "--quiet",
            ]
        )
        == 1
    )
    assert "fingerprint" in capsys.readouterr().err and not (tmp_path / "a.tflite").exists()


def test_a_rank_that_was_not_exported(built, adapters, tiny_checkpoint, tmp_path):
    bundles = open_lora_bundles(built[0])
    with pytest.raises(OptionError, match="rank 16"):
        prepare_adapter(adapters[0], bundles, 8)
    large = tmp_path / "large"
    write_adapter(large, open_checkpoint(tiny_checkpoint).reference_model(), r=20)
    with pytest.raises(LoraError, match="rank 20.*built for rank 16"):
        prepare_adapter(large, bundles)


def test_a_task_without_lora_signatures(tiny_bundle):
    with pytest.raises(BundleError, match="`lora_ranks`"):
        open_lora_bundles(tiny_bundle[0])


@pytest.mark.parametrize(
    "fields, named",
    [({"n_embd": 64}, "width 64"), ({"n_layer": 3}, "h.2.*only 2 layers"), ({"n_layer": 1}, "lacks 4 tensors")],
)
def test_an_adapter_of_another_shape(built, tmp_path, fields, named):
    from peft_folders import tiny_model

    write_adapter(tmp_path, tiny_model(**fields))
    with pytest.raises(LoraError, match=named):
        prepare_adapter(tmp_path, open_lora_bundles(built[0]))


def test_an_adapter_that_was_trained_on_another_base(built, adapters, tmp_path):
    import shutil

    folder = tmp_path / "loud"
    shutil.copytree(adapters[0], folder)
    (folder / "training.json").write_text(json.dumps({"base_fingerprint": "0" * 64}))
    with pytest.raises(LoraError, match="fingerprint 0{16}"):
        prepare_adapter(folder, open_lora_bundles(built[0]))


# --- in the engine


def test_the_command_swaps(built, capsys):
    def written(*arguments):
        assert (
            run(
                [
                    "run",
                    str(built[0] / "tiny.litertlm"),
                    "-p",
                    "The lighthouse keeper wrote",
                    "-n",
                    "12",
                    "--temperature",
                    "0",
                    "--json",
                    "--quiet",
                    *arguments,
                ]
            )
            == 0
        )
        return json.loads(capsys.readouterr().out)["text"]

    base, loud = written(), written("--adapter", str(built[0] / "adapters" / "loud.tflite"))
    assert loud != base == written("--adapter", str(built[0] / "adapters" / "zero.tflite"))


def test_adapters_the_engine_would_ignore_are_refused(built, tmp_path):
    loud = built[0] / "adapters" / "loud.tflite"
    with (
        open_engine(built[0] / "tiny.task") as engine,
        pytest.raises(BundleError, match="ignores without a word.*lora merge"),
    ):
        engine.check_adapter(loud)
    with open_engine(built[0] / "tiny.litertlm") as engine:
        engine.check_adapter(loud)
        file = read_adapter_file(loud)
        from dataclasses import replace

        (tmp_path / "other.tflite").write_bytes(
            encode_adapter(replace(file, header=replace(file.header, base_fingerprint="e" * 64)))
        )
        with pytest.raises(LoraError, match="fingerprint e{16}"):
            engine.check_adapter(tmp_path / "other.tflite")


def test_plain_prefills_that_the_engine_would_pass_over(built, models, tmp_path):
    """LiteRT-LM runs the last prefill signature of a length: were it one with LoRA inputs, undefined memory would be
    the adapter.
    """
    from bundler.containers.litertlm import write_litertlm
    from bundler.containers.llm_metadata import LlmMetadata

    model = schema.ModelT.InitFromPackedBuf(models["task"].read_bytes())
    model.signatureDefs.sort(key=lambda signature: b"lora" in signature.signatureKey)
    import flatbuffers

    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), b"TFL3")
    (tmp_path / "a.tflite").write_bytes(bytes(builder.Output()))
    write_litertlm(
        tmp_path / "a.litertlm",
        tmp_path / "a.tflite",
        LlmMetadata(start_token=399, stop_tokens=(399,)),
        tokenizer_json=b"{}",
    )
    with (
        pytest.raises(BundleError, match="prefill_24_lora_r16 .*stands behind"),
        open_engine(tmp_path / "a.litertlm"),
    ):
        pass


# --- merging


def test_merging_changes_only_what_it_says(built, adapters, tmp_path):
    task = built[0] / "tiny.task"
    merged = tmp_path / "merged.task"
    merge_into_bundle(task, adapter_for_merging(adapters[1], open_lora_bundles(task).base), merged)
    before, after = np.frombuffer(task.read_bytes(), np.uint8), np.frombuffer(merged.read_bytes(), np.uint8)
    allowed = np.zeros(len(before), bool)
    offset = read_task(task).entry(MODEL_ENTRY).offset
    for tensor in tensors_of(open_bundle(task)):
        if tensor["layer"] == 1 and tensor["projection"] != "o":
            allowed[offset + tensor["data"] : offset + tensor["data"] + 4 * 32 * 32] = True
    changed = before != after
    assert changed[allowed].mean() > 0.9 and 1 <= changed[~allowed].sum() <= 64 + 4 * 4  # the adapter's hash, four CRCs
    for entry in read_task(merged).entries:
        read_task(merged).check_entry(entry.name)


def test_a_peft_folder_and_its_exported_file_merge_to_the_same_bytes(built, adapters, tmp_path):
    task, base = built[0] / "tiny.task", open_lora_bundles(built[0]).base
    files = adapter_for_merging(adapters[0], base), adapter_for_merging(built[0] / "adapters" / "loud.tflite", base)
    outputs = []
    for index, file in enumerate(files):
        merge_into_bundle(task, file, tmp_path / f"{index}.task")
        outputs.append((tmp_path / f"{index}.task").read_bytes())
    assert outputs[0] == outputs[1]


def test_merging_twice_is_refused_and_nothing_is_written(built, adapters, tmp_path):
    base = open_lora_bundles(built[0]).base
    merge_into_bundle(built[0] / "tiny.task", adapter_for_merging(adapters[0], base), tmp_path / "once.task")
    assert (
        run(
            [
                "lora",
                "merge",
                str(tmp_path / "once.task"),
                str(adapters[1]),
                "-o",
                str(tmp_path / "twice.task"),
                "--quiet",
            ]
        )
        == 1
    )
    assert [path.name for path in tmp_path.iterdir()] == ["once.task"]


@pytest.mark.parametrize("bundle, named", [("tiny.litertlm", "merged into a .task"), ("adapters/loud.tflite", "ZIP")])
def test_merging_into_something_else(built, adapters, tmp_path, capsys, bundle, named):
    assert (
        run(["lora", "merge", str(built[0] / bundle), str(adapters[0]), "-o", str(tmp_path / "a.task"), "--quiet"]) == 1
    )
    assert named in capsys.readouterr().err and not (tmp_path / "a.task").exists()


def test_merging_into_a_checkpoint_keeps_what_a_file_cannot_carry(tiny_checkpoint, tmp_path):
    """DoRA on attention and MLP, written as a checkpoint that computes what peft computes."""
    import torch
    from transformers import GPT2LMHeadModel

    model = write_adapter(
        tmp_path / "dora",
        open_checkpoint(tiny_checkpoint).reference_model(),
        strength=0.1,
        use_dora=True,
        target_modules=["c_attn", "c_proj", "c_fc"],
    )
    assert (
        run(["lora", "merge", str(tiny_checkpoint), str(tmp_path / "dora"), "-o", str(tmp_path / "merged"), "--quiet"])
        == 0
    )
    ids = torch.arange(40)[None]
    with torch.no_grad():
        difference = model(ids).logits - GPT2LMHeadModel.from_pretrained(tmp_path / "merged")(ids).logits
    assert difference.abs().max() < 1e-4 and (tmp_path / "merged" / "tokenizer.json").exists()


# --- recipes that round


# Slow: half a minute each, and another way of rounding takes no other way through the code.
@pytest.mark.parametrize(
    "recipe", ["int8", *(pytest.param(recipe, marks=pytest.mark.slow) for recipe in ("fp16", "int4-block32"))]
)
def test_gates_on_rounded_weights(built, models, adapters, tiny_checkpoint, tmp_path, recipe):
    gates = lora_gates(subject_of(built, models, tiny_checkpoint, tmp_path, recipe, adapters[:1]))
    assert [gate.name + ": " + gate.found for gate in gates if not gate.passed] == []
    kl = next(gate.figures["mean_kl"] for gate in gates if "beside the weights" in gate.name)
    assert kl <= 0.01


def subject_of(built, models, tiny_checkpoint, folder, recipe, adapters=()):
    """The build's bundles again, in another recipe, without converting again."""
    from bundler.containers.litertlm import read_litertlm, write_litertlm
    from bundler.lora.facts import lora_facts
    from bundler.pipeline.build import MANIFEST, METADATA_ENTRY, TOKENIZER_ENTRY, write_task
    from tokenizer_tools.vocabulary_files import read_vocabulary

    checkpoint = open_checkpoint(tiny_checkpoint)
    base = base_of(checkpoint)
    for kind, model in models.items():
        quantize(model, recipe, folder / f"{kind}.tflite")
    task, litertlm = read_task(built[0] / "tiny.task"), read_litertlm(built[0] / "tiny.litertlm")
    facts = {
        **built[1],
        "recipe": recipe,
        "lora": lora_facts(base, folder / "task.tflite", recipe, (RANK,)),
    }
    write_task(
        folder / "a.task",
        {
            MODEL_ENTRY: folder / "task.tflite",
            TOKENIZER_ENTRY: task.read_entry(TOKENIZER_ENTRY),
            METADATA_ENTRY: task.read_entry(METADATA_ENTRY),
            MANIFEST: json.dumps(facts).encode(),
        },
    )
    write_litertlm(
        folder / "a.litertlm",
        folder / "litertlm.tflite",
        litertlm.llm_metadata(),
        tokenizer_json=litertlm.tokenizer_json(),
    )
    variants = (
        Variant(".task", folder / "task.tflite", RANK),
        Variant(".litertlm", folder / "litertlm.tflite", RANK, plain=True, unpacked=True),
    )
    tokenizer = bundle_tokenizer(open_bundle(built[0] / "tiny.task"), read_vocabulary(checkpoint.folder))
    lora = Lora(base, tuple(adapters), variants, task=folder / "a.task", litertlm=folder / "a.litertlm")
    return Subject(checkpoint, folder / "task.tflite", recipe, tokenizer, lora=lora)


# --- gates that must fail


def rewritten(path, output, change):
    import flatbuffers

    model = schema.ModelT.InitFromPackedBuf(path.read_bytes())
    change(model)
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), b"TFL3")
    output.write_bytes(bytes(builder.Output()))
    compact_tflite(output)
    return output


def graph_of(model, signature):
    definition = next(candidate for candidate in model.signatureDefs if candidate.signatureKey == signature)
    return definition, model.subgraphs[definition.subgraphIndex]


def test_an_input_that_nothing_consumes_is_found(built, models, tiny_checkpoint, tmp_path):
    def change(model):
        definition, graph = graph_of(model, b"decode_lora_r16")
        inputs = {entry.name: entry.tensorIndex for entry in definition.inputs}
        lost, stranger = inputs[b"lora_atten_k_b_prime_weight_1"], inputs[b"lora_atten_v_b_prime_weight_1"]
        for operator in graph.operators:
            operator.inputs = np.where(operator.inputs == lost, stranger, operator.inputs)

    loaded = _load(subject_of(built, models, tiny_checkpoint, tmp_path, "fp16"), tmp_path)
    gate = consumed_gate(Variant(".task", rewritten(models["task"], tmp_path / "a.tflite", change), RANK), loaded)
    assert not gate.passed and "decode_lora_r16: lora_atten_k_b_prime_weight_1" in gate.found


def test_a_zero_adapter_that_changes_something_is_found(built, models, tiny_checkpoint, tmp_path):
    """One bias of the LoRA signatures is another than that of the plain ones."""

    def change(model):
        _, graph = graph_of(model, b"decode_lora_r16")
        tensor = next(
            tensor
            for tensor in graph.tensors
            if list(tensor.shape) == [96]
            and len(model.buffers[tensor.buffer].data or ())
            or list(tensor.shape) == [32]
            and model.buffers[tensor.buffer].data is not None
        )
        data = np.array(model.buffers[tensor.buffer].data).view(np.float32) + np.float32(1e-3)
        model.buffers.append(schema.BufferT(data=data.view(np.uint8)))
        tensor.buffer = len(model.buffers) - 1

    subject = replace(subject_of(built, models, tiny_checkpoint, tmp_path, "fp16"), model=models["task"])
    broken = Variant(".task", rewritten(models["task"], tmp_path / "b.tflite", change), RANK)
    loaded = _load(subject, tmp_path)
    assert zero_gate(Variant(".task", models["task"], RANK), loaded).passed
    assert not zero_gate(broken, loaded).passed


# --- options


@pytest.mark.parametrize(
    "options, named",
    [
        ({"lora_ranks": (4,)}, "rank 16 or 32 only"),
        ({"lora_ranks": (0, 16)}, "`lora_ranks` 0"),
        ({"lora_ranks": (16,), "recipe": "int8-static"}, "int8-static with LoRA"),
    ],
)
def test_options_that_do_not_fit(tiny_checkpoint, tmp_path, options, named):
    with pytest.raises(OptionError, match=named):
        plan_build(BuildOptions(str(tiny_checkpoint), tmp_path / "out", **options))


def test_adapters_decide_the_ranks(tiny_checkpoint, adapters, tmp_path):
    plan = plan_build(BuildOptions(str(tiny_checkpoint), tmp_path / "out", adapters=adapters)).lora
    assert (plan.ranks, plan.rank) == ((16,), 16)
    write_adapter(tmp_path / "large", open_checkpoint(tiny_checkpoint).reference_model(), r=20)
    plan = plan_build(
        BuildOptions(str(tiny_checkpoint), tmp_path / "out", adapters=(*adapters, tmp_path / "large"))
    ).lora
    assert (plan.ranks, plan.rank) == ((32,), 32)
    with pytest.raises(OptionError, match="does not fit `lora_ranks` 16"):
        plan_build(
            BuildOptions(str(tiny_checkpoint), tmp_path / "out", lora_ranks=(16,), adapters=(tmp_path / "large",))
        )
    with pytest.raises(OptionError, match="two adapters would be named loud"):
        plan_build(BuildOptions(str(tiny_checkpoint), tmp_path / "out", adapters=(adapters[0], adapters[0])))


def test_zero_inputs_are_the_default_of_the_runner(models):
    plain, lora = TFLiteGPT2(models["task"]), TFLiteGPT2(models["litertlm"])
    assert set(lora.lora_shapes.values()) == {(32, 16), (16, 32)} and not plain.lora_shapes
    assert plain.greedy([399, 5, 6], 6) == lora.greedy([399, 5, 6], 6)


def test_repacking_says_what_becomes_of_adapters(built, tmp_path):
    from bundler.pipeline.repack import repack

    (note,) = repack(built[0] / "tiny.task", tmp_path / "out.litertlm").notes
    assert "takes no adapters" in note
    with pytest.raises(BundleError, match="takes LoRA adapters.*take the .task that the same build wrote beside it"):
        repack(built[0] / "tiny.litertlm", tmp_path / "out.task")
