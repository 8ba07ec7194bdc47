"""A .litertlm whose cache has the length that is asked for at load: LiteRT-LM's text is PyTorch's at every length."""

import pytest

from bundler.checkpoints.checkpoint import open_checkpoint
from bundler.containers.bundle import open_bundle
from bundler.engines.litertlm import CacheLength, open_engine
from bundler.errors import OptionError
from bundler.pipeline.build import build
from bundler.pipeline.plan import BuildOptions
from bundler.tflite.model import open_model
from bundler.tflite.signatures import llm_shape
from bundler.verification.references import Reference
from bundler.verification.text import verification_text
from tokenizer_tools.vocabulary import reference_tokenizer
from tokenizer_tools.vocabulary_files import read_vocabulary

CONTEXT, STEP = 96, 8


@pytest.fixture(scope="module")
def folder(tiny_checkpoint, tmp_path_factory):
    output = tmp_path_factory.mktemp("growing") / "tiny"
    build(BuildOptions(str(tiny_checkpoint), output, recipe="fp32", prefill=(STEP, 24), verify=False))
    return output


@pytest.fixture(scope="module")
def expected(tiny_checkpoint):
    """expected(prompt, count): PyTorch's greedy text after the start token and a prompt of so many tokens, cut from a
    text; the prompt; how many tokens it is."""
    vocabulary = read_vocabulary(tiny_checkpoint)
    tokenizer, reference = reference_tokenizer(vocabulary), Reference(open_checkpoint(tiny_checkpoint), len(vocabulary))
    ids = tokenizer.encode(verification_text()).ids

    def text(length, count):
        begin = next(n for n in range(200) if encoded(ids[n : n + length]) == ids[n : n + length])
        prompt = ids[begin : begin + length]
        written = reference.greedy([vocabulary.eos, *prompt], count, {vocabulary.eos})
        return tokenizer.decode(prompt), tokenizer.decode(written)

    def encoded(some):
        return tokenizer.encode(tokenizer.decode(some)).ids

    return text


def test_the_file_has_a_placeholder_and_the_task_has_none(folder):
    shapes = {
        suffix: llm_shape(open_model(open_bundle(folder / f"tiny.{suffix}").model)) for suffix in ("task", "litertlm")
    }
    assert (shapes["litertlm"].cache, shapes["litertlm"].context, shapes["litertlm"].placeholder) == (97, CONTEXT, 97)
    assert (shapes["task"].cache, shapes["task"].placeholder) == (CONTEXT, None)


@pytest.mark.parametrize("tokens", [*range(2 * STEP, CONTEXT + 1, STEP), 30, 65, 95])
def test_the_text_is_pytorchs_at_every_length_up_to_its_end(folder, expected, tokens):
    with open_engine(folder / "tiny.litertlm", max_tokens=tokens) as engine:
        for length in (3, tokens // STEP * STEP - 3):
            prompt, text = expected(length, tokens - length - 1)
            assert engine.complete(prompt, tokens - length - 1) == text
            assert engine.complete(prompt, tokens - length - 1) == text  # a second session


def test_the_cache_grows_with_the_texts_and_no_text_shows_it(folder, expected):
    lengths = []
    with open_engine(folder / "tiny.litertlm", first=1) as engine:
        for length in (3, 3, 20, 9, 50, 70, 90, 3):
            prompt, text = expected(length, 5)
            assert engine.complete(prompt, 5) == text
            lengths.append(engine.cache.tokens)
    assert lengths == [16, 16, 32, 32, 56, 88, 96, 96]


def test_a_text_that_is_still_read_goes_on_when_the_cache_grows(folder, expected):
    (short, long) = (expected(3, 20), expected(60, 20))
    with open_engine(folder / "tiny.litertlm", first=24) as engine:
        pieces = [engine.generate(prompt, 20) for prompt, _ in (short, long)]
        assert ["".join(text) for text in zip(*zip(*pieces))] != []
        texts = [engine.complete(prompt, 20) for prompt, _ in (short, long)]
    assert texts == [short[1], long[1]]


def test_a_context_beyond_the_positions_is_refused(folder):
    for name in ("tiny.litertlm", "tiny.task"):
        with (
            pytest.raises(OptionError, match="`context` 97: .* has room for 96 tokens"),
            open_engine(folder / name, 97),
        ):
            pass


def test_a_static_cache_is_one_that_does_not_grow(tiny_checkpoint, tmp_path, expected):
    build(BuildOptions(str(tiny_checkpoint), tmp_path / "tiny", recipe="fp32", cache="static", verify=False))
    with open_engine(tmp_path / "tiny" / "tiny.litertlm") as engine:
        assert not engine.cache.grows
        prompt, text = expected(50, 40)
        assert engine.complete(prompt, 40) == text
    models = [open_bundle(tmp_path / "tiny" / f"tiny.{suffix}").model.read() for suffix in ("task", "litertlm")]
    assert models[0] == models[1]
    with pytest.raises(OptionError, match="`cache` 'short'"):
        build(BuildOptions(str(tiny_checkpoint), tmp_path / "other", cache="short"))


def test_a_cache_grows_by_a_half_at_least_and_up_to_its_most():
    cache = CacheLength(64, 1000, 8)
    assert [cache.holding(tokens).tokens for tokens in (1, 64, 65, 96, 97, 999, 5000)] == [
        64,
        64,
        96,
        96,
        104,
        1000,
        1000,
    ]
    assert not CacheLength(None).grows and not CacheLength(64).grows and not cache.holding(1000).grows
