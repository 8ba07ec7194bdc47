"""A text read by bundle and PyTorch in several processes."""

from dataclasses import replace

import pytest
from tiny_gpt2 import VOCABULARY

from bundler.containers.tokenizer import BundleTokenizer
from bundler.errors import OptionError
from bundler.tflite.runner import TFLiteGPT2
from bundler.verification.divergence import compare_rows, divergence
from bundler.verification.references import Reference
from bundler.verification.text import verification_text
from bundler.verification.text_divergence import text_blocks, text_divergence
from bundler.verification.verify import VerifyOptions, verify_bundle
from tokenizer_tools.vocabulary import reference_tokenizer
from tokenizer_tools.vocabulary_files import read_vocabulary


@pytest.fixture
def tokenizer(tiny_checkpoint):
    reference = reference_tokenizer(read_vocabulary(tiny_checkpoint))
    return BundleTokenizer(reference, lambda text: reference.encode(text).ids)


def test_blocks_hold_the_whole_text_in_order(tokenizer, tmp_path):
    for name, text in (("a.txt", verification_text()), ("b.txt", "more\n" * 50)):
        (tmp_path / name).write_text(text)
    blocks = list(text_blocks([tmp_path], replace(tokenizer, start=399), 96))
    assert all(block.ids.reference[0] == 399 and len(block.ids.reference) <= 95 for block in blocks)
    written = "".join(tokenizer.decode(block.ids.reference[1:]) for block in blocks)
    assert written == verification_text() + "more\n" * 50
    read = [block.bytes_read for block in blocks]
    assert read == sorted(read) and read[-1] == len(written.encode())
    assert all(len(block.ids.reference) <= 95 for block in text_blocks([tmp_path], tokenizer, 96))


def test_ids_that_differ_are_not_mixed(tokenizer, tmp_path):
    mistaken = BundleTokenizer(tokenizer.reference, lambda text: tokenizer.pieces(text.replace("e", "a")))
    (tmp_path / "a.txt").write_text("some text here")
    (block,) = text_blocks([tmp_path], mistaken, 96)
    assert block.ids.bundle == block.ids.reference


def test_processes_find_what_one_does(tiny_tflite, tokenizer, tmp_path):
    path, _, checkpoint = tiny_tflite
    (tmp_path / "a.txt").write_text(verification_text()[:1200])
    blocks = list(text_blocks([tmp_path], replace(tokenizer, start=399), 96))
    model, reference = TFLiteGPT2(path), Reference(checkpoint, VOCABULARY)
    expected = divergence(
        [
            compare_rows(
                reference.logits(block.ids.reference),
                model.along(block.ids.bundle)[:, :VOCABULARY],
                block.ids.reference[1:],
            )
            for block in blocks
        ]
    )
    done = []
    figures = text_divergence(blocks, checkpoint, VOCABULARY, path, done.append)
    assert figures.as_dict() == pytest.approx(expected.as_dict(), rel=1e-4, abs=1e-9)
    assert figures.mean_kl < 1e-9 and done == [block.bytes_read for block in blocks]


def test_a_given_text_becomes_a_gate(tiny_bundle, tiny_checkpoint, tmp_path):
    (tmp_path / "a.txt").write_text(verification_text()[:600])
    gate = verify_bundle(
        tiny_bundle[0] / "tiny.task", str(tiny_checkpoint), VerifyOptions(engines=(), texts=(tmp_path / "a.txt",))
    )[-1]
    assert gate.name == "distributions on the given text" and gate.passed and gate.figures["tokens"] > 100
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(OptionError, match="no text in it"):
        verify_bundle(
            tiny_bundle[0] / "tiny.task",
            str(tiny_checkpoint),
            VerifyOptions(engines=(), texts=(tmp_path / "empty.txt",)),
        )
    with pytest.raises(OptionError, match="no file or folder"):
        verify_bundle(
            tiny_bundle[0] / "tiny.task",
            str(tiny_checkpoint),
            VerifyOptions(engines=(), texts=(tmp_path / "gone.txt",)),
        )
