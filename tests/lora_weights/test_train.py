"""Training: the adapter learns and the base stays, resuming repeats nothing, and the comparison compares like with
like.
"""

import json
import signal
from dataclasses import replace

import pytest
import torch
from tiny_gpt2 import VOCABULARY

from bundler.checkpoints.checkpoint import open_checkpoint
from bundler.commands.cli import run
from bundler.system.machine import memory_above_now
from gpt2_training.base_model import BaseModel
from gpt2_training.corpus import Corpus
from gpt2_training.errors import RecipeError, TrainingError
from gpt2_training.loop import StateFile
from gpt2_training.vocabulary import train_vocabulary
from lora_weights.compare import (
    ComparisonPlan,
    ComparisonWatch,
    compare,
    comparison_page,
    comparison_table,
    write_comparison_plot,
)
from lora_weights.fine_tune import FineTuneConfig
from lora_weights.peft_adapter import read_peft
from lora_weights.train import AdapterOutput, train_adapter

TEXT = "The keeper wrote: the sea is calm, the light is lit. " * 120
CONFIG = FineTuneConfig(
    threads=1, rank=4, steps=12, batch=2, context=24, warmup=2, evaluate_every=4, learning_rate=2e-2
)
CORPUS = Corpus([TEXT], [TEXT[:2000]], "fingerprint", "s")


@pytest.fixture(scope="module")
def tokenizer():
    return train_vocabulary([TEXT], VOCABULARY)


@pytest.fixture
def model(tiny_checkpoint):
    return open_checkpoint(tiny_checkpoint).reference_model()


def folder(path):
    path.mkdir()
    return path


def test_the_adapter_learns_and_the_base_stays(model, tokenizer, tmp_path, tiny_checkpoint):
    steps = []
    record = train_adapter(
        BaseModel(model, tokenizer, "tiny", "ab"),
        CORPUS,
        CONFIG,
        AdapterOutput(folder(tmp_path / "sea"), command="c", licence="mit"),
        steps.append,
    )
    assert (record["base"], record["command"], record["text"]) == ("tiny", "c", "s")
    assert record["held_out_perplexity"] < 0.8 * record["held_out_perplexity_before"]
    assert [step.step for step in steps] == list(range(1, 13)) and [step.step for step in steps if step.held_out] == [
        4,
        8,
        12,
    ]
    assert all(step.loss > 0 and step.tokens_per_second > 0 for step in steps)
    adapter = read_peft(tmp_path / "sea", 2)
    assert adapter.base_fingerprint == "ab" and adapter.rank == 4 and adapter.alpha == 8 and adapter.licence == "mit"
    assert json.loads((tmp_path / "sea" / "training.json").read_text()) == json.loads(json.dumps(record))
    fresh = open_checkpoint(tiny_checkpoint).reference_model().state_dict()
    for name, tensor in model.state_dict().items():
        if "lora_" not in name:
            assert torch.equal(tensor, fresh[name.replace(".base_layer", "")])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sea"]


def test_an_interrupted_training_goes_on_to_the_same_bytes(model, tokenizer, tmp_path, tiny_checkpoint):
    def another(fingerprint="ab"):
        return BaseModel(open_checkpoint(tiny_checkpoint).reference_model(), tokenizer, fingerprint=fingerprint)

    config = FineTuneConfig(**{**vars(CONFIG), "dropout": 0.1})
    train_adapter(BaseModel(model, tokenizer), CORPUS, config, AdapterOutput(folder(tmp_path / "whole")))

    class Stop(Exception):
        pass

    seen = []

    def stop(step):
        seen.append(step.step)
        if step.step == 7:
            raise Stop

    state = tmp_path / "state.pt"
    with pytest.raises(Stop):
        train_adapter(another(), CORPUS, config, AdapterOutput(folder(tmp_path / "halves"), StateFile(state)), stop)
    halves = AdapterOutput(tmp_path / "halves", StateFile(state))
    assert not list((tmp_path / "halves").iterdir())
    with pytest.raises(TrainingError, match="base ab, now cd"):
        train_adapter(another("cd"), CORPUS, config, halves)
    train_adapter(another(), CORPUS, config, halves, lambda step: seen.append(step.step))
    assert seen == [*range(1, 8), *range(5, 13)]  # from the state saved after step 4
    file = "adapter_model.safetensors"
    assert (tmp_path / "whole" / file).read_bytes() == (tmp_path / "halves" / file).read_bytes()


@pytest.mark.parametrize(
    "config, corpus, error, named",
    [
        (FineTuneConfig(context=97), CORPUS, RecipeError, "`context` 97: the model has 96 positions"),
        (FineTuneConfig(context=24), Corpus(["a b c"], [TEXT], ""), TrainingError, "to train on"),
        (FineTuneConfig(context=24), Corpus([TEXT], ["a b c"], ""), TrainingError, "to hold out"),
        (
            FineTuneConfig(context=24, targets=("attn.c_attn", "q_proj")),
            CORPUS,
            RecipeError,
            "`targets` q_proj: a GPT-2",
        ),
        (FineTuneConfig(context=24, targets=()), CORPUS, RecipeError, "`targets` is empty"),
    ],
)
def test_texts_and_contexts_that_do_not_fit(model, tokenizer, tmp_path, config, corpus, error, named):
    with pytest.raises(error, match=named):
        train_adapter(BaseModel(model, tokenizer), corpus, config, AdapterOutput(tmp_path))
    assert not list(tmp_path.iterdir())


