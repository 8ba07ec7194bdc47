"""A bundle's logits against PyTorch's: after one prefill chunk, after several, at the last position of the context,
along a text.
"""

from __future__ import annotations

import numpy as np

from bundler.containers.tokenizer import Ids
from bundler.conversion.recipes import RECIPES, Recipe
from bundler.tflite.runner import TFLiteGPT2
from bundler.verification.divergence import Divergence, compare_rows, divergence
from bundler.verification.gate import Gate
from bundler.verification.near_greedy import common_prefix
from bundler.verification.reference import Reference

GREEDY_STEPS = 64
TEXT_TOKENS = 256
# The bar for fp32 against PyTorch: the same sums in another order.
MAX_LOGIT_DIFFERENCE = 1e-3


def logit_gates(model: TFLiteGPT2, reference: Reference, recipe: str, ids: Ids, start: int | None) -> list[Gate]:
    """Logits after one prefill chunk, after several, each along `GREEDY_STEPS` decode steps; at the last position; and
    on a text.

    `ids` must be at least a context long. The TFLite model reads the bundle's ids, PyTorch the reference's. Without a
    start token (`start` None) the text begins with its own first token.
    """
    limits = RECIPES[recipe]
    first = [] if start is None else [start]
    steps = min(GREEDY_STEPS, model.context // 4)
    longest = max(model.prefill_lengths)
    room = model.context - steps - 1
    prompts = [
        ("prefill in one chunk", min(longest, room), steps),
        ("prefill in several chunks", min(2 * longest + min(model.prefill_lengths) // 2 + 1, room), steps),
        ("decode at the last position", model.context - len(first), 1),
    ]
    cut = lambda length: Ids([*first, *ids.reference[:length]], [*first, *ids.bundle[:length]])  # noqa: E731
    gates = [_prompt_gate(model, reference, limits, name, cut(length), count) for name, length, count in prompts]
    text = cut(min(TEXT_TOKENS, model.context - 1))
    rows = compare_rows(
        reference.logits(text.reference), model.along(text.bundle)[:, : reference.vocabulary], text.reference[1:]
    )
    return [*gates, divergence_gate("distributions on a text", divergence([rows]), recipe)]


def divergence_gate(name: str, figures: Divergence, recipe: str) -> Gate:
    """Are distributions along a text as close to PyTorch's as those of the recipe have to be?"""
    limit = RECIPES[recipe].mean_kl
    return Gate(name, figures.mean_kl <= limit, f"{figures}; mean KL divergence may be {limit:g}", figures.as_dict())


def _prompt_gate(model: TFLiteGPT2, reference: Reference, limits: Recipe, name: str, prompt: Ids, steps: int) -> Gate:
    """`prompt` in chunks, then PyTorch's greedy tokens one by one; every row of logits against PyTorch's."""
    greedy = reference.greedy(prompt.reference, steps)
    expected = reference.logits([*prompt.reference, *greedy[:-1]])[len(prompt.reference) - 1 :]
    model.reset()
    model.prefill(prompt.bundle[:-1])
    rows = np.stack([model.decode(token) for token in [prompt.bundle[-1], *greedy[:-1]]])
    found = rows[:, : reference.vocabulary]
    difference = float(np.abs(found - expected).max())
    # As long as it would have written the same token itself, the next step is what it would have done alone.
    same = common_prefix(rows.argmax(1).tolist(), greedy)
    passed = bool(np.isfinite(found).all()) and int(rows.argmax(1).max()) < reference.vocabulary
    if limits.exact:
        passed = passed and difference <= MAX_LOGIT_DIFFERENCE and same == steps
    return Gate(
        f"{name}, {steps} decode step{'s' if steps > 1 else ''}",
        passed,
        f"largest logit difference {difference:.1e}; first {same} of {steps} greedy tokens are PyTorch's",
        {
            "prompt_tokens": len(prompt.bundle),
            "max_logit_difference": difference,
            "greedy_tokens_equal": same,
            "greedy_tokens": steps,
        },
    )
