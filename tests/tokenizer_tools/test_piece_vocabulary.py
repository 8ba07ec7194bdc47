"""Checkpoints that were trained with a SentencePiece model: T5Tokenizer's goes into a bundle as it is, with the ids of
transformers; those of other classes are refused, with what differs.
"""

import io
import json

import pytest
import sentencepiece
from sentencepiece import SentencePieceProcessor, sentencepiece_model_pb2
from tiny_gpt2 import write_tiny_checkpoint
from transformers import AutoTokenizer

from bundler.commands.cli import run
from bundler.containers.bundle import open_bundle
from bundler.containers.litertlm import SENTENCEPIECE_SECTION, read_litertlm
from bundler.engines.litertlm import open_engine
from bundler.errors import BundleError, VerificationError
from bundler.pipeline.build import build
from bundler.pipeline.plan import BuildOptions, plan_build
from tokenizer_tools import texts
from tokenizer_tools.errors import TokenizerError
from tokenizer_tools.report import compare
from tokenizer_tools.sentencepiece_model import build_sentencepiece
from tokenizer_tools.symbols import BYTE_MAPPED
from tokenizer_tools.vocabulary_files import read_vocabulary

# Ids and names as in rinna's Japanese GPT-2s, and as in T5.
RINNA = dict(unk_id=0, bos_id=1, eos_id=2, pad_id=3, pad_piece="[PAD]", control_symbols=["[CLS]", "[SEP]", "[MASK]"])
T5 = dict(pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
SETTINGS = {
    "tokenizer_class": "T5Tokenizer",
    "bos_token": "<s>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "pad_token": "[PAD]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
    "extra_ids": 0,
    "additional_special_tokens": [],
    "do_lower_case": True,
}
JAPANESE = "今日は天気がいいですね。\n吾輩は猫である。名前はまだ無い。\n灯台守は毎朝六時に階段を上る。\n"


def train(**options):
    lines = [line for document in texts.BUILT_IN for line in document.splitlines() if line.strip()]
    file = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([*lines, *(JAPANESE.splitlines() * 30)]),
        model_writer=file,
        minloglevel=2,
        vocab_size=400,
        hard_vocab_limit=False,
        character_coverage=0.99,  # so that some characters are unknown
        **options,
    )
    return file.getvalue()


@pytest.fixture(scope="module")
def rinna():
    return train(model_type="unigram", **RINNA)