def stop_in(wanted, number):
    """Something to look on that ends a comparison as Ctrl-C does."""

    def stop(kind, step):
        if (kind.name, step.step) == (wanted, number):
            signal.raise_signal(signal.SIGINT)

    return stop


def test_the_comparison(model, tokenizer, tmp_path):
    plan = ComparisonPlan((1, 4), CONFIG, 2e-2, ["The "], sample_tokens=6)
    states = {kind: tmp_path / f"{kind.label}.pt" for kind in plan.kinds}
    watch = ComparisonWatch(state=lambda kind: StateFile(states[kind]), memory=memory_above_now)
    with pytest.raises(KeyboardInterrupt):
        compare(BaseModel(model, tokenizer), CORPUS, plan, replace(watch, on_step=stop_in("LoRA, rank 1", 7)))
    seen = []
    compare(BaseModel(model, tokenizer), CORPUS, plan, replace(watch, on_step=lambda *step: seen.append(step)))
    assert [(kind.name, step.step) for kind, step in seen][:2] == [("LoRA, rank 1", 8), ("LoRA, rank 1", 9)]
    for path in states.values():
        path.unlink()
    comparison = compare(BaseModel(model, tokenizer), CORPUS, plan, watch)
    base, results = comparison.base, comparison.results
    assert [result.name for result in results] == ["full fine-tuning", "LoRA, rank 1", "LoRA, rank 4"]
    full, rank_1, rank_4 = results
    assert full.trainable_parameters == sum(parameter.numel() for parameter in model.parameters())
    # A and B of c_attn and c_proj, in two layers; Adam keeps two numbers for each parameter, and a step count per
    # tensor.
    assert (
        rank_1.trainable_parameters == 2 * (32 + 96 + 32 + 32)
        and rank_4.trainable_parameters == 4 * rank_1.trainable_parameters
    )
    assert rank_1.optimizer_bytes == 8 * rank_1.trainable_parameters + 4 * 8
    assert rank_1.trainable_share == rank_1.trainable_parameters / full.trainable_parameters
    assert 2 * full.trainable_parameters < full.disk_bytes < 2 * full.trainable_parameters + 8192
    assert 4 * rank_1.trainable_parameters < rank_1.disk_bytes < 4 * rank_1.trainable_parameters + 8192
    assert all(result.memory_bytes is not None and result.curve[-1][0] == 12 for result in results)
    assert all(result.perplexity < base.perplexity and result.samples.keys() == {"The "} for result in results)
    table = comparison_table(comparison)
    assert table.count("\n|") == 5 and "LoRA, rank 4" in table
    write_comparison_plot(comparison, tmp_path / "a.svg")
    first = (tmp_path / "a.svg").read_bytes()
    write_comparison_plot(comparison, tmp_path / "a.svg")
    assert (tmp_path / "a.svg").read_bytes() == first
    page = comparison_page(comparison, "<a title>", first.decode())
    assert page.count("<tr>") == 5 and "&lt;a title&gt;" in page and "<svg" in page and "<?xml" not in page
    assert all(f"{result.perplexity:.2f} ± " in page for result in (base, *results))


def test_the_commands(tiny_checkpoint, tmp_path, capsys):
    (tmp_path / "text.txt").write_text(TEXT * 8)
    common = [
        str(tiny_checkpoint),
        str(tmp_path / "text.txt"),
        "--steps",
        "3",
        "--batch",
        "1",
        "--context",
        "32",
        "--threads",
        "1",
        "--json",
        "--quiet",
    ]
    assert run(["lora", "train", *common, "-o", str(tmp_path / "sea"), "--rank", "2"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["config"]["rank"] == 2 and len(record["base_fingerprint"]) == 64
    assert run(["lora", "train", *common, "-o", str(tmp_path / "sea")]) == 2 and "--force" in capsys.readouterr().err
    assert run(["lora", "compare", *common, "-o", str(tmp_path / "comparison"), "--ranks", "2", "-p", "The "]) == 0
    assert len(json.loads(capsys.readouterr().out)["results"]) == 2
    assert sorted(path.name for path in (tmp_path / "comparison").iterdir()) == [
        "SHA256SUMS",
        "comparison.html",
        "comparison.json",
        "comparison.md",
        "comparison.svg",
    ]
    assert run(["lora", "info", str(tmp_path / "sea"), "--json", "--quiet"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["rank"] == 2 and len(facts["delta_norms"]) == 2 and facts["delta_norms"][0]["o"] > 0
