"""Each gate passes on a good bundle and fails on a planted defect."""

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
from tiny_gpt2 import VOCABULARY, write_tiny_checkpoint
from whole_model import convert

from bundler.checkpoints.checkpoint import open_checkpoint
from bundler.containers.bundle import MANIFEST
from bundler.containers.litertlm import write_litertlm
from bundler.containers.llm_metadata import LlmMetadata
from bundler.containers.llm_parameters import LlmParameters
from bundler.containers.task import METADATA_ENTRY, MODEL_ENTRY, TOKENIZER_ENTRY, read_task, write_task
from bundler.containers.tokenizer import BundleTokenizer, Ids
from bundler.conversion.convert import Signatures
from bundler.conversion.exported_weights import TokenRows
from bundler.errors import BundleError
from bundler.tflite.runner import TFLiteGPT2
from bundler.verification.engine_gates import Expected, Trial, completions, edge_gate, start_gate, stop_gate
from bundler.verification.logit_gates import Pair, logit_gates
from bundler.verification.references import Reference
from bundler.verification.verify import tokenizer_gate, verify_bundle
from tokenizer_tools.sentencepiece_model import build_sentencepiece
from tokenizer_tools.vocabulary import reference_tokenizer, tokenizer_json
from tokenizer_tools.vocabulary_files import read_vocabulary

IDS = np.random.default_rng(2).integers(0, 399, 96).tolist()


def failed(gates):
    return [gate.name for gate in gates if not gate.passed]


def test_a_good_model_passes(tiny_tflite):
    path, _, checkpoint = tiny_tflite
    gates = logit_gates(Pair(TFLiteGPT2(path), Reference(checkpoint, VOCABULARY), "fp32", Ids(IDS, IDS), 399))
    assert not failed(gates)
    # One chunk; several, as far as there is room; all but the last position.
    assert [gate.figures.get("prompt_tokens") for gate in gates] == [33, 70, 96, None]


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


@pytest.mark.parametrize(
    "defect, gate",
    [
        ("prefill forgets", "prefill in several chunks, 24 decode steps"),
        ("nan", "prefill in several chunks, 24 decode steps"),
        ("alias wins", "prefill in one chunk, 24 decode steps"),
        ("scaled", "prefill in one chunk, 24 decode steps"),
    ],
)
def test_a_defect_fails_its_gate(tiny_tflite, defect, gate):
    path, _, checkpoint = tiny_tflite
    gates = logit_gates(Pair(Broken(path, defect), Reference(checkpoint, VOCABULARY), "fp32", Ids(IDS, IDS), 399))
    assert gate in failed(gates)


def test_the_weights_of_another_model_fail_the_text_gate(tiny_tflite, tiny_checkpoint, tmp_path):
    stranger = Reference(open_checkpoint(write_tiny_checkpoint(tmp_path / "other", seed=1)), VOCABULARY)
    assert "distributions on a text" in failed(
        logit_gates(Pair(TFLiteGPT2(tiny_tflite[0]), stranger, "int8", Ids(IDS, IDS), 399))
    )


def test_a_tokenizer_that_differs_is_counted(tiny_checkpoint):
    reference = reference_tokenizer(read_vocabulary(tiny_checkpoint))
    good = BundleTokenizer(reference, lambda text: reference.encode(text).ids)
    assert tokenizer_gate(good, ["some text", ""]).passed
    bad = BundleTokenizer(reference, lambda text: reference.encode(text.replace("x", "y")).ids)
    gate = tokenizer_gate(bad, ["some text"])
    assert not gate.passed and gate.figures["mismatched_tokens"] > 0
    assert bad.original([3, VOCABULARY + 5]) == [3, -1]  # an id no alias table explains is no token


@pytest.mark.parametrize("container", ["task", "litertlm"])
def test_a_finished_bundle_passes(tiny_bundle, tiny_checkpoint, container):
    gates = verify_bundle(tiny_bundle[0] / f"tiny.{container}", str(tiny_checkpoint))
    assert not failed(gates)
    assert len(gates) == 10 + (container == "litertlm")  # whose cache grows
    edge = next(gate for gate in gates if gate.name.endswith("to the last position"))
    assert edge.figures["prompt_tokens"] == [
        25,
        73,
        74,
        95,
    ]  # one chunk of 24 and more; around the start of the last; all but one place


def rewritten(tiny_bundle, path, **entries):
    """The tiny .task with some entries replaced."""
    task = read_task(tiny_bundle[0] / "tiny.task")
    parts = {entry.name: task.read_entry(entry.name) for entry in task.entries}
    write_task(path, {name: entries.get(name, data) for name, data in parts.items()})
    return path


def test_another_models_tokenizer_fails(tiny_bundle, tiny_checkpoint, tmp_path):
    from gpt2_training.vocabulary import save_vocabulary, train_vocabulary

    save_vocabulary(train_vocabulary(["quite another text, " * 40, "with other merges"], 300), tmp_path)
    proto = build_sentencepiece(read_vocabulary(tmp_path)).proto
    path = rewritten(tiny_bundle, tmp_path / "other.task", **{TOKENIZER_ENTRY: proto})
    assert "tokenizer" in failed(verify_bundle(path, str(tiny_checkpoint)))


def test_a_stop_token_that_is_no_token_is_refused(tiny_bundle, tiny_checkpoint, tmp_path):
    parameters = dataclasses.replace(read_task(tiny_bundle[0] / "tiny.task").parameters(), stop_tokens=("</s>",))
    path = rewritten(tiny_bundle, tmp_path / "stop.task", **{METADATA_ENTRY: parameters.encode()})
    with pytest.raises(BundleError, match="'</s>' is no token"):
        verify_bundle(path, str(tiny_checkpoint))


