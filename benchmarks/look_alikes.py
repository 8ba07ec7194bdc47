"""Checkpoints as people have them: each is built and writes transformers' text in both engines, or is refused by name.

    python benchmarks/look_alikes.py [--case TEXT] [--mediapipe] [--work DIR] [--json]

The reference is transformers alone: AutoTokenizer and GPT2LMHeadModel read the folder, and greedy text is compared
after prompts in many scripts, with special tokens typed in them, and of lengths around every chunk of prefill up to the
last position. LiteRT-LM runs the fp32 build, .task and .litertlm; MediaPipe's web engine (--mediapipe), which takes no
fp32, the int8 build of weights that int8 holds without loss. The table goes to stdout, progress to stderr; exit code 3
if one build writes other text, or ends in a traceback.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable

os.environ["TOKENIZERS_PARALLELISM"] = "false"
REPOSITORY = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tests")]

import torch  # noqa: E402
from eight_bit_gpt2 import eight_bit_model  # noqa: E402
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel, GPT2TokenizerFast  # noqa: E402
from transformers.utils import logging  # noqa: E402

from bundler.engines.litertlm import open_engine  # noqa: E402
from bundler.engines.mediapipe import open_mediapipe  # noqa: E402
from gpt2_training.vocabulary import save_vocabulary, train_vocabulary  # noqa: E402

SIZE, END, ROWS = 600, 599, 640  # tokens of the vocabulary, the id of <|endoftext|>, rows of the embedding
START = "<|endoftext|>"
CHAT = {"<|im_start|>": 600, "<|im_end|>": 601}
TEXT = "".join(
    (REPOSITORY / name).read_text(encoding="utf-8")
    for name in ("README.md", "docs/TOKENIZER.md", "tokenizer_tools/keys.py")
)
# So that each is a token, and a space with an apostrophe, as in GPT-2's vocabulary.
CONTRACTIONS = "I'm, you're, he'd, she'll, we've, it's, can't 'a' '1' '.'\n" * 200
PROMPTS = (
    "The",
    "We're here, aren't we?\n\n\tIt's 6 o'clock",
    " begins with a space",
    "naïve café – größe 東京 🌊",
    "  two  spaces  \n\n",
    "def f(x):\n    return x",
)
TYPED = ("<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n", "a <|endoftext|>b", "<|endoftext|>")
TOKENS = 8


def token(content: str, special: bool = False) -> dict[str, Any]:
    return {
        "content": content,
        "lstrip": False,
        "normalized": not special,
        "rstrip": False,
        "single_word": False,
        "special": special,
    }


@dataclass(frozen=True)
class LookAlike:
    """A folder: the tokenizer's files as `saves` writes them, then `files` (name -> JSON, merged into what is there, or
    a function that changes it).

    `refused`: words of the sentence it must be refused with; None where it must be built. `text`: what its vocabulary
    is trained on.
    """

    saves: str = "slow"
    files: dict[str, Any] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    context: int = 128
    refused: str | None = None
    config: dict[str, Any] = field(default_factory=dict)
    text: str = f"{TEXT}{CONTRACTIONS}"


def added(*tokens: dict[str, Any]) -> Callable[[dict], None]:
    def change(document: dict) -> None:
        document["added_tokens"] += [{"id": SIZE + number, **entry} for number, entry in enumerate(tokens)]

    return change


CHAT_SLOW = {"added_tokens": CHAT, "special_tokens_map": {"eos_token": "<|im_end|>"}}
PREFIX_SPACE = {"tokenizer_config": {"add_prefix_space": True}}
LOOK_ALIKES = {
    "transformers 4, slow": LookAlike(),
    "transformers 5": LookAlike("five"),
    "transformers 4, fast": LookAlike("fast"),
    "both forms": LookAlike("both"),
    "chat, slow": LookAlike(files=CHAT_SLOW, config={"eos_token_id": 601}),
    "chat, tokens typed stay text": LookAlike(
        files=CHAT_SLOW, config={"eos_token_id": 601}, options=("--no-parse-special",)
    ),
    "chat, fast": LookAlike(
        "fast",
        {"tokenizer": added(token("<|im_start|>", True), token("<|im_end|>", True))},
        config={"eos_token_id": 601},
    ),
    "several eos": LookAlike(files=CHAT_SLOW, config={"eos_token_id": [601, 599, 10]}),
    "added words": LookAlike("fast", {"tokenizer": added(token("café"), token("self."), token("    "))}),
    "an end among the padding rows": LookAlike(
        config={"eos_token_id": 620}, refused="eos_token_id is 620, but the vocabulary has 600"
    ),
    "an end that is half a character": LookAlike(
        config={"eos_token_id": 150}, refused="eos_token_id is 150, the bytes"
    ),
    "an added id with a gap": LookAlike(files={"added_tokens": {"<|im_end|>": 610}}, refused="'<|im_end|>' has id 610"),
    "prefix space in tokenizer_config.json": LookAlike(files=PREFIX_SPACE),
    "prefix space in both": LookAlike("both", PREFIX_SPACE),
    "prefix space, no token for a contraction": LookAlike(
        files=PREFIX_SPACE, text=TEXT.replace("'", "’"), refused="add_prefix_space"
    ),
    "prefix space in tokenizer.json, ignored": LookAlike(
        "fast", {"tokenizer": lambda document: document["pre_tokenizer"].update(add_prefix_space=True)}
    ),
    "prefix space in any fast tokenizer": LookAlike(
        "fast",
        {
            "tokenizer": lambda document: document["pre_tokenizer"].update(add_prefix_space=True),
            "tokenizer_config": {"tokenizer_class": "PreTrainedTokenizerFast"},
        },
    ),
    "a start token of the tokenizer's": LookAlike(files={"tokenizer_config": {"add_bos_token": True}}),
    "truncation and padding left over": LookAlike(
        "fast",
        {
            "tokenizer": lambda document: document.update(
                truncation={"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0}
            )
        },
    ),
    "context 100": LookAlike(context=100),
    "context 1000": LookAlike(context=1000),
    "context 1023": LookAlike(context=1023),
    "context 2000": LookAlike(context=2000),
    "context 100, prefill 30": LookAlike(context=100, options=("--prefill", "30"), refused="30"),
    "context 97": LookAlike(context=97, options=("--context", "97", "--prefill", "97"), refused="97"),
}


def write(folder: Path, look_alike: LookAlike) -> None:
    """The folder of a look-alike: random weights that int8 holds without loss, and its tokenizer's files."""
    folder.mkdir(parents=True)
    save_vocabulary(train_vocabulary([look_alike.text], SIZE), folder)
    if look_alike.saves in ("fast", "both", "five"):
        GPT2TokenizerFast.from_pretrained(folder).save_pretrained(folder / "saved")
        for path in [*(folder / "saved").iterdir()]:
            if look_alike.saves == "five" or path.name == "tokenizer.json":
                path.rename(folder / path.name)
    if look_alike.saves in ("fast", "five"):
        (folder / "vocab.json").unlink()
        (folder / "merges.txt").unlink()
    elif look_alike.saves == "slow":
        (folder / "tokenizer.json").unlink(missing_ok=True)
    ends = {"bos_token_id": END, "eos_token_id": END, **look_alike.config}
    config = GPT2Config(vocab_size=ROWS, n_positions=look_alike.context, n_embd=64, n_layer=2, n_head=4, **ends)
    model = eight_bit_model(config)
    model.generation_config.eos_token_id = ends["eos_token_id"]
    model.save_pretrained(folder)
    for name, change in look_alike.files.items():
        path = folder / f"{name}.json"
        document = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        change(document) if callable(change) else document.update(change)
        path.write_text(json.dumps(document), encoding="utf-8")


