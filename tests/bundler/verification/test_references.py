"""PyTorch's greedy text: with a draft, and a guess, it is the same as step by step."""

import numpy as np
import pytest
from tiny_gpt2 import VOCABULARY

from bundler.tflite.runner import TFLiteGPT2
from bundler.verification.references import Reference

PROMPT = [399, *np.random.default_rng(5).integers(0, 399, 20).tolist()]


class Draft:
    """Writes the right tokens, but each one only with some probability."""

    context = 96

    def __init__(self, right, chance):
        self.right, self.chance = right, chance
        self.random, self.asked = np.random.default_rng(0), 0

    def greedy(self, ids, count):
        self.asked += 1
        begin = len(ids) - len(PROMPT)
        guess = [token if self.random.random() < self.chance else 7 for token in self.right[begin:]]
        return guess[:count]


@pytest.fixture(scope="module")
def greedy(tiny_tflite):
    """The 40 tokens, from the whole model without a cache."""
    import torch

    model, ids = tiny_tflite[2].reference_model(), list(PROMPT)
    for _ in range(40):
        ids.append(int(model(torch.tensor([ids])).logits[0, -1, :VOCABULARY].argmax()))
    return ids[len(PROMPT) :]


@pytest.mark.parametrize("chance, calls", [(1.0, 3), (0.8, 30), (0.0, 40)])
def test_a_draft_changes_nothing_but_the_number_of_calls(tiny_tflite, greedy, chance, calls):
    draft = Draft(greedy, chance)
    assert Reference(tiny_tflite[2], VOCABULARY, draft).greedy(PROMPT, 40) == greedy
    assert draft.asked <= calls


def test_the_converted_model_as_a_draft(tiny_tflite, greedy):
    reference = Reference(tiny_tflite[2], VOCABULARY, TFLiteGPT2(tiny_tflite[0]))
    assert reference.greedy(PROMPT, 40) == greedy
    assert reference.greedy(PROMPT, 40, stop=frozenset(greedy[10:11])) == greedy[: greedy.index(greedy[10])]
    assert reference.greedy([399, *range(94)], 1) == Reference(tiny_tflite[2], VOCABULARY).greedy([399, *range(94)], 1)


@pytest.mark.parametrize("guess", [[], [1, 2, 3], [*range(30)]])
def test_logits_are_those_of_the_text_whatever_is_guessed(tiny_tflite, greedy, guess):
    reference = Reference(tiny_tflite[2], VOCABULARY)
    next_logits = reference.continuation(PROMPT, lambda written: guess)
    for written in ([], greedy[:1], greedy[:5], [], greedy[:3], [1, 2], greedy[:5]):
        expected = reference.logits([*PROMPT, *written])[-1]
        assert np.abs(next_logits(written) - expected).max() < 1e-4
