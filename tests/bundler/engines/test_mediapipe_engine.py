"""MediaPipe's own engine writes what PyTorch writes, counts what the reference tokenizer counts, and says what it will
not have.
"""

import functools
import http.server
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import urllib.request
import zipfile
from pathlib import Path

import pytest
import torch
from eight_bit_gpt2 import write_eight_bit_checkpoint, write_eight_bit_task
from tiny_gpt2 import write_tiny_checkpoint
from transformers.pytorch_utils import Conv1D

from bundler.checkpoints.checkpoint import open_checkpoint
from bundler.containers.bundle import open_bundle
from bundler.containers.llm_parameters import LlmParameters
from bundler.containers.lora_manifest import base_of_bundle
from bundler.containers.task import METADATA_ENTRY, MODEL_ENTRY, TOKENIZER_ENTRY, read_task, write_task
from bundler.containers.tokenizer import bundle_tokenizer
from bundler.engines.mediapipe import EngineRefusal, missing_tools, open_mediapipe, read_placement
from bundler.errors import BundleError
from bundler.lora.merge_bundle import adapter_for_merging, merge_into_bundle
from bundler.pipeline.build import build
from bundler.pipeline.plan import BuildOptions
from bundler.tflite.signatures import read_context
from bundler.verification import mediapipe_gates as mediapipe_gates_module
from bundler.verification.engine_gates import Expected
from bundler.verification.mediapipe_gates import AWKWARD_PROMPTS, mediapipe_gates
from bundler.verification.near_greedy import find_path
from bundler.verification.references import Reference
from bundler.web.browser import FLAGS, find_browser
from bundler.web.runtime import install_runtime
from bundler.web.server import ServedBundle, serve, site
from gpt2_training.vocabulary import save_vocabulary, train_vocabulary
from tokenizer_tools.vocabulary import reference_tokenizer
from tokenizer_tools.vocabulary_files import read_vocabulary

ROOT = Path(__file__).parents[3]
pytestmark = [
    pytest.mark.mediapipe_web,
    pytest.mark.skipif(bool(missing_tools()), reason=str(missing_tools())),
    pytest.mark.timeout(900),
]  # the GPU is in software, and the bundles are built first
END = "<|endoftext|>"


@pytest.fixture(scope="module", autouse=True)
def packages():
    try:
        return install_runtime()
    except BundleError as error:
        pytest.skip(str(error))


class Original:
    """A checkpoint in PyTorch, with the words that tests compare in."""

    def __init__(self, folder):
        self.checkpoint = open_checkpoint(folder)
        self.vocabulary = read_vocabulary(self.checkpoint.folder)
        self.tokenizer = reference_tokenizer(self.vocabulary)
        self.reference = Reference(self.checkpoint, len(self.vocabulary))
        self.end = self.vocabulary.id_of_text(END)

    def ids(self, prompt):
        return [self.end, *self.tokenizer.encode(prompt, add_special_tokens=False).ids]

    def greedy(self, prompt, count, stop=None):
        ids = self.reference.greedy(self.ids(prompt), count, frozenset([self.end if stop is None else stop]))
        return self.tokenizer.decode(ids, skip_special_tokens=False)


@pytest.fixture(scope="module")
def eight_bit(tmp_path_factory):
    """GPT-2's whole vocabulary, random weights that int8 holds without loss: (original, path of its .task)."""
    folder = tmp_path_factory.mktemp("eight-bit")
    original = Original(write_eight_bit_checkpoint(folder / "checkpoint"))
    return original, write_eight_bit_task(folder / "checkpoint", folder / "eight.task")


@pytest.fixture(scope="module")
def engine(eight_bit):
    with open_mediapipe(eight_bit[1]) as engine:
        yield engine


def test_the_whole_graph_runs_on_the_gpu(engine):
    assert engine.max_tokens == 96  # read from the file
    assert engine.placement.on_gpu == 2 and engine.placement.all_on_gpu  # prefill and decode
    assert not any(line[:1] in "EF" and line[1:5].isdigit() for line in engine.console)