class Transformers:
    """What transformers makes of the folder, and nothing of ours."""

    def __init__(self, folder: Path, parse_special: bool) -> None:
        self.reads_start = False
        self.model = GPT2LMHeadModel.from_pretrained(folder).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self.split = not parse_special
        ends = self.model.generation_config.eos_token_id
        self.ends = set(ends if isinstance(ends, list) else [ends])

    def ids(self, prompt: str) -> list[int]:
        ids = self.tokenizer(prompt, split_special_tokens=self.split).input_ids
        if self.split and self.reads_start and prompt.startswith(START):
            ids = [END, *self.tokenizer(prompt.removeprefix(START), split_special_tokens=True).input_ids]
        start = self.tokenizer(" x").input_ids[0] == END  # a start token that the tokenizer puts there itself
        return ids if start else [END, *ids]

    @torch.inference_mode()
    def text(self, prompt: str, count: int) -> str:
        ids, written = torch.tensor([self.ids(prompt)]), []
        while len(written) < count and ids.shape[1] <= self.model.config.n_positions:
            logits = self.model(ids).logits[0, -1]
            logits[len(self.tokenizer) :] = -torch.inf  # padding rows have no text
            best = int(logits.argmax())
            if best in self.ends:
                break
            written.append(best)
            ids = torch.cat([ids, torch.tensor([[best]])], 1)
        return self.tokenizer.decode(written, skip_special_tokens=False)


