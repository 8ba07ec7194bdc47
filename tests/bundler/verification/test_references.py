"""PyTorch's greedy text and logits: many tokens in a call, the same as one by one."""

import numpy as np
import pytest
from tiny_gpt2 import VOCABULARY

from bundler.verification.references import Reference

PROMPT = [399, *np.random.default_rng(5).integers(0, 399, 20).tolist()]


@pytest.fixture(scope="module")
def greedy(tiny_tflite):
    """The 40 tokens, from the whole model without a cache."""
    import torch

    model, ids = tiny_tflite[2].reference_model(), list(PROMPT)
    for _ in range(40):
        ids.append(int(model(torch.tensor([ids])).logits[0, -1, :VOCABULARY].argmax()))
    return ids[len(PROMPT) :]


def test_greedy_is_the_whole_models_text(tiny_tflite, greedy):
    reference = Reference(tiny_tflite[2], VOCABULARY)
    assert reference.greedy(PROMPT, 40) == greedy
    assert reference.greedy(PROMPT, 40, stop=frozenset(greedy[10:11])) == greedy[: greedy.index(greedy[10])]


def test_a_text_that_is_guessed_is_read_in_one_call(tiny_tflite, greedy):
    reference, calls = Reference(tiny_tflite[2], VOCABULARY), []
    reference.model.register_forward_hook(lambda *arguments: calls.append(1))
    next_logits = reference.continuation(PROMPT, lambda written: greedy[len(written) :])
    assert [int(next_logits(greedy[:step]).argmax()) for step in range(40)] == greedy
    assert len(calls) == 1


def test_a_long_prompt_is_read_in_chunks(tiny_tflite, greedy, monkeypatch):
    monkeypatch.setattr("bundler.verification.references.CHUNK", 8)
    reference, lengths = Reference(tiny_tflite[2], VOCABULARY), []
    reference.model.transformer.h[0].register_forward_pre_hook(lambda _, inputs: lengths.append(inputs[0].shape[1]))
    next_logits = reference.continuation(PROMPT, lambda written: greedy[len(written) : 12])
    found = np.stack([next_logits(greedy[:step]) for step in range(13)])
    assert lengths == [8, 8, 17]  # the last with all that logits are wanted of
    expected = Reference(tiny_tflite[2], VOCABULARY).logits([*PROMPT, *greedy[:12]])[len(PROMPT) - 1 :]
    assert np.abs(found - expected).max() < 1e-4


@pytest.mark.parametrize("guess", [[], [1, 2, 3], [*range(30)]])
def test_logits_are_those_of_the_text_whatever_is_guessed(tiny_tflite, greedy, guess):
    reference = Reference(tiny_tflite[2], VOCABULARY)
    next_logits = reference.continuation(PROMPT, lambda written: guess)
    for written in ([], greedy[:1], greedy[:5], [], greedy[:3], [1, 2], greedy[:5]):
        expected = reference.logits([*PROMPT, *written])[-1]
        assert np.abs(next_logits(written) - expected).max() < 1e-4