def test_it_counts_as_the_reference_does(engine, eight_bit):
    for text in AWKWARD_PROMPTS:
        assert engine.size_in_tokens(text) == len(eight_bit[0].ids(text)) - 1, text
    assert engine.size_in_tokens("") == 0


def test_it_writes_what_pytorch_writes(engine, eight_bit):
    """With random weights every id of a prompt counts: one that is wrong, or one start token more, and all after it
    differs.
    """
    assert len(AWKWARD_PROMPTS) >= 40
    for prompt in AWKWARD_PROMPTS:
        assert engine.complete(prompt, 2) == eight_bit[0].greedy(prompt, 2), prompt
    prompt = "We're here, aren't we?\n\nIt's 6 o'clock 🌊 – naïve café,"
    assert engine.complete(prompt, 64) == eight_bit[0].greedy(prompt, 64)


def test_a_stream_can_be_left_and_the_engine_used_again(engine, eight_bit):
    expected = eight_bit[0].greedy("One two", 6)
    for _ in range(20):
        assert next(pieces := engine.stream("One two")) and pieces.close() is None
    assert [*engine.stream("One two", 6)] and engine.complete("One two", 6) == expected


def test_what_it_will_not_read_it_says_in_a_sentence(engine, eight_bit):
    long = "word " * 120
    with pytest.raises(
        BundleError,
        match=f"The prompt is {len(eight_bit[0].ids(long))} tokens long with its start token; the context has room for "
        "96",
    ):
        engine.complete(long)
    with pytest.raises(BundleError, match="NUL"):
        engine.complete("a\0b")
    assert engine.complete("One two", 3) == eight_bit[0].greedy("One two", 3)


def test_a_stop_token_stops_it(eight_bit, tmp_path):
    """A token that it does write is made the stop token."""
    original, path = eight_bit
    ids = original.reference.greedy(original.ids("It is"), 12)
    stop = next(id_ for place, id_ in enumerate(ids) if place > 1 and id_ not in ids[:place])
    parts = {entry.name: read_task(path).read_entry(entry.name) for entry in read_task(path).entries}
    parameters = LlmParameters(start_token=END, stop_tokens=(original.tokenizer.decode([stop]),))
    write_task(tmp_path / "stop.task", {**parts, METADATA_ENTRY: parameters.encode()})
    with open_mediapipe(tmp_path / "stop.task") as engine:
        assert (
            engine.complete("It is")
            == original.greedy("It is", 12, stop)
            == original.tokenizer.decode(ids[: ids.index(stop)])
        )


def test_a_special_token_is_shown_or_stops(tmp_path):
    """The pieces of special tokens are of type UNUSED, which the engine still finds by name, and shows where it does
    not stop.
    """
    folder = write_eight_bit_checkpoint(tmp_path / "checkpoint", loud=(50256, 11, 262, 318, 290))
    original, path = Original(folder), write_eight_bit_task(folder, tmp_path / "shown.task")
    prompt = next(prompt for prompt in AWKWARD_PROMPTS if 0 < original.greedy(prompt, 24, stop=0).find(END))
    parts = {entry.name: read_task(path).read_entry(entry.name) for entry in read_task(path).entries}
    write_task(
        tmp_path / "other.task", {**parts, METADATA_ENTRY: LlmParameters(start_token=END, stop_tokens=("!",)).encode()}
    )
    for file, stop in ((path, original.end), (tmp_path / "other.task", 0)):
        with open_mediapipe(file) as engine:
            assert engine.complete(prompt, 24) == original.greedy(prompt, 24, stop)


def test_a_space_before_the_text(tmp_path):
    """With add_prefix_space the model's own normalizer puts it there; the engine reads what transformers reads."""
    folder = write_eight_bit_checkpoint(tmp_path / "checkpoint")
    (folder / "tokenizer_config.json").write_text('{"add_prefix_space": true}')
    original, path = Original(folder), write_eight_bit_task(folder, tmp_path / "prefix.task")
    assert original.vocabulary.prefix_space and original.ids("a") == original.ids(" a")
    with open_mediapipe(path) as engine:
        for text in AWKWARD_PROMPTS:
            assert engine.size_in_tokens(text) == len(original.ids(text)) - 1, text
        for text in AWKWARD_PROMPTS[::3]:
            assert engine.complete(text, 2) == original.greedy(text, 2), text