def prompts_for(reference: Transformers, context: int, prefill: list[int]) -> dict[str, int]:
    """Prompt -> tokens to write: every kind of text, and lengths around the chunks' borders and the end of the
    context.
    """
    prompts = {prompt: TOKENS for prompt in (*PROMPTS, *TYPED)}
    ids = reference.ids(TEXT)[1:]
    borders = {
        length + more
        for length in (*prefill, context // 2, context - max(prefill), context - min(prefill))
        for more in (-1, 0, 1, 2)
    }
    for length in sorted({*borders, context - 2, context - 1}):
        for begin in range(40):
            text = reference.tokenizer.decode(ids[begin : begin + length - 1])
            if 1 < length < context and len(reference.ids(text)) == length:
                prompts[text] = min(TOKENS, context - length)
                break
    return prompts


def compare(path: Path, reference: Transformers, prompts: dict[str, int], mediapipe: bool) -> list[str]:
    """What is wrong with an engine's text, a line each."""
    wrong = []
    # LiteRT-LM takes the start token's text at the beginning of a prompt for that token; see docs/TOKENIZER.md.
    reference.reads_start = not mediapipe
    with open_mediapipe(path) if mediapipe else open_engine(path) as engine:
        for prompt, count in prompts.items():
            text, expected = engine.complete(prompt, count), reference.text(prompt, count)
            if text != expected:
                wrong.append(
                    f"{path.name}: after {len(reference.ids(prompt))} ids, {prompt[-30:]!r}: {text!r}, expected "
                    f"{expected!r}"
                )
    return wrong


def try_one(look_alike: LookAlike, work: Path, mediapipe: bool) -> tuple[str, list[str], int]:
    """The outcome, what is wrong, and the number of texts compared."""
    folder = work / "model"
    write(folder, look_alike)
    recipes = ("fp32", "int8") if mediapipe and look_alike.refused is None else ("fp32",)
    wrong, texts = [], 0
    for recipe in recipes:
        output = work / recipe
        command = [
            sys.executable,
            "-m",
            "bundler",
            "build",
            str(folder),
            "-o",
            str(output),
            "--quant",
            recipe,
            *look_alike.options,
        ]
        done = subprocess.run(
            command, cwd=work, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, capture_output=True, text=True
        )
        if "Traceback" in done.stderr:
            return "traceback", [done.stderr[-500:]], texts
        if done.returncode:
            sentence = " ".join(done.stderr.strip().splitlines()[-1:])
            expected = look_alike.refused is not None and re.search(re.escape(look_alike.refused), done.stderr)
            return f"refused: {sentence}", [] if expected else [f"refused with {done.returncode}: {sentence}"], texts
        if look_alike.refused is not None:
            return "built", [f"built; expected a refusal that says {look_alike.refused!r}"], texts
        reference = Transformers(folder, "--no-parse-special" not in look_alike.options)
        manifest = json.loads((output / "manifest.json").read_text())
        prompts = prompts_for(reference, manifest["context"], manifest["prefill"])
        names = [path for path in sorted(output.iterdir()) if path.suffix in (".task", ".litertlm")]
        for path in names if recipe == "fp32" else [path for path in names if path.suffix == ".task"]:
            wrong += compare(path, reference, prompts, recipe == "int8")
            texts += len(prompts)
    return "built", wrong, texts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", default="", help="only the look-alikes whose names have this in them")
    parser.add_argument("--mediapipe", action="store_true", help="MediaPipe's web engine too (a browser, minutes)")
    parser.add_argument("--work", type=Path, help="an empty folder to keep [a temporary one]")
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    options = parser.parse_args()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    chosen = {name: look_alike for name, look_alike in LOOK_ALIKES.items() if options.case in name}
    results, started = {}, time.monotonic()
    with tempfile.TemporaryDirectory() if options.work is None else nullcontext(options.work) as work:
        for number, (name, look_alike) in enumerate(chosen.items()):
            spent = time.monotonic() - started
            print(
                f"{number} of {len(chosen)}, {spent:.0f} s"
                + (f", about {spent / number * (len(chosen) - number):.0f} s left" if number else "")
                + f": {name}",
                file=sys.stderr,
            )
            results[name] = try_one(look_alike, Path(work) / str(number), options.mediapipe)
    unnoticed = sum(bool(wrong) for _, wrong, _ in results.values())
    if options.json:
        print(
            json.dumps(
                {name: dict(zip(("outcome", "wrong", "texts"), result)) for name, result in results.items()}, indent=1
            )
        )
    else:
        for name, (outcome, wrong, texts) in results.items():
            print(
                f"{name}: "
                f"{outcome}{f', {texts} texts' if texts else ''}{''.join(f'{chr(10)}  WRONG {line}' for line in wrong)}"
            )
        print(f"{len(results)} look-alikes, {sum(texts for _, _, texts in results.values())} texts; wrong: {unnoticed}")
    return 3 if unnoticed else 0


if __name__ == "__main__":
    sys.exit(main())
