"""Training in LiteRT alone: the adapter learns, a stopped training goes on, and the build's trainer file serves."""

import json
from functools import partial

import numpy as np
import pytest
from tiny_gpt2 import VOCABULARY

from bundler.checkpoints.checkpoint import open_checkpoint
from bundler.commands.cli import run
from bundler.conversion.exported_weights import TokenRows
from bundler.conversion.trainer import TrainerShape
from bundler.errors import OptionError
from bundler.pipeline.build import build
from bundler.pipeline.plan import BuildOptions
from bundler.pipeline.train_adapter import device_model, fine_tune_on_device, train_on_device
from bundler.pipeline.trainer_file import write_trainer
from gpt2_training.base_model import BaseModel, encode
from gpt2_training.corpus import Corpus
from gpt2_training.errors import TrainingError
from gpt2_training.loop import StateFile
from lora_weights.compare import ComparisonPlan, DeviceTrainer, compare
from lora_weights.fine_tune import FineTuneConfig
from lora_weights.peft_adapter import read_peft
from lora_weights.train import AdapterOutput, train_adapter
from tokenizer_tools.vocabulary import reference_tokenizer
from tokenizer_tools.vocabulary_files import read_vocabulary

TEXT = "The keeper wrote: the sea is calm, the light is lit. " * 120
CORPUS = Corpus([TEXT], [TEXT[:2000]], "fingerprint", "s")
CONFIG = FineTuneConfig(
    threads=1, rank=4, steps=12, batch=2, context=24, warmup=2, evaluate_every=4, learning_rate=2e-2
)


@pytest.fixture(scope="module")
def base(tiny_checkpoint, tmp_path_factory, shared_worker):
    checkpoint = open_checkpoint(tiny_checkpoint)
    path = tmp_path_factory.mktemp("trainer") / "tiny-trainer.tflite"
    write_trainer(checkpoint, TokenRows(VOCABULARY), TrainerShape(24, 4), path, "fp32", shared_worker)
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    return device_model(checkpoint, "tiny", path)


def folder(path, state=None):
    path.mkdir(exist_ok=True)
    return AdapterOutput(path, StateFile(state), command="c")


def test_the_adapter_learns_as_with_peft(base, tiny_checkpoint, tmp_path):
    steps = []
    record = train_on_device(base, CORPUS, CONFIG, folder(tmp_path / "sea"), steps.append)
    assert record["held_out_perplexity"] < 0.8 * record["held_out_perplexity_before"]
    assert [step.step for step in steps] == list(range(1, 13))
    assert [step.step for step in steps if step.held_out] == [4, 8, 12]
    assert json.loads((tmp_path / "sea" / "training.json").read_text()) == json.loads(json.dumps(record))
    adapter = read_peft(tmp_path / "sea", 2)
    assert adapter.base_fingerprint == base.fingerprint and adapter.rank == 4 and adapter.alpha == 8

    checkpoint = open_checkpoint(tiny_checkpoint)
    tokenizer = reference_tokenizer(read_vocabulary(checkpoint.folder))
    model = BaseModel(checkpoint.reference_model(), tokenizer, start=base.start)
    peft = train_adapter(model, CORPUS, CONFIG, folder(tmp_path / "peft"))
    assert record["held_out_perplexity_before"] == pytest.approx(peft["held_out_perplexity_before"], rel=1e-4)
    assert record["held_out_perplexity"] == pytest.approx(peft["held_out_perplexity"], rel=0.1)  # another start


def test_peft_reads_what_was_trained(base, tiny_checkpoint, tmp_path):
    """PyTorch with PEFT and the saved adapter has the perplexity that LiteRT found."""
    from peft import PeftModel

    from gpt2_training.perplexity import held_out_perplexity

    record = train_on_device(base, CORPUS, CONFIG, folder(tmp_path / "sea"))
    model = PeftModel.from_pretrained(open_checkpoint(tiny_checkpoint).reference_model(), tmp_path / "sea").eval()
    ids = encode(base.tokenizer, CORPUS.held_out, base.start)
    assert held_out_perplexity(model, ids, 24).value == pytest.approx(record["held_out_perplexity"], rel=1e-4)