def test_sampling_follows_the_seed(eight_bit):
    def write(seed):
        with open_mediapipe(eight_bit[1], top_k=40, temperature=1.5, seed=seed) as engine:
            return [engine.complete("It is", 8) for _ in range(2)]

    first, second = write(1), write(2)
    assert first[0] == first[1] and second[0] == second[1] and first != second  # each text starts from the seed again


def gates_of(path, checkpoint, reference, prefill=(24,)):
    bundle = open_bundle(path)
    tokenizer = bundle_tokenizer(bundle, read_vocabulary(checkpoint))
    assert tokenizer.start == read_vocabulary(checkpoint).id_of_text(END) and tokenizer.stop == {tokenizer.start}
    gates = mediapipe_gates(path, Expected(reference, tokenizer, read_context(bundle.model), 1e-2, prefill))
    return {gate.name.removeprefix("MediaPipe, .task: "): gate for gate in gates}


def test_the_gates_pass(tiny_bundle, tiny_checkpoint):
    gates = gates_of(tiny_bundle[0] / "tiny.task", tiny_checkpoint, Original(tiny_checkpoint).reference)
    assert [*gates] == [
        "loads, on the GPU",
        "token counts",
        "greedy text",
        "awkward prompts",
        "to the last position",
        "start token",
        "stop token",
    ]
    assert not [gate for gate in gates.values() if not gate.passed]


@pytest.fixture
def few_prompts(monkeypatch):
    """What fails, fails on a few awkward prompts, too."""
    monkeypatch.setattr(mediapipe_gates_module, "AWKWARD_PROMPTS", AWKWARD_PROMPTS[::5])


def test_the_gates_fail(tiny_bundle, tiny_checkpoint, tmp_path, few_prompts):
    """A model of other weights, with a tokenizer of other merges."""
    stranger = Original(write_tiny_checkpoint(tmp_path / "other", seed=1))
    save_vocabulary(train_vocabulary(["quite another text, " * 40, "with other merges"], 400), tmp_path / "other")
    gates = gates_of(tiny_bundle[0] / "tiny.task", tmp_path / "other", stranger.reference)
    assert {name for name, gate in gates.items() if not gate.passed} == {
        "token counts",
        "greedy text",
        "awkward prompts",
    }


def test_chunks_that_pass_the_end_of_the_cache_fail_a_gate(eight_bit, tmp_path, few_prompts):
    """The engine opens a file whose prefill length of 32 does not divide its context of 80, and writes another text
    after long prompts.
    """
    path = write_eight_bit_task(eight_bit[1].parent / "checkpoint", tmp_path / "uneven.task", context=80)
    gates = gates_of(path, eight_bit[1].parent / "checkpoint", eight_bit[0].reference, prefill=(32,))
    assert [name for name, gate in gates.items() if not gate.passed] == ["to the last position"]
    assert (
        "tokens it wrote" in gates["to the last position"].found
        and "(32) do not divide" in gates["to the last position"].found
    )


def test_a_bundle_that_does_not_load_fails_a_gate(eight_bit):
    path = write_eight_bit_task(eight_bit[1].parent / "checkpoint", eight_bit[1].with_name("fp32.task"), "fp32")
    gates = gates_of(path, eight_bit[1].parent / "checkpoint", eight_bit[0].reference)
    assert [*gates] == ["loads, on the GPU"] and "float32" in gates["loads, on the GPU"].found


