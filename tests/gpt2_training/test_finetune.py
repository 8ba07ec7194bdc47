"""Full fine-tuning: the whole model learns, goes on where it was stopped, and is saved as any other checkpoint."""

import signal

import pytest
import torch
from safetensors.torch import load_file

from bundler.checkpoints.checkpoint import open_checkpoint
from bundler.commands.training import open_base
from gpt2_training.corpus import Corpus
from gpt2_training.errors import RecipeError, TrainingInterrupted
from gpt2_training.loop import StateFile, TrainConfig
from gpt2_training.perplexity import held_out_perplexity
from gpt2_training.pretrain import TrainingOutput, Watch, finetune
from tokenizer_tools.vocabulary_files import read_vocabulary

TEXT = "The keeper wrote: the sea is calm, the light is lit. " * 120
CORPUS = Corpus([TEXT], [TEXT[:2000]], "fingerprint", "s")
CONFIG = TrainConfig(
    steps=12, batch=2, context=24, learning_rate=5e-3, warmup=2, evaluate_every=4, threads=1, dropout=0.1
)


def tuned(checkpoint, folder, watch=Watch(), config=CONFIG, state=None):
    folder.mkdir(exist_ok=True)
    return finetune(
        open_base(str(checkpoint), None, None), CORPUS, TrainingOutput(folder, StateFile(state)), config, watch
    )


def test_it_learns_and_writes_a_checkpoint_like_any_other(tiny_checkpoint, tmp_path):
    record = tuned(tiny_checkpoint, tmp_path / "out")
    assert record["held_out_perplexity"] < 0.8 * record["held_out_perplexity_before"]
    assert len(record["base_fingerprint"]) == 64 and record["base"] == str(tiny_checkpoint)
    base, made = open_checkpoint(tiny_checkpoint), open_checkpoint(tmp_path / "out")
    assert made.architecture == base.architecture and made.special == base.special
    assert read_vocabulary(made.folder) == read_vocabulary(base.folder)
    assert not any(torch.equal(made.tensor(name), base.tensor(name)) for name in base.names())
    text = open_base(str(tmp_path / "out"), None, None).encode(CORPUS, CONFIG)
    again = held_out_perplexity(made.reference_model(), text.held_out, CONFIG.context)
    assert again.value == pytest.approx(record["held_out_perplexity"], rel=1e-4)


def test_stopped_it_goes_on_to_the_same_weights(tiny_checkpoint, tmp_path):
    tuned(tiny_checkpoint, tmp_path / "whole")

    def stop(step):
        if step.step == 7:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(TrainingInterrupted):
        tuned(tiny_checkpoint, tmp_path / "parts", Watch(stop), state=tmp_path / "state.pt")
    seen = []
    tuned(tiny_checkpoint, tmp_path / "parts", Watch(seen.append), state=tmp_path / "state.pt")
    assert [step.step for step in seen] == [8, 9, 10, 11, 12]
    whole, parts = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_a_context_that_the_model_lacks_is_refused(tiny_checkpoint, tmp_path):
    config = TrainConfig(context=97, steps=1)
    with pytest.raises(RecipeError, match="`context` 97: the model has 96 positions"):
        tuned(tiny_checkpoint, tmp_path / "out", config=config)
