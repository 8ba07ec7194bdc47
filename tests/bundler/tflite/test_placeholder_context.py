"""A context that is chosen at load: the placeholder, and what a file is with another length in its place."""

import numpy as np
import pytest
from tiny_gpt2 import VOCABULARY
from whole_model import convert

from bundler.conversion.convert import Signatures
from bundler.conversion.exported_weights import TokenRows
from bundler.errors import BundleError
from bundler.system.file_section import FileSection
from bundler.tflite.fixed_model import write_fixed
from bundler.tflite.model import open_model
from bundler.tflite.placeholder_context import is_placeholder, placeholder_above, set_context
from bundler.tflite.runner import TFLiteGPT2
from bundler.tflite.signatures import llm_shape

IDS = [399, *np.random.default_rng(0).integers(0, 399, 60).tolist()]


def is_prime(number):
    return number > 1 and all(number % n for n in range(2, number))


def test_the_placeholder_is_the_next_prime_that_divides_no_other_size():
    random = np.random.default_rng(0)
    for context in (2, 10, 12, 96, 100, 512, 1024, *random.integers(2, 3000, 40).tolist()):
        sizes = {context, *random.integers(1, 60_000, 8).tolist(), 97, 3 * 97, 4 * 1031, 521}
        chosen = placeholder_above(context, sizes)
        assert is_placeholder(chosen) and not any(size % chosen == 0 for size in sizes)
        passed = [number for number in range(max(11, context + 1), chosen) if is_prime(number)]
        assert is_prime(chosen) and all(any(size % number == 0 for size in sizes) for number in passed)


@pytest.fixture(scope="module")
def growing(tiny_tflite, tmp_path_factory):
    """The model of `tiny_tflite`, with a placeholder of 97 for its context of 96."""
    path = tmp_path_factory.mktemp("growing") / "growing.tflite"
    convert(tiny_tflite[2], TokenRows(VOCABULARY, (7, 9)), Signatures(96, (8, 32), placeholder=97), "fp32", path)
    return path


def test_a_file_set_to_a_length_is_the_one_converted_for_it(growing, tiny_tflite, tmp_path):
    set_context(growing, 96, tmp_path / "set.tflite", 97)
    assert (tmp_path / "set.tflite").read_bytes() == tiny_tflite[0].read_bytes()
    assert llm_shape(open_model(FileSection.whole(growing))).placeholder == 97
    write_fixed(FileSection.whole(growing), tmp_path / "fixed.tflite")
    assert (tmp_path / "fixed.tflite").read_bytes() == tiny_tflite[0].read_bytes()


@pytest.mark.parametrize("context", [32, 64, 65, 80, 96])
def test_the_length_of_the_cache_changes_no_logits(growing, tiny_tflite, tmp_path, context):
    set_context(growing, context, tmp_path / "set.tflite", 97)
    model, whole = TFLiteGPT2(tmp_path / "set.tflite"), TFLiteGPT2(tiny_tflite[0])
    assert model.context == context
    prompt = IDS[: min(context - 4, 61)]
    for runner in (model, whole):
        runner.prefill(prompt)
    for token in (5, 6, 7):
        assert np.abs(model.decode(token) - whole.decode(token)).max() < 1e-5


def test_a_context_is_at_most_the_positions(tiny_tflite, tmp_path):
    """A cache with a place more than there are positions."""
    signatures = Signatures(96, (8,), placeholder=101)
    convert(tiny_tflite[2], TokenRows(VOCABULARY), signatures, "fp32", tmp_path / "101.tflite")
    shape = llm_shape(open_model(FileSection.whole(tmp_path / "101.tflite")))
    assert (shape.cache, shape.positions, shape.context) == (101, 96, 96)
    runner = TFLiteGPT2(tmp_path / "101.tflite")
    assert runner.context == 96
    assert np.isfinite(runner.along(IDS[:3])).all()


def test_what_is_no_model_is_refused(tmp_path):
    (tmp_path / "a.tflite").write_bytes(b"\xff" * 64)
    with pytest.raises(BundleError, match="no readable TFLite model"):
        set_context(tmp_path / "a.tflite", 96, tmp_path / "b.tflite", 97)
    assert not (tmp_path / "b.tflite").exists()
