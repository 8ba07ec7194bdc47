"""A long session on a model that takes adapters: the engine keeps every adapter that a session is begun with, so few
are begun.
"""

import os
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from bundler.engines.litertlm import KEPT_SESSIONS, SESSIONS_AN_ENGINE, Sampling, open_engine
from bundler.errors import BundleError
from bundler.pipeline.build import build
from bundler.pipeline.plan import BuildOptions
from bundler.tflite.adapter_file import read_adapter_file
from lora_weights.adapter_file import AdapterFile, encode_adapter

PROMPTS = ("The", "The lighthouse keeper", "def f(x):\n    ")
SEEDED = Sampling(temperature=1.0, seed=7)


@pytest.fixture(scope="module")
def folder(tiny_checkpoint, tmp_path_factory):
    """The folder of a build with LoRA inputs, and in it adapters of random numbers: 0.tflite, 1.tflite, …"""
    output = tmp_path_factory.mktemp("lora") / "tiny"
    build(BuildOptions(str(tiny_checkpoint), output, recipe="fp32", lora_ranks=(16,), verify=False))
    for seed in range(SESSIONS_AN_ENGINE + 4):
        write_random(output, seed, output / f"{seed}.tflite")
    return output


@pytest.fixture(scope="module")
def fresh(folder):
    """fresh(prompt, adapter): the greedy text of a session that is its engine's first."""
    texts = {}

    def text(prompt, adapter):
        if (prompt, adapter) not in texts:
            with open_engine(folder / "tiny.litertlm") as engine:
                texts[prompt, adapter] = engine.complete(prompt, 8, adapter=adapter)
        return texts[prompt, adapter]

    return text


@pytest.fixture
def engine(folder):
    with open_engine(folder / "tiny.litertlm") as engine:
        yield engine


def write_random(folder, seed, path):
    zeros, random = read_adapter_file(folder / "adapters" / "zero.tflite"), np.random.default_rng(seed)
    tensors = {name: random.normal(0, 0.3, tensor.shape).astype(np.float32) for name, tensor in zeros.tensors.items()}
    path.write_bytes(encode_adapter(AdapterFile(replace(zeros.header, name="random"), tensors)))


def descriptors():
    return len(os.listdir("/proc/self/fd"))


def test_descriptors_do_not_grow_with_texts_and_swaps(engine, folder, fresh):
    adapters = (None, folder / "0.tflite", folder / "1.tflite")
    assert len({fresh("The", adapter) for adapter in adapters}) == len(adapters)
    counts = []
    for index in range(45):
        adapter, prompt = adapters[index // 2 % 3], PROMPTS[index % len(PROMPTS)]
        assert engine.complete(prompt, 8, adapter=adapter) == fresh(prompt, adapter)
        counts.append(descriptors())
    assert counts[-1] == counts[len(adapters) * 2]


def test_more_adapters_than_an_engine_is_given_cost_no_more_descriptors(engine, folder, fresh):
    before = descriptors()
    for seed in (*range(SESSIONS_AN_ENGINE + 4), 0):
        adapter = folder / f"{seed}.tflite"
        assert engine.complete("The", 8, adapter=adapter) == fresh("The", adapter)
        assert descriptors() <= before + SESSIONS_AN_ENGINE
    assert len(engine._kept) == KEPT_SESSIONS


def test_a_seed_draws_the_same_text_each_time_and_without_one_the_texts_differ(engine, folder):
    before = descriptors()
    assert len({engine.complete("The", 8, SEEDED, folder / "0.tflite") for _ in range(2 * SESSIONS_AN_ENGINE)}) == 1
    assert descriptors() <= before + SESSIONS_AN_ENGINE
    assert len({engine.complete("The", 8, replace(SEEDED, seed=None)) for _ in range(3)}) == 3


def test_a_prompt_that_fills_the_context_is_read_after_any_other(engine, folder, fresh):
    """Read again from where two prompts part, its last chunk would pass the end of the cache, and the engine refuses
    it.
    """
    adapter = folder / "0.tflite"
    context = 96
    words = "The lighthouse keeper wrote to the " * context
    longest = next(words[:end] for end in range(len(words), 0, -1) if len(engine.tokenize(words[:end])) <= context - 10)
    for length in range(1, 40, 3):
        engine.complete(longest[:length], 8, adapter=adapter)
        assert engine.complete(longest, 8, adapter=adapter) == fresh(longest, adapter)


def test_what_went_before_does_not_show(engine, folder, fresh):
    """A prompt that is refused, an answer that nobody reads to its end, and two answers at a time."""
    adapter = folder / "0.tflite"
    with pytest.raises(BundleError, match="refuses a prompt"):
        engine.complete("many words " * 100, 8, adapter=adapter)
    assert engine.complete("The", 8, adapter=adapter) == fresh("The", adapter)
    unread = engine.generate("The lighthouse", 60, adapter=adapter)
    next(unread)
    unread.close()
    assert engine.complete("The", 8, adapter=adapter) == fresh("The", adapter)
    pieces = list(zip(*(engine.generate(prompt, 8, adapter=adapter) for prompt in PROMPTS[:2])))
    for prompt, text in zip(PROMPTS, zip(*pieces)):
        assert fresh(prompt, adapter).startswith("".join(text))
    assert engine.complete("The", 8, adapter=adapter) == fresh("The", adapter)


def test_an_engine_is_closed_while_a_text_is_read(folder):
    with open_engine(folder / "tiny.litertlm") as engine:
        unread = engine.generate("The", 60, adapter=folder / "0.tflite")
        next(unread)
    unread.close()


def test_an_adapter_that_is_written_anew_is_loaded_anew(engine, folder, fresh, tmp_path):
    path = tmp_path / "adapter.tflite"
    for seed in (0, 1):
        write_random(folder, seed, path)
        assert engine.complete("The", 8, adapter=path) == fresh("The", folder / f"{seed}.tflite")
    path.unlink()
    with pytest.raises(BundleError, match="No such file"):
        engine.complete("The", 8, adapter=path)


def test_without_room_for_the_weight_cache_there_is_none(folder, fresh, tmp_path, monkeypatch):
    """The engine would end the whole process where the file cannot be written."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for blocks, written in ((1 << 30, True), (1, False)):
        monkeypatch.setattr("os.statvfs", lambda _: SimpleNamespace(f_bavail=blocks, f_frsize=4096))
        with open_engine(folder / "tiny.litertlm") as engine:
            assert engine.complete(PROMPTS[0], 8) == fresh(PROMPTS[0], None)
            assert any(path.suffix == ".xnnpack_cache" for path in tmp_path.rglob("*")) is written


def test_a_swap_leaves_nothing_that_a_text_could_begin_with(engine, folder, fresh):
    """A session that has read and not written takes its last token for computed, whatever follows."""
    for prompt in PROMPTS:
        for _ in range(26):
            engine.swap_seconds(folder / "0.tflite", 8)
            assert engine.complete(prompt, 8, adapter=folder / "0.tflite") == fresh(prompt, folder / "0.tflite")
