"""What MediaPipe's own engine makes of a .task, held against PyTorch and the reference tokenizer."""

from __future__ import annotations

import re
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Callable

from bundler.containers.task import read_task
from bundler.engines.mediapipe import EngineRefusal, MediaPipeEngine, open_mediapipe
from bundler.errors import BundleError
from bundler.verification.engine_gates import (
    FEW,
    Expected,
    Trial,
    compare_texts,
    completions,
    edge_gate,
    start_gate,
    stop_gate,
    text_gate,
)
from bundler.verification.gate import Gate, run_gates
from bundler.verification.text import verification_text
from tokenizer_tools.vocabulary import bytes_to_symbols

# Where tokenizers go wrong: white space of every kind, contractions, digits, code, scripts, and characters of many
# bytes.
AWKWARD_PROMPTS = (
    "One paragraph ends.\n\nThe next begins",
    "line\nline\n\n\nline",
    "Windows\r\nline\r\n",
    "a tab\tand\t\ttwo",
    "  two spaces lead",
    "trailing space ",
    "trailing spaces   ",
    "a  b   c    d",
    "\n",
    "\n\n",
    " ",
    "\t",
    "\u3000全角\u3000空白",
    "no\xa0break\u202fspace",
    "def f(x):\n    if x:\n        return 1\n",
    "for i in range(10):\n\tprint(i)",
    '{\n  "a": [1, 2],\n  "b": null\n}',
    '<p class="x">&amp;</p>',
    "x = {'a': 1}  # why",
    "I'm, you're, he'd, she'll, we've, it's, can't",
    "I’m, you’re, it’s",
    "'s 't 're 'S 'T",
    "''' \"\"\" ```",
    "3.14159 1,000,000 2026-01-31",
    "12345678901234567890",
    "²½①Ⅷ٣४",
    "🌊 wave",
    "👩‍🚀👍🏽🇪🇺",
    "😀😀😀 !?!?",
    "naïve café Zoë São",
    "é precomposed, é not",
    "Ветер стих к вечеру.",
    "Ο άνεμος κόπασε.",
    "灯台守は毎朝六時に",
    "灯塔的门是蓝色的。",
    "바람이 잦아들었다",
    "وصلت السفينة مساءً",
    "דלת כחולה",
    "दरवाज़ा नीला है।",
    "มนุษย์ทั้งปวง",
    "▁lower▁one▁eighth Ġ Ċ",
    "<s></s><unk><pad><0x0A>",
    "<|endoftext|",
    "\x01\x7f\x85",
    "\ufeff\u200b\u200d\u2028x",
    "ﬁ ﬂ ℌ Å ſ",
    "—–‑…„“”«»",
    "ALLCAPS camelCase snake_case kebab-case",
    "https://a.b/c?d=e&f=%20#g",
    "a" * 40,
    "!" * 20,
)


def mediapipe_gates(path: Path, expected: Expected, step: Callable[[], None] = lambda: None) -> list[Gate]:
    """Open the .task at `path` in MediaPipe's engine, and run every gate of `GATES`; `step` is called after each.

    A file that the engine refuses fails the one gate that is then returned. Raises BundleError when a tool is
    missing (see engines/mediapipe.py, missing_tools) or the browser fails.
    """
    name = "MediaPipe, .task"
    with ExitStack() as opened:
        try:
            engine = opened.enter_context(open_mediapipe(path, max_tokens=expected.context))
        except EngineRefusal as error:
            return [Gate(f"{name}: loads, on the GPU", False, str(error))]

        def complete_in(copy: Path, prompt: str, count: int) -> str:
            opened.close()
            with open_mediapipe(copy, max_tokens=expected.context) as engine:
                return engine.complete(prompt, count)

        trial = Trial(name, path, expected, engine, completions(engine.complete, expected), complete_in)
        return run_gates(GATES, trial, step)


def _joined(expected: Expected) -> list[str]:
    """The awkward prompts, several in one: on the software GPU a prompt of one token takes as long as one of
    hundreds.
    """
    joined = [AWKWARD_PROMPTS[0]]
    for prompt in (*AWKWARD_PROMPTS[1:], *expected.tokenizer.typed):
        longer = f"{joined[-1]}\n{prompt}"
        if len(expected.tokenizer.encode(longer).bundle) <= expected.context // 4:
            joined[-1] = longer
        else:
            joined.append(prompt)
    return joined


def gpu_gate(trial: Trial) -> Gate:
    """Does every operation run on the GPU?"""
    engine, placement = trial.engine, trial.engine.placement
    where = (
        "every operation runs on the GPU"
        if placement.all_on_gpu
        else f"on the CPU: {'; '.join(placement.on_cpu)}"
        if placement.on_cpu
        else "no signature runs on the GPU"
    )
    return Gate(
        f"{trial.name}: loads, on the GPU",
        placement.all_on_gpu,
        where,
        {
            "signatures_on_gpu": placement.on_gpu,
            "on_cpu": list(placement.on_cpu),
            "gpu": engine.gpu["name"],
            "browser": engine.browser,
        },
        {"loading": engine.load_seconds},
    )


def count_gate(trial: Trial) -> Gate:
    """sizeInTokens counts as the reference does; and as many tokens are read, with the start token.

    sizeInTokens does not apply the byte mapping of the metadata, so there it is given text that is mapped already.
    """
    engine, tokenizer = trial.engine, trial.expected.tokenizer
    byte_mapped = read_task(trial.bundle).parameters().bytes_to_unicode
    texts = [*AWKWARD_PROMPTS, *filter(None, verification_text().splitlines()), *tokenizer.typed]
    wrong, tokens = [], 0
    for text in texts:
        reference = len(tokenizer.encode(text).reference)
        counted = engine.size_in_tokens(bytes_to_symbols(text.encode()) if byte_mapped else text)
        tokens += reference
        if counted != reference:
            wrong.append((text, counted, reference))
    sentence = f"{len(wrong)} of {len(texts)} texts counted unlike the reference tokenizer"
    if wrong:
        text, counted, reference = wrong[0]
        sentence += f"; first: {text!r}, {counted} tokens for {reference}"
    long = verification_text() * (trial.expected.context // 500 + 1)
    should, read = len(tokenizer.prompt(long)), _tokens_read(engine, long)
    sentence += (
        "; reads as many and the start token"
        if read == should
        else f"; of a text of {should} tokens with its start token it reads {read}"
    )
    return Gate(
        f"{trial.name}: token counts",
        not wrong and read == should,
        sentence,
        {"texts": len(texts), "tokens": tokens, "mismatched_texts": len(wrong)},
    )


def _tokens_read(engine: MediaPipeEngine, text: str) -> int | None:
    """How many tokens the engine read, start token included; it says so only of a prompt that is too long for it."""
    try:
        engine.complete(text, 1)
    except BundleError as error:
        count = re.search(r"prompt is (\d+) tokens", str(error))
        return int(count[1]) if count else None
    return None


def awkward_gate(trial: Trial) -> Gate:
    """Are a few tokens after prompts that tokenizers stumble over the reference's?"""
    few = replace(trial.expected, longest=FEW)
    return compare_texts(f"{trial.name}: awkward prompts", completions(trial.engine.complete, few, _joined(few)), few)


# In the order of the table. `stop_gate` closes the engine, so it is the last.
GATES = (gpu_gate, count_gate, text_gate, awkward_gate, edge_gate, start_gate, stop_gate)
