"""Training a very small model: it learns, it can be stopped and resumed, and it is repeatable."""

import json
import math
import shutil
import signal
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import GPT2LMHeadModel

from gpt2_training import loop
from gpt2_training import pretrain as module
from gpt2_training.base_model import encode, encode_split
from gpt2_training.corpus import Corpus, read_corpus
from gpt2_training.errors import RecipeError, TrainingError, TrainingInterrupted
from gpt2_training.generate import load_sampler, sample
from gpt2_training.loop import StateFile, batch_at, learning_rate_at
from gpt2_training.perplexity import Perplexity, held_out_perplexity, perplexity_of
from gpt2_training.pretrain import PretrainConfig, TrainingOutput, Watch, pretrain
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
    record = pretrain(
        replace(corpus, source="a text"), TrainingOutput(tmp_path, command="the command"), CONFIG, Watch(steps.append)
    )
    assert len(steps) == 60 and steps[-1].held_out < steps[19].held_out < steps[0].loss
    assert json.loads((tmp_path / "training.json").read_text()) == record
    assert record["command"] == "the command" and record["text"] == "a text" and record["config"]["seed"] == 1
    assert record["prompt"] and record["best_step"] == 60 and not list(tmp_path.glob("*.pt"))
    bits = math.log2(record["held_out_perplexity"]) * len(encode(tokenizer_of(tmp_path), corpus.held_out))
    assert record["held_out_bits_per_byte"] == pytest.approx(bits / len("".join(corpus.held_out).encode()))

    model = GPT2LMHeadModel.from_pretrained(tmp_path, dtype=torch.float32)
    assert load_file(tmp_path / "model.safetensors")["transformer.wte.weight"].dtype == torch.float16
    held_out = held_out_perplexity(model.eval(), encode(tokenizer_of(tmp_path), corpus.held_out), 16)
    assert held_out.value == pytest.approx(record["held_out_perplexity"], rel=1e-4)


class Stopped(Exception):
    pass


def stop_at(number, how):
    """Something to look on that ends the training after a step: as a kill does, or as Ctrl-C."""

    def stop(step):
        if step.step == number:
            if how is Stopped:
                raise Stopped
            signal.raise_signal(signal.SIGINT)

    return Watch(stop)


def output(folder, state=None, restart=False):
    folder.mkdir(exist_ok=True)
    return TrainingOutput(folder, StateFile(state, restart))


def tokenizer_of(folder):
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


def same_weights(*folders):
    first, second = (load_file(folder / "model.safetensors") for folder in folders)
    return all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("how, goes_on_at", [(Stopped, 41), (TrainingInterrupted, 46)])
@pytest.mark.parametrize("changes", [{}, {"dropout": 0.2, "accumulate": 2}], ids=["plain", "dropout in parts"])
def test_a_stopped_training_goes_on_to_the_same_weights(corpus, tmp_path, how, goes_on_at, changes):
    config = replace(CONFIG, **changes)
    pretrain(corpus, output(tmp_path / "whole"), config)
    parts = output(tmp_path / "parts", tmp_path / "state.pt")
    with pytest.raises(how):
        pretrain(corpus, parts, config, stop_at(45, how))
    assert not list((tmp_path / "parts").iterdir())
    seen = []
    record = pretrain(corpus, parts, config, Watch(seen.append))
    assert seen[0].step == goes_on_at  # after the state of step 40, or of the step that Ctrl-C came in
    assert same_weights(tmp_path / "whole", tmp_path / "parts")
    assert [step["step"] for step in record["curve"]] == [20, 40, 50, 60]
    assert record["schedules"] == [{"from_step": 0, "steps": 60, "split_spaces": 0.02}]


