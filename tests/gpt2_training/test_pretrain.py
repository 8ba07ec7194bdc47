"""Training a very small model: it learns, it can be stopped and resumed, and it is repeatable."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import GPT2LMHeadModel

from gpt2_training import pretrain as module
from gpt2_training.corpus import read_corpus
from gpt2_training.errors import TrainingError
from gpt2_training.generate import load_sampler, sample
from gpt2_training.loop import batch_at, learning_rate_at
from gpt2_training.perplexity import held_out_perplexity, perplexity_of
from gpt2_training.pretrain import PretrainConfig, encode, encode_split, pretrain
from gpt2_training.vocabulary import END_OF_TEXT, save_vocabulary, train_vocabulary

CONFIG = PretrainConfig(
    vocabulary=300,
    context=16,
    layers=1,
    heads=2,
    width=16,
    steps=60,
    batch=4,
    warmup=5,
    learning_rate=1e-2,
    evaluate_every=20,
    threads=1,
)


@pytest.fixture()
def corpus(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("".join(f"{i} green bottles hanging on the wall,\n" for i in range(400)))
    return read_corpus(str(path))


def test_it_learns_and_saves_what_it_measured(corpus, tmp_path):
    steps = []
    record = pretrain(replace(corpus, source="a text"), tmp_path, CONFIG, steps.append, command="the command")
    assert len(steps) == 60 and steps[-1].held_out < steps[19].held_out < steps[0].loss
    assert json.loads((tmp_path / "training.json").read_text()) == record
    assert record["command"] == "the command" and record["text"] == "a text" and record["config"]["seed"] == 1
    assert not list(tmp_path.glob("*.pt"))

    model = GPT2LMHeadModel.from_pretrained(tmp_path, dtype=torch.float32)
    assert load_file(tmp_path / "model.safetensors")["transformer.wte.weight"].dtype == torch.float16
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    held_out = held_out_perplexity(model.eval(), module.encode(tokenizer, corpus.held_out), 16)
    assert held_out.value == pytest.approx(record["held_out_perplexity"], rel=1e-4)


class Stopped(Exception):
    pass


def stop_at(number):
    def stop(step):
        if step.step == number:
            raise Stopped

    return stop


def folder(path):
    path.mkdir()
    return path


def test_a_stopped_training_goes_on_to_the_same_weights(corpus, tmp_path):
    pretrain(corpus, folder(tmp_path / "whole"), CONFIG)
    state = tmp_path / "state.pt"
    with pytest.raises(Stopped):
        pretrain(corpus, folder(tmp_path / "parts"), CONFIG, stop_at(45), state=state)
    assert not list((tmp_path / "parts").iterdir())
    seen = []
    record = pretrain(corpus, tmp_path / "parts", CONFIG, seen.append, state=state)
    assert seen[0].step == 41  # from the state saved after step 40
    whole, parts = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    assert [step["step"] for step in record["curve"]] == [20, 40, 50, 60] and record["schedules"] == [
        {"from_step": 0, "steps": 60, "split_spaces": 0.02}
    ]


def test_a_state_with_the_names_of_earlier_versions_goes_on(corpus, tmp_path):
    pretrain(corpus, folder(tmp_path / "whole"), CONFIG)
    state = tmp_path / "state.pt"
    with pytest.raises(Stopped):
        pretrain(corpus, folder(tmp_path / "parts"), CONFIG, stop_at(45), state=state)
    saved = torch.load(state, weights_only=True)
    names = [name for name, _ in GPT2LMHeadModel.from_pretrained(tmp_path / "whole").named_parameters()]
    weights = dict(zip(names, saved.pop("parameters"), strict=True))
    torch.save({**saved, "model": weights, "history": saved.pop("steps")[19::20]}, state)
    record = pretrain(corpus, tmp_path / "parts", CONFIG, state=state)
    whole, parts = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    assert [step["step"] for step in record["curve"]] == [20, 40, 50, 60]


def test_another_number_of_steps_goes_on_and_is_recorded_and_another_recipe_is_refused(corpus, tmp_path):
    state = tmp_path / "state.pt"
    with pytest.raises(Stopped):
        pretrain(corpus, tmp_path, CONFIG, stop_at(25), state=state)
    before = state.read_bytes()
    with pytest.raises(
        TrainingError, match="seed 1, now 2; learning rate 0.01, now 0.02|learning rate 0.01, now 0.02; seed 1, now 2"
    ):
        pretrain(corpus, tmp_path, replace(CONFIG, seed=2, learning_rate=0.02), state=state)
    with pytest.raises(TrainingError, match="text [0-9a-f]+…, now "):
        pretrain(replace(corpus, fingerprint="another text" * 5), tmp_path, CONFIG, state=state)
    assert state.read_bytes() == before
    seen = []
    record = pretrain(corpus, tmp_path, replace(CONFIG, steps=40), seen.append, state=state)
    assert seen[0].step == 21 and [(part["from_step"], part["steps"]) for part in record["schedules"]] == [
        (0, 60),
        (20, 40),
    ]


def test_split_words_are_the_same_text():
    tokenizer = train_vocabulary(["some words, some  more words\n  (some words)\n" * 20], 290)
    text = "some words, some  more words\n  (some words)"
    plain, split = encode(tokenizer, [text]).tolist(), encode_split(tokenizer, [text], 1.0, 0).tolist()
    assert tokenizer.decode(plain) == tokenizer.decode(split) == text
    space = tokenizer.token_to_id("Ġ")
    assert split.count(space) > plain.count(space) and len(split) > len(plain)
    assert encode_split(tokenizer, [text], 0.0, 0).tolist() == plain


def test_a_batch_depends_on_seed_and_step_alone():
    ids = torch.arange(1000, dtype=torch.int32)
    assert torch.equal(batch_at(ids, 7, CONFIG), batch_at(ids, 7, CONFIG))
    assert not torch.equal(batch_at(ids, 7, CONFIG), batch_at(ids, 8, CONFIG))
    assert batch_at(ids, 7, CONFIG).shape == (4, 17)


def test_the_learning_rate_rises_then_falls_to_a_tenth():
    rates = [learning_rate_at(step, CONFIG) for step in range(60)]
    assert rates[0] == pytest.approx(2e-3) and max(rates) == rates[4] == rates[5] == 1e-2
    assert rates[5:] == sorted(rates[5:], reverse=True)
    assert learning_rate_at(60, CONFIG) == pytest.approx(1e-3)


def test_perplexity_and_its_error():
    losses = torch.tensor([1.0, 2.0, 3.0, 2.0])
    perplexity = perplexity_of(losses)
    assert perplexity.value == pytest.approx(torch.exp(losses.mean()).item())
    assert perplexity.standard_error == pytest.approx(perplexity.value * losses.std().item() / 2)


def test_the_vocabulary_is_gpt2s_form(tmp_path):
    tokenizer = train_vocabulary(["some words, some more words\n" * 20], 280)
    save_vocabulary(tokenizer, tmp_path)
    vocabulary = json.loads((tmp_path / "vocab.json").read_text())
    assert (
        sorted(vocabulary.values()) == list(range(len(vocabulary))) and vocabulary[END_OF_TEXT] == len(vocabulary) - 1
    )
    again = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    text = "some \tworks é 🌊\n\n  x"
    assert again.decode(again.encode(text).ids) == text
    with pytest.raises(TrainingError, match="at least 257"):
        train_vocabulary(["x"], 256)


def test_samples_are_repeatable_and_greedy_at_zero(corpus, tmp_path):
    pretrain(corpus, tmp_path, CONFIG)
    sampler = load_sampler(tmp_path)
    first, second, again = ("".join(sample(sampler, "12 green", 24, seed=seed)) for seed in (1, 2, 1))
    assert first == again != second
    assert "".join(sample(sampler, "12 green", 24, temperature=0)) == "".join(
        sample(sampler, "12 green", 24, temperature=0, seed=5)
    )


def test_the_standard_library_is_a_corpus_and_its_split_holds():
    corpus = read_corpus("python-stdlib")
    assert corpus.bytes > 2_000_000 and 0 < len(corpus.held_out) < len(corpus.train) / 10
    assert not set(corpus.held_out) & set(corpus.train)


@pytest.mark.parametrize(
    "prepare, message",
    [
        (lambda path: None, "no file or folder"),
        (lambda path: path.write_text(""), "0 readable text"),
        (lambda path: path.write_bytes(b"\xff\xfe\xff"), "0 readable text"),
        (lambda path: path.mkdir(), "0 readable text"),
    ],
)
def test_texts_that_cannot_be_used(tmp_path, prepare, message):
    prepare(tmp_path / "text")
    with pytest.raises(TrainingError, match=message):
        read_corpus(str(tmp_path / "text"))


def test_a_text_shorter_than_a_context_is_refused(tmp_path):
    (tmp_path / "text").write_text("too short a text to learn anything from")
    with pytest.raises(TrainingError, match="fewer than one context"):
        pretrain(read_corpus(str(tmp_path / "text")), tmp_path, PretrainConfig(vocabulary=260, context=64, steps=1))