def test_an_interrupted_training_goes_on_to_the_same_bytes(base, tmp_path):
    train_on_device(base, CORPUS, CONFIG, folder(tmp_path / "whole"))

    class Stop(Exception):
        pass

    def stop(step):
        if step.step == 7:
            raise Stop

    halves, seen = folder(tmp_path / "halves", tmp_path / "state.pt"), []
    with pytest.raises(Stop):
        train_on_device(base, CORPUS, CONFIG, halves, stop)
    train_on_device(base, CORPUS, CONFIG, halves, lambda step: seen.append(step.step))
    assert seen == [*range(5, 13)]
    file = "adapter_model.safetensors"
    assert (tmp_path / "whole" / file).read_bytes() == (tmp_path / "halves" / file).read_bytes()


def test_what_does_not_fit_is_refused(base, tmp_path):
    output = folder(tmp_path / "x")
    for fields, named in (({"rank": 8}, "`rank` 8"), ({"context": 16}, "`context` 16")):
        with pytest.raises(OptionError, match=named):
            train_on_device(base, CORPUS, FineTuneConfig(**vars(CONFIG) | fields), output)
    with pytest.raises(TrainingError, match="the training diverged"):
        train_on_device(base, CORPUS, FineTuneConfig(**vars(CONFIG) | {"learning_rate": 1e30}), output)
    assert not list((tmp_path / "x").iterdir())


def test_the_commands(tiny_checkpoint, tmp_path, capsys):
    """A build's trainer passes its gates, and trains an adapter that the build's engine takes."""
    text = tmp_path / "text.txt"
    text.write_text(TEXT)
    manifest = build(BuildOptions(str(tiny_checkpoint), tmp_path / "tiny", lora_ranks=(16,), trainer=True))
    gates = {gate["name"]: gate for gate in manifest["verification"] if gate["name"].startswith("trainer")}
    assert set(gates) == {"trainer: operators", "trainer: gradient", "trainer: steps"}
    trainer = tmp_path / "tiny" / "tiny-trainer.tflite"
    assert manifest["bytes"]["trainer"] == trainer.stat().st_size
    options = ["--rank", "16", "--context", "96", "--steps", "30", "--batch", "2", "--warmup", "2"]
    command = ["lora", "train", str(tiny_checkpoint), str(text), "-o", str(tmp_path / "sea"), *options]
    command += ["--learning-rate", "2e-2", "--quiet"]
    assert run([*command, "--trainer", str(trainer)]) == 2
    assert "give --engine tflite" in capsys.readouterr().err
    assert run([*command, "--engine", "tflite", "--trainer", str(trainer), "--dropout", "0.1"]) == 2
    assert run([*command, "--engine", "tflite", "--trainer", str(trainer)]) == 0, capsys.readouterr().err

    from bundler.engines.litertlm import open_engine

    exported = tmp_path / "sea.tflite"
    export = ["lora", "export", str(tmp_path / "sea"), "--bundle", str(tmp_path / "tiny"), "-o", str(exported)]
    assert run([*export, "--against", str(tiny_checkpoint), "--quiet"]) == 0, capsys.readouterr().err
    with open_engine(tmp_path / "tiny" / "tiny.litertlm") as engine:
        plain = engine.complete("The keeper", 12, adapter=tmp_path / "tiny" / "adapters" / "zero.tflite")
        assert engine.complete("The keeper", 12, adapter=exported) != plain
    assert np.isfinite(json.loads((tmp_path / "sea" / "training.json").read_text())["held_out_perplexity"])


def test_beside_the_same_in_pytorch(base, tiny_checkpoint):
    """A comparison's row for devices: as many parameters, and nearly PEFT's perplexity, which begins elsewhere."""
    checkpoint = open_checkpoint(tiny_checkpoint)
    model = BaseModel(checkpoint.reference_model(), base.tokenizer, "tiny", base.fingerprint, base.start)
    device = DeviceTrainer(4, partial(fine_tune_on_device, base))
    plan = ComparisonPlan([4], CONFIG, 1e-3, ["The "], sample_tokens=6, device=device)
    comparison = compare(model, CORPUS, plan)
    _, pytorch, tflite = comparison.results
    assert tflite.name == "LoRA, rank 4, as on a device" and len(tflite.curve) == 3
    assert tflite.trainable_parameters == pytorch.trainable_parameters
    assert tflite.optimizer_bytes == 8 * tflite.trainable_parameters
    assert tflite.perplexity == pytest.approx(pytorch.perplexity, rel=0.03)
    assert tflite.perplexity < 0.95 * comparison.base.perplexity
    assert tflite.samples.keys() == {"The "} and tflite.samples != comparison.base.samples
    assert tflite.disk_bytes == pytorch.disk_bytes
