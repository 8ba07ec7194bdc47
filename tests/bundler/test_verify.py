"""Each gate passes on a good bundle and fails on a planted defect."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_gpt2 import VOCABULARY, write_tiny_checkpoint

from bundler.errors import BundleError
from bundler.reference import Reference
from bundler.task_file import METADATA, MODEL, TOKENIZER, read_task, write_task
from bundler.tflite_runner import TFLiteGPT2
from bundler.verify import BundleTokenizer, Ids, compare_logits, logit_gates, tokenizer_gate
from bundler.verify_bundle import verify_bundle
from tokenizer_tools.bpe import read_vocabulary
from tokenizer_tools.vocabulary import reference_tokenizer

IDS = np.random.default_rng(2).integers(0, 399, 96).tolist()


def failed(gates):
    return [gate.name for gate in gates if not gate.passed]


def test_a_good_model_passes(tiny_tflite):
    path, _, checkpoint = tiny_tflite
    gates = logit_gates(TFLiteGPT2(path), Reference(checkpoint, VOCABULARY), "fp32", Ids(IDS, IDS), 399)
    assert not failed(gates)
    assert [gate.figures.get("prompt_tokens") for gate in gates] == [33, 70, None]  # one chunk; several, as far as there is room


class Broken(TFLiteGPT2):
    """A model with one defect of those that have happened."""

    def __init__(self, path, defect):
        super().__init__(path)
        self.defect = defect

    def _call(self, signature, tokens, used):
        super()._call(signature, tokens, used)
        if self.defect == "prefill forgets" and signature == "prefill_8":
            self._cache, self._next = self._next, self._cache

    def decode(self, token):
        logits = super().decode(token)
        if self.defect == "nan" and self.position > 60:
            logits *= np.nan
        if self.defect == "alias wins":
            logits[VOCABULARY] = 1e4
        if self.defect == "scaled":
            logits *= 1.01
        return logits


@pytest.mark.parametrize("defect, gate", [
    ("prefill forgets", "prefill in several chunks, 24 decode steps"), ("nan", "prefill in several chunks, 24 decode steps"),
    ("alias wins", "prefill in one chunk, 24 decode steps"), ("scaled", "prefill in one chunk, 24 decode steps")])
def test_a_defect_fails_its_gate(tiny_tflite, defect, gate):
    path, _, checkpoint = tiny_tflite
    gates = logit_gates(Broken(path, defect), Reference(checkpoint, VOCABULARY), "fp32", Ids(IDS, IDS), 399)
    assert gate in failed(gates)


def test_the_weights_of_another_model_fail_the_text_gate(tiny_tflite, tiny_checkpoint, tmp_path):
    from bundler.checkpoint import open_checkpoint

    other = Reference(open_checkpoint(write_tiny_checkpoint(tmp_path / "other", seed=1)), VOCABULARY)
    assert "distributions on a text" in failed(logit_gates(TFLiteGPT2(tiny_tflite[0]), other, "int8", Ids(IDS, IDS), 399))


def test_a_tokenizer_that_differs_is_counted(tiny_checkpoint):
    reference = reference_tokenizer(read_vocabulary(tiny_checkpoint))
    good = BundleTokenizer(reference, lambda text: reference.encode(text).ids)
    assert tokenizer_gate(good, ["some text", ""]).passed
    bad = BundleTokenizer(reference, lambda text: reference.encode(text.replace("x", "y")).ids)
    gate = tokenizer_gate(bad, ["some text"])
    assert not gate.passed and gate.figures["mismatched_tokens"] > 0
    assert bad.original([3, VOCABULARY + 5]) == [3, -1]  # an id no alias table explains is no token


@given(st.integers(0, 2**32 - 1), st.floats(0.01, 10))
def test_compared_logits_agree_with_torch(seed, noise):
    import torch

    generator = np.random.default_rng(seed)
    expected = generator.normal(size=(5, 11)).astype(np.float32) * 3
    found = expected + generator.normal(size=(5, 11)).astype(np.float32) * noise
    figures = compare_logits(expected, found)
    kl = torch.nn.functional.kl_div(torch.tensor(found).double().log_softmax(1), torch.tensor(expected).double().log_softmax(1),
                                    log_target=True, reduction="none").sum(1)
    assert figures["mean_kl"] == pytest.approx(kl.mean().item(), rel=1e-6, abs=1e-9)
    assert figures["largest_kl"] == pytest.approx(kl.max().item(), rel=1e-6, abs=1e-9)
    assert compare_logits(expected, expected + 5) == pytest.approx(
        {"mean_kl": 0, "largest_kl": 0, "same_top": 1, "max_logit_difference": 5}, abs=1e-5)


@pytest.mark.parametrize("container", ["task", "litertlm"])
def test_a_finished_bundle_passes(tiny_bundle, tiny_checkpoint, container):
    gates = verify_bundle(tiny_bundle[0] / f"tiny.{container}", str(tiny_checkpoint))
    assert not failed(gates)
    assert len(gates) == 6


def rewritten(tiny_bundle, path, **entries):
    """The tiny .task with some entries replaced."""
    task = read_task(tiny_bundle[0] / "tiny.task")
    parts = {entry.name: task.read_entry(entry.name) for entry in task.entries}
    write_task(path, {name: entries.get(name, data) for name, data in parts.items()})
    return path


def test_another_models_tokenizer_fails(tiny_bundle, tiny_checkpoint, tmp_path):
    from gpt2_training.vocabulary import save_vocabulary, train_vocabulary
    from tokenizer_tools.sentencepiece_model import build_sentencepiece

    save_vocabulary(train_vocabulary(["quite another text, " * 40, "with other merges"], 300), tmp_path)
    proto = build_sentencepiece(read_vocabulary(tmp_path)).proto
    path = rewritten(tiny_bundle, tmp_path / "other.task", **{TOKENIZER: proto})
    assert "tokenizer" in failed(verify_bundle(path, str(tiny_checkpoint)))


def test_a_stop_token_that_is_no_token_is_refused(tiny_bundle, tiny_checkpoint, tmp_path):
    parameters = dataclasses.replace(read_task(tiny_bundle[0] / "tiny.task").parameters(), stop_tokens=("</s>",))
    path = rewritten(tiny_bundle, tmp_path / "stop.task", **{METADATA: parameters.encode()})
    with pytest.raises(BundleError, match="'</s>' is no token"):
        verify_bundle(path, str(tiny_checkpoint))


def test_a_model_of_another_checkpoint_fails(tiny_bundle, tmp_path):
    other = write_tiny_checkpoint(tmp_path / "other", seed=1)
    names = failed(verify_bundle(tiny_bundle[0] / "tiny.task", str(other)))
    assert "distributions on a text" in names and "LiteRT-LM, .task: greedy text" in names


def test_a_model_that_is_none_is_refused(tiny_bundle, tiny_checkpoint, tmp_path):
    path = rewritten(tiny_bundle, tmp_path / "broken.task", **{MODEL: b"no model at all"})
    with pytest.raises(BundleError):
        verify_bundle(path, str(tiny_checkpoint))
