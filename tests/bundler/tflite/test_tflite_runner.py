"""The plan by which a prompt is cut into prefill chunks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundler.errors import BundleError
from bundler.tflite.runner import TFLiteGPT2, plan_prefill


@given(st.integers(0, 300), st.integers(0, 300), st.sets(st.integers(1, 300), min_size=1), st.integers(1, 300))
def test_chunks_cover_the_prompt_in_order_and_never_pass_the_end(length, start, lengths, context):
    plan = plan_prefill(length, start, lengths, context)
    position = start
    for chunk, used in plan:
        assert chunk in lengths and 0 < used <= chunk
        assert position + chunk <= context  # padding included: the cache would be overwritten from behind
        position += used
    left = length - (position - start)
    assert left >= 0
    if left:
        assert position + min(lengths) > context


@pytest.mark.parametrize(
    "length, expected", [(0, []), (5, [(8, 5)]), (8, [(8, 8)]), (40, [(32, 32), (8, 8)]), (33, [(32, 32), (8, 1)])]
)
def test_full_chunks_first_then_the_smallest_that_fits(length, expected):
    assert plan_prefill(length, 0, [8, 32], 96) == expected


def test_a_full_context_is_refused(tiny_tflite):
    model = TFLiteGPT2(tiny_tflite[0])
    model.prefill([1] * 96)
    with pytest.raises(BundleError, match="context is full: 96 tokens"):
        model.decode(1)


def test_a_cache_may_be_overwritten_if_nothing_changes(tiny_tflite):
    tokens = list(range(1, 90))
    model = TFLiteGPT2(tiny_tflite[0])
    expected = model.along(tokens)
    assert model.overwrite_cache(tokens[:20])
    assert (model.along(tokens) == expected).all()
    model.reset()
    model.prefill(tokens[:-1])
    np.testing.assert_allclose(model.decode(tokens[-1]), expected[-1], atol=1e-5)


def test_a_graph_that_reads_what_it_overwrites_is_left_alone(tiny_tflite):
    class Reading(TFLiteGPT2):
        def decode(self, token):
            return super().decode(token) + (self._next is self._cache)

    model = Reading(tiny_tflite[0])
    expected = model.along([1, 2, 3])
    assert not model.overwrite_cache([1, 2, 3])
    assert (model.along([1, 2, 3]) == expected).all()


def test_a_file_that_is_no_model_is_refused(tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(b"not a flatbuffer")
    with pytest.raises(BundleError, match="LiteRT refuses"):
        TFLiteGPT2(path)
