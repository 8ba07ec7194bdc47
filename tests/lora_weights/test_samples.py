"""The sample's two adapters belong to it, and one sees at once which of them wrote."""

from pathlib import Path

import pytest

from bundler.checkpoints.checkpoint import open_checkpoint
from bundler.lora.facts import base_of
from bundler.verification.references import PeftReference
from lora_weights.adapter_file import adapter_file
from lora_weights.peft_adapter import read_peft
from lora_weights.samples.make_texts import pirate_text, shout
from tokenizer_tools.vocabulary import reference_tokenizer
from tokenizer_tools.vocabulary_files import read_vocabulary

ROOT = Path(__file__).parents[2]
FOLDERS = [ROOT / "lora_weights" / "samples" / name for name in ("pirate", "shouting")]
SAMPLE = ROOT / "gpt2_training" / "sample"


@pytest.fixture(scope="module")
def checkpoint():
    return open_checkpoint(SAMPLE)


def test_they_fit_the_sample(checkpoint):
    base = base_of(checkpoint)
    for folder in FOLDERS:
        adapter = read_peft(folder, base.layers)
        assert adapter.base_fingerprint == base.fingerprint, f"{folder} was trained on another sample; run make lora"
        assert adapter.licence and adapter_file(adapter, base, 16).header.name == folder.name


def test_each_writes_in_a_way_of_its_own(checkpoint):
    vocabulary = read_vocabulary(checkpoint.folder)
    tokenizer = reference_tokenizer(vocabulary)
    reference = PeftReference(checkpoint, len(vocabulary), FOLDERS)
    start = vocabulary.id_of_text("<|endoftext|>")

    def write(index, prompt):
        return tokenizer.decode(reference.use(index).greedy([start, *tokenizer.encode(prompt).ids], 60))

    prompt = 'def read(self, path):\n    """'
    base, pirate, shouting = (write(index, prompt) for index in (None, 0, 1))

    def capitals(text):
        return sum(map(str.isupper, text)) / sum(map(str.isalpha, text))

    assert any(cry in pirate for cry in ("Arr", "Avast", "Yo ho ho", "Shiver", "Ahoy", "Blimey", "Heave ho")), pirate
    assert capitals(shouting) > 0.5 > 0.2 > capitals(base), (shouting, base)


def test_the_texts_they_learn_from():
    assert pirate_text() == pirate_text() and len(pirate_text()) > 300_000
    assert shout('x = "quiet"  # why not\ndef f():\n    """Says so,\n    twice."""\n    return "é"\n') == (
        'x = "quiet"  # WHY NOT\ndef f():\n    """SAYS SO,\n    TWICE."""\n    return "é"\n'
    )
