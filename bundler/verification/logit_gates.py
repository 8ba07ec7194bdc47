"""A bundle's logits against PyTorch's: after one prefill chunk, after several, at the last position of the context,
along a text.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Callable

import numpy as np

from bundler.checkpoints.checkpoint import Checkpoint
from bundler.containers.tokenizer import BundleTokenizer, Ids
from bundler.conversion.recipes import RECIPES
from bundler.errors import BundleError
from bundler.tflite.runner import TFLiteGPT2
from bundler.verification.divergence import Divergence, compare_rows, divergence
from bundler.verification.gate import Gate, run_gates
from bundler.verification.near_greedy import common_prefix
from bundler.verification.references import Reference
from bundler.verification.runtimes import Runtimes
from bundler.verification.text import verification_text

GREEDY_STEPS = 64
TEXT_TOKENS = 256
# The bar for fp32 against PyTorch: the same sums in another order.
MAX_LOGIT_DIFFERENCE = 1e-3


@dataclass(frozen=True)
class Pair:
    """A TFLite model beside PyTorch, and a text for both, at least a context long; `recipe` names the limits.

    The TFLite model reads the bundle's ids, PyTorch the reference's. Without a start token (`start` None) the text
    begins with its own first token.
    """

    model: TFLiteGPT2
    reference: Reference
    recipe: str
    ids: Ids
    start: int | None

    @property
    def steps(self) -> int:
        """How many greedy tokens are followed after a prompt."""
        return min(GREEDY_STEPS, self.model.context // 4)

    def prompt(self, length: int) -> Ids:
        """The first tokens of the text, after the start token."""
        first = [] if self.start is None else [self.start]
        return Ids([*first, *self.ids.reference[:length]], [*first, *self.ids.bundle[:length]])


def verification_pair(
    file: Path, checkpoint: Checkpoint, tokenizer: BundleTokenizer, recipe: str, runtimes: Runtimes = Runtimes()
) -> Pair:
    """The TFLite model in `file` beside its checkpoint, with the built-in text. Raises BundleError if it is another's.

    Where the bundle's tokenizer reads the text wrongly, which is for a gate of its own to say, both get the
    reference's ids.
    """
    model, reference = runtimes.model(file), Reference(checkpoint, tokenizer.vocabulary)
    if model.rows < tokenizer.vocabulary:
        raise BundleError(
            f"{file}: {model.rows} logits; expected one for each of the {tokenizer.vocabulary} tokens of the "
            "checkpoint's vocabulary. It was made from another model"
        )
    ids = tokenizer.encode(verification_text())
    if tokenizer.original(ids.bundle) != ids.reference:
        ids = Ids(ids.reference, ids.reference)
    return Pair(model, reference, recipe, ids.repeated(model.context), tokenizer.start)


def logit_gates(pair: Pair, step: Callable[[], None] = lambda: None) -> list[Gate]:
    """Run every gate of `GATES`, and call `step` after each."""
    return run_gates(GATES, pair, step)


def one_chunk_gate(pair: Pair) -> Gate:
    """Logits after a prompt of one prefill chunk."""
    room = pair.model.context - pair.steps - 1
    return _prompt_gate("prefill in one chunk", pair, min(max(pair.model.prefill_lengths), room), pair.steps)


def several_chunks_gate(pair: Pair) -> Gate:
    """Logits after a prompt of several chunks, of which the last is not full."""
    lengths, room = pair.model.prefill_lengths, pair.model.context - pair.steps - 1
    length = 2 * max(lengths) + min(lengths) // 2 + 1
    return _prompt_gate("prefill in several chunks", pair, min(length, room), pair.steps)


def last_position_gate(pair: Pair) -> Gate:
    """Logits where the cache is full but for one place."""
    return _prompt_gate("decode at the last position", pair, pair.model.context - (pair.start is not None), 1)


def distributions_gate(pair: Pair) -> Gate:
    """Distributions along the text."""
    return divergence_gate("distributions on a text", text_distance(pair), pair.recipe)


def text_distance(pair: Pair) -> Divergence:
    """How far the model's distributions are from PyTorch's along the first tokens of the text."""
    text = pair.prompt(min(TEXT_TOKENS, pair.model.context - 1))
    logits = pair.model.along(text.bundle)[:, : pair.reference.vocabulary]
    return divergence([compare_rows(pair.reference.logits(text.reference), logits, text.reference[1:])])


# In the order of the table.
GATES = (one_chunk_gate, several_chunks_gate, last_position_gate, distributions_gate)


def divergence_gate(name: str, figures: Divergence, recipe: str) -> Gate:
    """Are distributions along a text as close to PyTorch's as those of the recipe have to be?"""
    limit = RECIPES[recipe].mean_kl
    return Gate(name, figures.mean_kl <= limit, f"{figures}; mean KL divergence may be {limit:g}", figures.as_dict())


def _prompt_gate(name: str, pair: Pair, length: int, steps: int) -> Gate:
    """A prompt in chunks, then the model's own greedy tokens one by one; every row of logits against PyTorch's.

    `length`: of the prompt, without its start token. PyTorch reads the tokens at once: as long as each is the one it
    would have written, its rows are those of its own greedy text.
    """
    prompt, model, reference = pair.prompt(length), pair.model, pair.reference
    model.reset()
    model.prefill(prompt.bundle[:-1])
    rows, token = [], prompt.bundle[-1]
    for _ in range(steps):
        rows.append(model.decode(token))
        token = int(rows[-1][: reference.vocabulary].argmax())
    rows = np.stack(rows)
    logits = rows[:, : reference.vocabulary]
    written = logits.argmax(1).tolist()
    next_logits = reference.continuation(prompt.reference, lambda before: written[len(before) : -1])
    expected = np.stack([next_logits(written[:step]) for step in range(steps)])
    difference = float(np.abs(logits - expected).max())
    same = common_prefix(written, expected.argmax(1).tolist())
    passed = bool(np.isfinite(logits).all()) and int(rows.argmax(1).max()) < reference.vocabulary
    if RECIPES[pair.recipe].exact:
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