def test_a_model_of_another_checkpoint_fails(tiny_bundle, tmp_path):
    stranger = write_tiny_checkpoint(tmp_path / "other", seed=1)
    names = failed(verify_bundle(tiny_bundle[0] / "tiny.task", str(stranger)))
    assert "distributions on a text" in names and "LiteRT-LM, .task: greedy text" in names


def test_a_model_that_is_none_is_refused(tiny_bundle, tiny_checkpoint, tmp_path):
    path = rewritten(tiny_bundle, tmp_path / "broken.task", **{MODEL_ENTRY: b"no model at all"})
    with pytest.raises(BundleError):
        verify_bundle(path, str(tiny_checkpoint))


@pytest.fixture(scope="module", params=["task", "litertlm"])
def uneven_bundle(request, tiny_checkpoint, tmp_path_factory):
    """A bundle whose prefill length of 30 does not divide its context of 80."""
    folder = tmp_path_factory.mktemp("uneven")
    checkpoint, vocabulary = open_checkpoint(tiny_checkpoint), read_vocabulary(tiny_checkpoint)
    pieces, model, path = build_sentencepiece(vocabulary), folder / "uneven.tflite", folder / f"uneven.{request.param}"
    rows = TokenRows(len(vocabulary), pieces.alias_of)
    convert(checkpoint, rows, Signatures(80, (30,)), "fp32", model)
    if request.param == "task":
        write_task(
            path,
            {
                MODEL_ENTRY: model,
                TOKENIZER_ENTRY: pieces.proto,
                METADATA_ENTRY: LlmParameters("<|endoftext|>", stop_tokens=("<|endoftext|>",)).encode(),
                MANIFEST: json.dumps({"tokenizer": {"alias_of": list(pieces.alias_of)}}).encode(),
            },
        )
    else:
        write_litertlm(
            path,
            model,
            LlmMetadata(VOCABULARY - 1, stop_tokens=(VOCABULARY - 1,), max_num_tokens=80),
            tokenizer_json=tokenizer_json(vocabulary),
        )
    return path


def test_prefill_lengths_that_do_not_divide_the_context_fail(uneven_bundle, tiny_checkpoint):
    gates = [gate for gate in verify_bundle(uneven_bundle, str(tiny_checkpoint)) if not gate.passed]
    assert [gate.name for gate in gates] == [f"LiteRT-LM, {uneven_bundle.suffix}: to the last position"]
    assert (
        "LiteRT-LM refuses a prompt" in gates[0].found
        and "(30) do not divide each other and the context" in gates[0].found
    )


def expected_of(tiny_tflite, tiny_checkpoint, start=VOCABULARY - 1, **fields):
    """What an engine has to make of the tiny model: PyTorch's texts."""
    reference = reference_tokenizer(read_vocabulary(tiny_checkpoint))
    tokenizer = BundleTokenizer(reference, lambda text: reference.encode(text).ids, start=start)
    return Expected(Reference(tiny_tflite[2], VOCABULARY), tokenizer, 96, 1e-3, **fields)


def trial_of(expected, complete, bundle=None, complete_in=None):
    """A bundle in an engine that answers by `complete`, and its copies by `complete_in`."""
    written = completions(complete, expected)
    return Trial("engine", bundle, expected, SimpleNamespace(complete=complete), written, complete_in)


@pytest.mark.parametrize("start", [VOCABULARY - 1, None])
def test_other_text_near_the_end_of_the_context_is_seen(tiny_tflite, tiny_checkpoint, start):
    expected = expected_of(tiny_tflite, tiny_checkpoint, start, prefill=(8, 32))
    asked = []

    def complete(prompt, count):
        ids = expected.tokenizer.prompt(prompt)
        asked.append((len(ids), count))
        written = expected.reference.greedy(ids, count)
        return expected.tokenizer.decode(written if len(ids) < 95 else [(token + 1) % 256 for token in written])

    trial = trial_of(expected, complete)
    asked.clear()
    gate = edge_gate(trial)
    assert not gate.passed and "after a prompt of 95 tokens it wrote" in gate.found
    assert asked == [(33, 4), (65, 4), (66, 4), (95, 1)]


def engine_of(expected, start):
    """An engine that puts `start` before every prompt."""
    tokenizer = expected.tokenizer
    return lambda prompt, count: tokenizer.decode(
        expected.reference.greedy([*start, *tokenizer.prompt(prompt)[1:]], count)
    )


def test_a_start_token_left_out_or_doubled_is_seen(tiny_tflite, tiny_checkpoint):
    expected = expected_of(tiny_tflite, tiny_checkpoint)
    for start, passed in (([VOCABULARY - 1], True), ([], False), ([VOCABULARY - 1] * 2, False)):
        assert start_gate(trial_of(expected, engine_of(expected, start))).passed == passed


def test_an_engine_that_goes_on_after_a_stop_token_is_seen(tiny_bundle, tiny_checkpoint, tiny_tflite):
    expected = expected_of(tiny_tflite, tiny_checkpoint)
    complete, bundle = engine_of(expected, [VOCABULARY - 1]), tiny_bundle[0] / "tiny.task"
    deaf = stop_gate(trial_of(expected, complete, bundle, lambda probe, prompt, count: complete(prompt, count)))
    assert not deaf.passed and "expected" in deaf.found
    given = []

    def obedient(probe, prompt, count):
        token = read_task(probe).parameters().stop_tokens[-1]
        given.append(token)
        text = complete(prompt, count)
        return text[: text.index(token)]

    assert stop_gate(trial_of(expected, complete, bundle, obedient)).passed and given