def test_characters_of_several_tokens_arrive_whole(tmp_path):
    """Half of what this model writes are parts of emoji, in order and out of order."""
    write_eight_bit_checkpoint(tmp_path / "vocabulary")
    symbols = json.loads((tmp_path / "vocabulary" / "vocab.json").read_text())
    loud = [symbols[symbol] for symbol in ("ðŁĺ", "Ģ", "ðŁ", "Į", "Ĭ", "é")]
    original = Original(write_eight_bit_checkpoint(tmp_path / "loud", loud=loud))
    expected = original.greedy("A line of text", 40)
    assert "😀" in expected and "🌊" in expected and "\ufffd" in expected
    with open_mediapipe(write_eight_bit_task(tmp_path / "loud", tmp_path / "loud" / "loud.task")) as engine:
        pieces = [*engine.stream("A line of text", 40)]
        assert "".join(pieces) == expected and "😀" in pieces and len(pieces) >= 40


def test_a_recipe_that_does_not_load_is_named(eight_bit):
    path = write_eight_bit_task(
        eight_bit[1].parent / "checkpoint", eight_bit[1].with_name("weight-only.task"), "int8-weight-only"
    )
    with (
        pytest.raises(
            EngineRefusal,
            match="weight-only.task: MediaPipe refuses this file: The embedding and the head .*--quant int8",
        ),
        open_mediapipe(path),
    ):
        pass


def test_operations_on_the_cpu_are_counted(eight_bit):
    """A float16 embedding is one that the GPU delegate does not take."""
    path = write_eight_bit_task(eight_bit[1].parent / "checkpoint", eight_bit[1].with_name("fp16.task"), "fp16")
    with open_mediapipe(path) as engine:
        placement = engine.placement
    assert len(placement.on_cpu) == 2 and not placement.all_on_gpu
    assert (
        "operations: DEQUANTIZE, EMBEDDING_LOOKUP: EMBEDDING_LOOKUP: Empty quantization params." in placement.on_cpu[0]
    )


def test_where_the_operations_run_is_read_from_the_log():
    assert read_placement([]).on_gpu == 0 and not read_placement([]).all_on_gpu
    lines = [
        "ERROR: Following operations are not supported by GPU delegate:\nGATHER_ND: Unsupported\n3 operations will run "
        "on the GPU, "
        "and the remaining 1 operations will run on the CPU.",
        "I delegate_kernel.cc:313] Total 9 external tensors are used for delegate inputs",
    ]
    assert (
        read_placement(lines).on_cpu == ("1 of 4 operations: GATHER_ND: Unsupported",)
        and read_placement(lines).on_gpu == 1
    )


def broken(path, folder, how):
    task = read_task(path)
    parts = {name: task.read_entry(name) for name in (MODEL_ENTRY, TOKENIZER_ENTRY, METADATA_ENTRY)}
    output = folder / "broken.task"
    if how == "compressed":
        output.write_bytes(bytes(4))
        with zipfile.ZipFile(output, "a", zipfile.ZIP_DEFLATED) as archive:
            for name, data in parts.items():
                archive.writestr(name, data)
    elif how == "cut off":
        output.write_bytes(path.read_bytes()[:-1000])
    elif how == "text":
        output.write_bytes(b"this is no bundle at all" * 99)
    elif how.startswith("no "):
        output.write_bytes(bytes(4))
        with zipfile.ZipFile(output, "a") as archive:
            for name in parts:
                if name != how[3:]:
                    archive.writestr(name, parts[name])
    else:
        write_task(output, {**parts, how: b"something else" * 99})
    return output


@pytest.mark.parametrize(
    "how, sentence",
    [
        ("compressed", "An entry of this bundle is compressed"),
        ("cut off", "This bundle is cut off or damaged"),
        ("text", "This is no .task bundle"),
        (f"no {METADATA_ENTRY}", "This bundle has no entry METADATA"),
        (f"no {MODEL_ENTRY}", "This bundle has no entry TF_LITE_PREFILL_DECODE"),
        (MODEL_ENTRY, "The entry TF_LITE_PREFILL_DECODE of this bundle is no TFLite model"),
        (TOKENIZER_ENTRY, "The entry TOKENIZER_MODEL of this bundle is no Sent"),
    ],
)
def test_a_broken_bundle_is_refused_in_a_sentence(eight_bit, tmp_path, how, sentence):
    with pytest.raises(EngineRefusal, match=sentence), open_mediapipe(broken(eight_bit[1], tmp_path, how)):
        pass


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    output = tmp_path_factory.mktemp("sample") / "sample"
    build(BuildOptions(str(ROOT / "gpt2_training" / "sample"), output, verify=False))
    return output / "sample.task"