def test_ctrl_c_says_what_is_saved_and_a_second_one_acts_at_once(corpus, tmp_path):
    state = tmp_path / "state.pt"
    with pytest.raises(TrainingInterrupted, match=f"step 45 of 60 is saved in {state}"):
        pretrain(corpus, output(tmp_path / "out", state), CONFIG, stop_at(45, TrainingInterrupted))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    def twice(step):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    before = state.read_bytes()
    with pytest.raises(KeyboardInterrupt) as interruption:
        pretrain(corpus, output(tmp_path / "out", state), CONFIG, Watch(twice))
    assert not isinstance(interruption.value, TrainingInterrupted) and state.read_bytes() == before
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_finished_training_goes_on_with_more_steps(corpus, tmp_path):
    state = tmp_path / "state.pt"
    out = output(tmp_path / "out", state)
    pretrain(corpus, out, CONFIG)
    first, seen = (tmp_path / "out" / "model.safetensors").read_bytes(), []
    pretrain(corpus, out, CONFIG, Watch(seen.append))
    assert not seen and (tmp_path / "out" / "model.safetensors").read_bytes() == first
    record = pretrain(corpus, out, replace(CONFIG, steps=80, split_spaces=0.1), Watch(seen.append))
    assert [step.step for step in seen] == list(range(61, 81)) and record["best_step"] == 80
    assert record["schedules"] == [
        {"from_step": 0, "steps": 60, "split_spaces": 0.02},
        {"from_step": 60, "steps": 80, "split_spaces": 0.1},
    ]
    with pytest.raises(TrainingError, match="is of step 80 already, and `steps` is 60.*`restart`"):
        pretrain(corpus, out, CONFIG)
    again = output(tmp_path / "again", state, restart=True)
    pretrain(corpus, again, CONFIG)
    assert (tmp_path / "again" / "model.safetensors").read_bytes() == first


def test_another_recipe_is_refused_and_named(corpus, tmp_path):
    state = tmp_path / "state.pt"
    out = output(tmp_path / "out", state)
    with pytest.raises(Stopped):
        pretrain(corpus, out, CONFIG, stop_at(25, Stopped))
    before = state.read_bytes()
    with pytest.raises(TrainingError, match="learning rate 0.01, now 0.02; seed 1, now 2.*`restart`"):
        pretrain(corpus, out, replace(CONFIG, seed=2, learning_rate=0.02))
    with pytest.raises(TrainingError, match="text [0-9a-f]+…, now "):
        pretrain(replace(corpus, fingerprint="another text" * 5), out, CONFIG)
    assert state.read_bytes() == before


@pytest.mark.parametrize(
    "spoil",
    [
        lambda loss, weight: loss * math.nan,
        lambda loss, weight: loss + (weight * 0).sqrt().sum(),  # its value is 0, its gradient no number
    ],
    ids=["loss", "gradient"],
)
@pytest.mark.parametrize("bad_step, kept", [(31, "the state of step 20 is kept"), (5, "nothing was saved")])
def test_a_training_that_diverges_keeps_its_last_good_state(corpus, tmp_path, monkeypatch, spoil, bad_step, kept):
    state, weights, real = tmp_path / "state.pt", [], module._loss_of

    def planted(model, ids, config):
        loss_at = real(model, ids, config)
        weights.append(model.transformer.wte.weight)

        def spoiled(step, part):
            return spoil(loss_at(step, part), weights[0]) if step + 1 == bad_step else loss_at(step, part)

        return spoiled

    monkeypatch.setattr(module, "_loss_of", planted)
    with pytest.raises(TrainingError, match=f"in step {bad_step}: the training diverged; {kept}"):
        pretrain(corpus, output(tmp_path / "out", state), CONFIG)
    assert weights[0].isfinite().all() and not list((tmp_path / "out").iterdir()) and state.exists() == (bad_step > 20)


def test_early_stop_keeps_the_best_weights(corpus, tmp_path, monkeypatch):
    """Held-out losses that are planted: the best one is in step 40."""
    values = iter([5.0, 4.0, 4.5, 4.6, 4.7])
    kept = {}

    def planted(training, config):
        weights = training.model.transformer.wte.weight.detach().clone()
        value = next(values)
        kept[value] = weights
        return Perplexity(value, 0.1, 10)

    monkeypatch.setattr(loop, "_evaluate", planted)
    seen = []
    out = output(tmp_path / "out", tmp_path / "state.pt")
    record = pretrain(corpus, out, replace(CONFIG, steps=200, patience=2), Watch(seen.append))
    assert seen[-1].step == 80 and record["best_step"] == 40
    saved = load_file(tmp_path / "out" / "model.safetensors")["transformer.wte.weight"]
    assert torch.equal(saved, kept[4.0].half()) and not torch.equal(saved, kept[4.6].half())
    record = pretrain(corpus, out, replace(CONFIG, steps=200, patience=3), Watch(seen.append))
    assert seen[-1].step == 100 and record["best_step"] == 40
    assert torch.equal(load_file(tmp_path / "out" / "model.safetensors")["transformer.wte.weight"], kept[4.0].half())


