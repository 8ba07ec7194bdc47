"""What a report shows of a bundle: the engine's own texts, and next tokens with the probabilities of the references."""

import json

import numpy as np
import pytest
import torch

from bundler.checkpoints.checkpoint import open_checkpoint
from bundler.engines.litertlm import Sampling, open_engine
from bundler.errors import OptionError
from bundler.pipeline.build import build
from bundler.pipeline.plan import BuildOptions, plan_build
from bundler.pipeline.showcase import prompts_of
from tokenizer_tools.vocabulary import reference_tokenizer
from tokenizer_tools.vocabulary_files import read_vocabulary


@pytest.fixture(scope="module")
def shown(tiny_checkpoint, tmp_path_factory):
    """A build with a prompt, a text and the speed: (folder, report.json)."""
    folder = tmp_path_factory.mktemp("shown")
    (folder / "text.txt").write_text("The keeper wrote: the sea is calm. " * 20)
    output = folder / "tiny"
    build(
        BuildOptions(
            str(tiny_checkpoint), output, recipe="fp32", prompts=("It is",), texts=(folder / "text.txt",), speed=True
        )
    )
    return output, json.loads((output / "report.json").read_text())


def test_the_texts_are_the_engines(shown):
    output, report = shown
    with open_engine(output / "tiny.litertlm") as engine:
        greedy = engine.complete("It is", 24)
        sampled = engine.complete("It is", 24, Sampling(0.8, 40, 1.0, 1))
    assert report["texts"] == [{"prompt": "It is", "by": "base", "greedy": greedy, "sampled": sampled}]


def test_next_tokens_have_pytorchs_probabilities(shown, tiny_checkpoint):
    checkpoint = open_checkpoint(tiny_checkpoint)
    tokenizer = reference_tokenizer(read_vocabulary(tiny_checkpoint))
    ids = [checkpoint.special.bos, *tokenizer.encode("It is").ids]
    with torch.inference_mode():
        expected = torch.softmax(checkpoint.reference_model()(torch.tensor([ids])).logits[0, -1].double(), 0).numpy()
    (entry,) = shown[1]["next_tokens"]
    likeliest = np.sort(expected)[::-1][: len(entry["tokens"])]
    for side in ("bundle", "pytorch"):
        assert np.allclose([row[side] for row in entry["tokens"]], likeliest, rtol=0.01)
    assert entry["tokens"][0]["token"] == tokenizer.decode([int(expected.argmax())])


def test_the_report_opens_with_the_verdict_and_holds_all_of_it(shown):
    output, report = shown
    page = (output / "report.html").read_text()
    assert report["verdict"].split()[0] == report["verdict"].split()[2] and "gates passed" in report["verdict"]
    assert page.index(report["verdict"]) < page.index("What it writes") < page.index("How it was checked")
    assert report["speed"]["decode"] > 0 and "tokens/s" in page and "tokenizer file" in report["weight_bytes"]
    assert any(gate["name"] == "distributions on the given text" for gate in report["verification"])
    assert "task-bundler compare MODEL" in page  # the figures of other recipes
    assert "http" not in page.replace("http-equiv", "")


def test_the_model_cards_own_prompts_are_taken(tmp_path):
    card = tmp_path / "README.md"
    for text, expected in {
        '---\nwidget:\n  - text: "a\\nb"\n  - text: c\n---\nx': ("a\nb", "c"),
        "no yaml": (),
        "---\nwidget: [\n---\n": (),
        "---\nwidget: 3\n---\n": (),
        "---\nlicense: mit\n---\n": (),
    }.items():
        card.write_text(text)
        assert prompts_of(tmp_path) == expected, text
    card.unlink()
    assert prompts_of(tmp_path) == ()


@pytest.mark.parametrize("prompt", ["", "a\0b", "the light " * 80])
def test_a_prompt_that_cannot_be_continued_is_refused_before_the_work(tiny_checkpoint, tmp_path, prompt):
    with pytest.raises(OptionError, match="`prompts`"):
        plan_build(BuildOptions(str(tiny_checkpoint), tmp_path / "new", prompts=(prompt,)))