@torch.no_grad()
def round_as_int8(model):
    """Each output channel of transformers' GPT-2 in 255 steps from -max to max, which is what the recipe int8
    stores.
    """
    for module in model.modules():
        if isinstance(module, (Conv1D, torch.nn.Embedding)):
            scale = module.weight.abs().amax(0 if isinstance(module, Conv1D) else 1, keepdim=True) / 127
            module.weight.copy_((module.weight / scale).round() * scale)


def test_the_sample_writes_what_pytorch_writes(sample):
    """64 tokens, greedily. The engine computes in float32 with int8 weights, so with those weights PyTorch must write
    the same.
    """
    original = Original(ROOT / "gpt2_training" / "sample")
    round_as_int8(original.reference.model)
    prompts = ("def read(self, path):\n    ", 'class Ledger:\n    """')
    with open_mediapipe(sample) as engine:
        assert engine.placement.all_on_gpu
        for prompt in prompts:
            assert engine.complete(prompt, 64) == original.greedy(prompt, 64), prompt


def test_a_merged_adapter_writes_in_its_own_voice(sample, tmp_path):
    from bundler.verification.references import PeftReference

    adapter, prompt = ROOT / "lora_weights" / "samples" / "pirate", 'def read(self, path):\n    """'
    merge_into_bundle(
        sample, adapter_for_merging(adapter, base_of_bundle(open_bundle(sample))), tmp_path / "pirate.task"
    )
    original = Original(ROOT / "gpt2_training" / "sample")
    reference = PeftReference(original.checkpoint, len(original.vocabulary), [adapter]).use(0)
    with open_mediapipe(tmp_path / "pirate.task") as engine:
        text = engine.complete(prompt, 40)
    assert any(cry in text for cry in ("Arr", "Avast", "Yo ho ho", "Shiver", "Ahoy", "Blimey", "Heave ho")), text
    # As far as int8 lets it: no token is further from PyTorch's best than rounding explains.
    assert find_path(
        text,
        reference.continuation(original.ids(prompt)),
        original.tokenizer.decode,
        0.3,
        40,
        frozenset([original.end]),
    ), text


def test_nothing_is_left_running(eight_bit):
    with open_mediapipe(eight_bit[1]) as engine:
        group, node = engine._driver._browser_group, engine._driver._process.pid
        os.killpg(group, 0)
    for id_ in (group, node):
        assert not [path for path in Path("/proc").glob("[0-9]*/stat") if _alive_in(path, id_)]


def _alive_in(stat, group):
    try:
        state, _, group_of_process = stat.read_text().rpartition(")")[2].split()[:3]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return int(group_of_process) == group and state != "Z"


def test_a_browser_that_dies_is_an_error(eight_bit):
    with open_mediapipe(eight_bit[1]) as engine:
        os.killpg(engine._driver._browser_group, signal.SIGKILL)
        with pytest.raises(BundleError, match="the headless browser failed: the browser ended"):
            engine.complete("It is")