def test_parts_of_a_step_learn_what_the_whole_step_does(corpus, tmp_path):
    pretrain(corpus, output(tmp_path / "whole"), replace(CONFIG, batch=8, bfloat16=False, steps=20))
    pretrain(corpus, output(tmp_path / "parts"), replace(CONFIG, batch=2, accumulate=4, bfloat16=False, steps=20))
    whole, parts = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "parts"))
    for name in whole:
        torch.testing.assert_close(whole[name].float(), parts[name].float(), rtol=1e-2, atol=2e-3)


@pytest.mark.skipif(not shutil.which("c++"), reason="torch.compile needs a C++ compiler: apt-get install g++")
def test_a_compiled_model_learns_the_same(corpus, tmp_path):
    names = "plain", "compiled"
    for name in names:
        recipe = replace(CONFIG, compile=name == "compiled", bfloat16=False, steps=20)
        pretrain(corpus, output(tmp_path / name), recipe)
    plain, compiled = (load_file(tmp_path / name / "model.safetensors") for name in names)
    assert plain.keys() == compiled.keys()
    for name in plain:
        torch.testing.assert_close(plain[name].float(), compiled[name].float(), rtol=1e-2, atol=2e-3)


@pytest.mark.parametrize(
    "changes",
    [
        {"batch": 0},
        {"steps": -5},
        {"layers": 0},
        {"accumulate": 0},
        {"learning_rate": math.nan},
        {"learning_rate": math.inf},
        {"dropout": 1.0},
        {"seed": 1 << 40},
        {"heads": 3},
        {"tokenizer": "words"},
        {"device": "tpu"},
    ],
    ids=str,
)
def test_recipes_that_nothing_can_be_trained_with(corpus, tmp_path, changes):
    (name,) = changes
    with pytest.raises(RecipeError, match=f"`{name}`"):
        pretrain(corpus, output(tmp_path / "out"), replace(CONFIG, **changes))


def test_a_model_larger_than_the_memory_is_refused_before_it_is_made(corpus, tmp_path):
    with pytest.raises(RecipeError, match="takes .* GB to train"):
        pretrain(corpus, output(tmp_path / "out"), replace(CONFIG, layers=10**9))


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
    pretrain(corpus, TrainingOutput(tmp_path), CONFIG)
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
        (lambda path: path.write_bytes(b"\xff\xfe\xff"), "0 readable text.*1 passed over that are not UTF-8 text"),
        (lambda path: path.write_bytes(bytes(5000)), "0 readable text.*1 passed over that are not UTF-8 text"),
        (lambda path: path.mkdir(), "0 readable text"),
    ],
)
def test_texts_that_cannot_be_used(tmp_path, prepare, message):
    prepare(tmp_path / "text")
    with pytest.raises(TrainingError, match=message):
        read_corpus(str(tmp_path / "text"))


def test_a_single_file_is_learned_in_pieces_that_end_with_a_line(corpus):
    text = "".join(f"{i} green bottles hanging on the wall,\n" for i in range(400))
    assert "".join([*corpus.train, *corpus.held_out]) == text and len(corpus.held_out) == 1
    assert len(corpus.train) == 8 and all(piece.endswith("\n") for piece in corpus.train[:-1])
    assert all(2000 < len(piece) < 2100 for piece in corpus.train[:-1])


def test_what_is_no_text_in_a_folder_is_passed_over_and_counted(tmp_path):
    for number in range(60):
        (tmp_path / f"{number}.txt").write_text("a text\n" * 20)
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\0\xff")
    (tmp_path / "zeros.bin").write_bytes(bytes(100))
    corpus = read_corpus(str(tmp_path))
    assert len(corpus.train) + len(corpus.held_out) == 60 and corpus.passed_over == 2


def test_the_prompt_is_the_first_words_of_a_long_line_that_was_held_out():
    lines = [
        "half a line that is long enough to be taken for a whole one",
        "short",
        "one two three four five six seven",
        "| 1 | 2 | 3 | a table's row | 4.5 | 6.7 | 8.9 |",
    ]
    corpus = Corpus(["x"], ["\n".join([*lines, "and the words that are wanted stand in here"])], "")
    assert corpus.prompt == "and the words that"
    assert Corpus(["x"], ["tiny"], "").prompt == "tiny" and Corpus(["x"], [""], "").prompt == ""


def test_a_text_shorter_than_a_context_is_refused(tmp_path):
    (tmp_path / "text").write_text("too short a text to learn anything from")
    with pytest.raises(TrainingError, match="to fill a `context` of 64"):
        pretrain(
            read_corpus(str(tmp_path / "text")),
            TrainingOutput(tmp_path),
            PretrainConfig(vocabulary=260, context=64, steps=1),
        )