@pytest.fixture
def folder(tmp_path):
    """Writes a folder of the model and its settings."""

    def write(model, name="spiece.model", **settings):
        (tmp_path / name).write_bytes(model)
        (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
        (tmp_path / "tokenizer_config.json").write_text(json.dumps({**SETTINGS, **settings}))
        return tmp_path

    return write


@pytest.mark.parametrize("ids", [RINNA, T5], ids=["rinna", "T5"])
def test_the_model_is_taken_as_it_is(folder, ids):
    model = train(model_type="unigram", **ids)
    given = {} if ids is RINNA else dict.fromkeys(("bos_token", "cls_token", "sep_token", "mask_token"))
    vocabulary = read_vocabulary(folder(model, **given | ({} if ids is RINNA else {"pad_token": "<pad>"})))
    pieces = build_sentencepiece(vocabulary)
    assert pieces.proto == model and pieces.alias_of == () and len(vocabulary) == pieces.vocabulary_size
    report = compare(vocabulary, pieces, generated=50, built_in=True)
    assert report.total("strings") > 40 and report.mismatched_tokens == 0 and report.total("unknown_tokens") > 0


def test_the_ids_are_those_of_transformers_but_for_what_is_unknown(folder, rinna):
    """transformers 5.23 has id 2 for what is unknown in any T5Tokenizer: here the end of a text."""
    path = folder(rinna)
    theirs, ours = AutoTokenizer.from_pretrained(path), SentencePieceProcessor(model_proto=rinna)
    unlike = 0
    for document in texts.BUILT_IN:
        for _, text in texts.cut_document(document):
            expected, found = theirs(text, add_special_tokens=False).input_ids, ours.encode(text)
            assert [0 if id_ == 2 else id_ for id_ in expected] == found
            unlike += expected != found
    assert unlike
    assert any("transformers 5 takes id 2" in note for note in read_vocabulary(path).notes)


@pytest.mark.parametrize(
    "name, settings, message",
    [
        ("spiece.model", {"tokenizer_class": "AlbertTokenizer"}, "rewrites quotation marks"),
        ("tokenizer.model", {"tokenizer_class": "LlamaTokenizer"}, "no space before a text that begins with one"),
        ("sentencepiece.bpe.model", {"tokenizer_class": "XLMRobertaTokenizerFast"}, "other ids"),
        ("tokenizer.model", {"tokenizer_class": None}, "takes it for GPT-2's byte-level BPE"),
        ("tokenizer.model", {}, "T5Tokenizer looks for spiece.model"),
        ("spiece.model", {"tokenizer_class": "MyTokenizer"}, "was not tried"),
        ("spiece.model", {"extra_ids": 3, "additional_special_tokens": None}, "and 2 more tokens are added"),
    ],
)
def test_what_is_read_otherwise_is_refused_with_the_difference(folder, rinna, name, settings, message):
    with pytest.raises(TokenizerError, match=message):
        read_vocabulary(folder(rinna, name, **settings))


def test_a_damaged_model_and_a_mode_that_does_not_fit_are_refused(folder, rinna):
    with pytest.raises(TokenizerError, match="cannot be read as a SentencePiece model"):
        read_vocabulary(folder(rinna[: len(rinna) // 2]))
    vocabulary = read_vocabulary(folder(rinna))
    with pytest.raises(TokenizerError, match="Take mode raw-bytes"):
        build_sentencepiece(vocabulary, BYTE_MAPPED)
    with pytest.raises(TokenizerError, match="leave `parse_special` out"):
        read_vocabulary(folder(rinna), parse_special=True)


def test_a_model_that_keeps_white_space_is_refused_by_the_texts(folder, tmp_path):
    """transformers cuts at white space in any T5Tokenizer; this model was trained to keep it."""
    model = train(model_type="unigram", normalization_rule_name="identity", remove_extra_whitespaces=False, **RINNA)
    checkpoint = write_tiny_checkpoint(tmp_path / "checkpoint", bos_token_id=1, eos_token_id=2)
    own_pieces(checkpoint, model)
    with pytest.raises(VerificationError, match="tokens differ from the reference tokenizer's"):
        build(BuildOptions(str(checkpoint), tmp_path / "out", recipe="fp32"))


def damaged_map(model):
    """The model with a character map that the library would not survive, or refuse."""
    proto = sentencepiece_model_pb2.ModelProto.FromString(model)
    proto.normalizer_spec.precompiled_charsmap = b"\xff\xff\xff\x7f" + b"\xff" * 100
    return proto.SerializeToString()


@pytest.mark.parametrize("damage", [lambda model: model[: len(model) // 2], damaged_map, lambda model: b"x" * 100])
def test_a_hostile_model_never_reaches_the_library(rinna, tmp_path, damage, capsys):
    checkpoint = write_tiny_checkpoint(tmp_path / "checkpoint", bos_token_id=1, eos_token_id=2)
    own_pieces(checkpoint, damage(rinna))
    with pytest.raises(BundleError, match="is no sound SentencePiece model"):
        plan_build(BuildOptions(str(checkpoint), tmp_path / "out"))
    assert run(["tokenizer", "report", "--tokenizer", str(checkpoint), "--quiet"]) == 1
    assert "is no sound SentencePiece model" in capsys.readouterr().err


def own_pieces(checkpoint, model):
    """Give a checkpoint a SentencePiece model in the place of its vocabulary."""
    for name in ("vocab.json", "merges.txt", "tokenizer.json"):
        (checkpoint / name).unlink(missing_ok=True)
    (checkpoint / "spiece.model").write_bytes(model)
    (checkpoint / "tokenizer_config.json").write_text(json.dumps(SETTINGS))


@pytest.mark.timeout(600)
def test_a_bundle_of_it_passes_every_gate(rinna, tmp_path):
    checkpoint = write_tiny_checkpoint(tmp_path / "checkpoint", bos_token_id=1, eos_token_id=2)
    own_pieces(checkpoint, rinna)
    output = tmp_path / "out"
    manifest = build(BuildOptions(str(checkpoint), output, recipe="fp32", speed=False))
    assert [gate["name"] for gate in manifest["verification"] if not gate["passed"]] == []
    assert (output / "tokenizer.model").read_bytes() == rinna == open_bundle(output / "out.task").sentencepiece
    file = read_litertlm(output / "out.litertlm")
    assert file.bytes_of(file.find(SENTENCEPIECE_SECTION)).read() == rinna
    assert (manifest["start_token"], manifest["stop_tokens"]) == ("<s>", ["</s>"])
    for name in ("out.task", "out.litertlm"):
        with open_engine(output / name) as engine:
            assert engine.tokenize(JAPANESE) == SentencePieceProcessor(model_proto=rinna).encode(JAPANESE)