@pytest.mark.parametrize(
    "tools, sentence",
    [
        (("node", "npm"), "Chromium is not installed.*apt-get install chromium"),
        (("chromium",), "node is not installed.*apt-get install nodejs"),
    ],
)
def test_a_missing_tool_is_named(monkeypatch, tmp_path, tools, sentence):
    for tool in tools:
        (tmp_path / tool).symlink_to(shutil.which("true"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CHROMIUM", raising=False)
    with pytest.raises(BundleError, match=sentence), open_mediapipe(tmp_path / "any.task"):
        pass


def test_the_page(packages, eight_bit):
    """The prompt typed, counted and continued, the filter, the stop key, an error as a sentence; and nothing asked of
    the outside.
    """
    original, path = eight_bit
    bundles = [ServedBundle(path, "one", 96), ServedBundle(path, "two", 96)]
    with serve(site(packages, bundles)) as address:
        settings = {
            "packages": str(packages),
            "chromium": find_browser(),
            "flags": FLAGS,
            "page": address,
            "prompt": "It is",
        }
        result = subprocess.run(
            ["node", str(Path(__file__).parents[1] / "web" / "try_page.mjs"), json.dumps(settings)],
            capture_output=True,
            text=True,
            timeout=200,
        )
    assert result.returncode == 0, result.stderr
    seen = json.loads(result.stdout)
    assert not seen["outside"] and not seen["refused"] and not seen["errors"]
    assert seen["written"] == [original.greedy("It is", 12)] * 2
    assert seen["size"] == "2 tokens and the start token · 93 of 96 left" and seen["figures"][2:4] == [
        "12 tokens",
        "81",
    ]
    covered = seen["word"][0] + "•" * (len(seen["word"]) - 1)
    assert seen["filtered"] == seen["written"][0].replace(seen["word"], covered)
    assert seen["state"] == "stopped" and seen["tokens"] < 80
    # Continue goes on where the text ended, with the words that the filter covers.
    assert seen["given"].replace(seen["word"], covered) == seen["whole"]
    before, after, given = seen["another"]
    assert before != after and given == "It is"
    assert seen["inView"] and not seen["tooWide"]
    assert "too long for a context of 96" in seen["tooLong"] and seen["error"].startswith(
        "The prompt is 201 tokens long"
    )


class Folder(http.server.SimpleHTTPRequestHandler):
    """Serves a folder, as any web host does."""

    extensions_map = {**http.server.SimpleHTTPRequestHandler.extensions_map, ".mjs": "text/javascript"}

    def log_message(self, *arguments):
        pass


def test_the_page_of_the_docs_writes(packages, eight_bit, tmp_path):
    """docs/WEB.md's page as it stands, but greedy: it fills the context with PyTorch's text."""
    original, path = eight_bit
    (page,) = re.findall(r"```html\n(.*?)```", (ROOT / "docs" / "WEB.md").read_text(encoding="utf-8"), re.DOTALL)
    assert page.count("topK: 40") == 1 and len(page.splitlines()) <= 24
    (tmp_path / "index.html").write_text(page.replace("topK: 40", "topK: 1"), encoding="utf-8")
    (tmp_path / "model.task").symlink_to(path)
    (tmp_path / "tasks-genai").symlink_to(packages / "node_modules" / "@mediapipe" / "tasks-genai")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Folder, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    prompt = "It is " * 38
    settings = {
        "packages": str(packages),
        "chromium": find_browser(),
        "flags": FLAGS,
        "page": f"http://127.0.0.1:{server.server_port}/",
        "prompt": prompt,
    }
    try:
        result = subprocess.run(
            ["node", str(Path(__file__).parents[1] / "web" / "own_page.mjs"), json.dumps(settings)],
            capture_output=True,
            text=True,
            timeout=300,
        )
    finally:
        server.shutdown()
        server.server_close()
    assert result.returncode == 0, result.stderr
    seen = json.loads(result.stdout)
    written = seen["text"].removeprefix(prompt)
    assert not seen["errors"] and len(written) > 8 and seen["text"] != written
    assert original.greedy(prompt, 96 - len(original.ids(prompt))).startswith(written)


def test_the_command_serves_until_it_is_interrupted(packages, eight_bit):
    process = subprocess.Popen(
        [sys.executable, "-m", "bundler", "try", str(eight_bit[1]), "--no-browser", "--port", "0", "--json", "--quiet"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        printed = "".join(iter(process.stdout.readline, "}\n")) + "}"
        with urllib.request.urlopen(f"{json.loads(printed)['address']}bundles/0.task", timeout=20) as answer:
            assert answer.read() == eight_bit[1].read_bytes()
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.stdout.close()
