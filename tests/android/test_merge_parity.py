"""The app's merge against Python's, byte for byte, on the embedded sample in every recipe; and what the merged bundle
writes.
"""

import json
import subprocess
from pathlib import Path

import pytest
from reference_quantizer import quantize

from bundler.checkpoints.checkpoint import open_checkpoint
from bundler.containers.bundle import MANIFEST, open_bundle
from bundler.containers.lora_manifest import base_of_bundle
from bundler.containers.task import METADATA_ENTRY, MODEL_ENTRY, TOKENIZER_ENTRY, read_task, write_task
from bundler.engines.litertlm import open_engine
from bundler.lora.facts import base_of, lora_facts
from bundler.lora.merge_bundle import adapter_for_merging, merge_into_bundle
from bundler.pipeline.build import build
from bundler.pipeline.manifest import FORMAT
from bundler.pipeline.plan import BuildOptions
from bundler.verification.references import PeftReference
from lora_weights.adapter_file import encode_adapter
from tokenizer_tools.vocabulary import reference_tokenizer
from tokenizer_tools.vocabulary_files import read_vocabulary

ROOT = Path(__file__).parents[2]
SAMPLE, PIRATE = ROOT / "gpt2_training" / "sample", ROOT / "lora_weights" / "samples" / "pirate"
VECTORS = ROOT / "tests" / "lora_weights" / "vectors"
PROMPT, TOKENS = 'def read(self, path):\n    """', 40
# The sample is converted once, and the compiler runs: half a minute on a busy machine.
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="session")
def merge(kotlin, core_classes, tmp_path_factory):
    """merge(base, adapter, output): the app's merge in a JVM; raises CalledProcessError with what it printed."""
    from toolchain import HERE, compile_kotlin, joined, kotlin_files, require

    classes = tmp_path_factory.mktemp("merge")
    compile_kotlin(kotlin, kotlin_files(HERE / "merge"), classes, [core_classes], "-jvm-target", "17")

    def run(base, adapter, output, *options):
        return subprocess.run(
            [
                require("java", ""),
                *options,
                "-cp",
                joined(core_classes, classes, kotlin.stdlib),
                "dev.taskbundler.verify.MergeMainKt",
                *map(str, (base, adapter, output)),
            ],
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    return run


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    """The sample's .task in fp32, not verified: that is what other tests are for."""
    folder = tmp_path_factory.mktemp("sample") / "sample"
    build(BuildOptions(str(SAMPLE), folder, recipe="fp32", context=128, prefill=(32,), verify=False))
    return folder / "sample.task"


@pytest.fixture(scope="module")
def pirate(sample):
    path = sample.parent / "pirate.tflite"
    path.write_bytes(encode_adapter(adapter_for_merging(PIRATE, base_of_bundle(open_bundle(sample)))))
    return path


@pytest.fixture(scope="module")
def merged(sample, pirate, merge):
    """The sample's fp32 .task with the pirate merged in by the app."""
    path = sample.parent / "merged.task"
    merge(sample, pirate, path)
    return path


def _python(base, adapter, output):
    merge_into_bundle(base, adapter_for_merging(adapter, base_of_bundle(open_bundle(base))), output)
    return output.read_bytes()


@pytest.mark.parametrize("type_", ["float32", "float16", "int8", "int4"])
def test_vectors(type_, merge, tmp_path):
    merge(VECTORS / f"{type_}.task", VECTORS / "adapter.tflite", tmp_path / "merged.task")
    assert (tmp_path / "merged.task").read_bytes() == (VECTORS / f"{type_}-merged.task").read_bytes()


def test_fp32_gives_the_same_file(sample, pirate, merged, tmp_path):
    assert merged.read_bytes() == _python(sample, pirate, tmp_path / "python.task") != sample.read_bytes()


def _recipe(sample, recipe, folder):
    """The sample's .task in another recipe."""
    task, checkpoint = read_task(sample), open_checkpoint(SAMPLE)
    task.copy_entry(MODEL_ENTRY, folder / "fp32.tflite")
    quantize(folder / "fp32.tflite", recipe, folder / "model.tflite")
    facts = {"format": FORMAT, "lora": lora_facts(base_of(checkpoint), folder / "model.tflite", recipe, ())}
    write_task(
        folder / "base.task",
        {
            MODEL_ENTRY: folder / "model.tflite",
            TOKENIZER_ENTRY: task.read_entry(TOKENIZER_ENTRY),
            METADATA_ENTRY: task.read_entry(METADATA_ENTRY),
            MANIFEST: json.dumps(facts).encode(),
        },
    )
    return folder / "base.task"


@pytest.mark.parametrize("recipe", ["fp16", "int8", "int8-weight-only", "int4-block32", "int4-block128"])
def test_other_recipes_give_the_same_file(recipe, sample, pirate, merge, tmp_path):
    base = _recipe(sample, recipe, tmp_path)
    merge(base, pirate, tmp_path / "kotlin.task")
    assert (
        (tmp_path / "kotlin.task").read_bytes() == _python(base, pirate, tmp_path / "python.task") != base.read_bytes()
    )


def test_the_heap_does_not_grow_with_the_model(sample, pirate, merge, tmp_path):
    """Less heap than the bundle has bytes."""
    assert sample.stat().st_size > 20 << 20
    merge(sample, pirate, tmp_path / "merged.task", "-Xmx12m")
    assert (tmp_path / "merged.task").stat().st_size == sample.stat().st_size


def test_what_cannot_be_merged_is_a_finding(sample, merged, pirate, merge, tmp_path):
    for base, adapter, code in (
        (merged, pirate, "app-bundle-merged"),
        (sample, VECTORS / "adapter.tflite", "app-adapter-other-shape"),
        (VECTORS / "int8.task", pirate, "app-adapter-other-shape"),
        (sample, sample, "adapter-unreadable"),
        (pirate, pirate, "file-truncated"),
    ):
        with pytest.raises(subprocess.CalledProcessError) as failed:
            merge(base, adapter, tmp_path / "merged.task")
        assert failed.value.returncode == 1 and failed.value.stderr.startswith(f"{code}: "), failed.value.stderr


@pytest.fixture(scope="module")
def expected():
    """What PyTorch with PEFT writes, greedily."""
    checkpoint = open_checkpoint(SAMPLE)
    vocabulary = read_vocabulary(checkpoint.folder)
    tokenizer = reference_tokenizer(vocabulary)
    reference = PeftReference(checkpoint, len(vocabulary), [PIRATE])
    prompt = [vocabulary.id_of_text("<|endoftext|>"), *tokenizer.encode(PROMPT).ids]
    base, text = (tokenizer.decode(reference.use(index).greedy(prompt, TOKENS)) for index in (None, 0))
    assert base != text
    return text


def test_the_merged_bundle_writes_the_adapters_text_in_litert_lm(merged, expected):
    with open_engine(merged) as engine:
        assert engine.complete(PROMPT, TOKENS) == expected


def test_and_in_mediapipes_engine(sample, pirate, merge, tmp_path):
    """In int8, because this engine takes no float32 embedding; so against the other engine on the same file."""
    from bundler.engines.mediapipe import missing_tools, open_mediapipe

    if missing := missing_tools():
        pytest.skip(missing)
    base, merged = _recipe(sample, "int8", tmp_path), tmp_path / "merged.task"
    merge(base, pirate, merged)
    texts = []
    for path in (base, merged):
        with open_mediapipe(path) as engine:
            texts.append(engine.complete(PROMPT, TOKENS))
    assert "Avast" in texts[1] and "Avast" not in texts[0]
    with open_engine(merged) as engine:
        # The beginning: where two tokens are nearly as likely, the engines may part ways.
        assert engine.complete(PROMPT, TOKENS)[:20] == texts[1][:20]
