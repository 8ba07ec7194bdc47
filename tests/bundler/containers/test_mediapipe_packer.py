"""Our `.task` files against those of MediaPipe's own bundler: the same bytes, but for the time in the ZIP."""

import builtins
import io
import itertools
import struct
import zipfile

import pytest
import sentencepiece
from mediapipe_packer import INSTALL, pack_with_mediapipe

from bundler.containers.llm_parameters import LlmParameters, PromptTemplate
from bundler.containers.task import METADATA_ENTRY, MODEL_ENTRY, TOKENIZER_ENTRY, read_task, write_task
from bundler.errors import BundleError

END = "<|endoftext|>"
TURN = PromptTemplate("<user>\n", "<end>\n")


@pytest.fixture(scope="module")
def mediapipe_bundler():
    return pytest.importorskip(
        "mediapipe.tasks.python.genai.bundler", reason=f"needs `{INSTALL}`", exc_type=ImportError
    )


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["a few words for a few pieces"] * 5),
        model_writer=model,
        vocab_size=30,
        hard_vocab_limit=False,
        user_defined_symbols=[END],
        minloglevel=2,
    )
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.model"
    path.write_bytes(model.getvalue())
    return path


def without_time(path):
    """The file's bytes with the ZIP's date and time fields set to zero."""
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        at = archive.start_dir
        for info in archive.infolist():
            data[info.header_offset + 10 : info.header_offset + 14] = bytes(4)
            data[at + 12 : at + 16] = bytes(4)
            at += 46 + sum(struct.unpack_from("<3H", data, at + 28))
    return bytes(data)


def both(folder, tokenizer, parameters, model=b"model"):
    (folder / "model.tflite").write_bytes(model)
    write_task(
        folder / "ours.task",
        {MODEL_ENTRY: folder / "model.tflite", TOKENIZER_ENTRY: tokenizer, METADATA_ENTRY: parameters.encode()},
    )
    pack_with_mediapipe(folder / "theirs.task", folder / "model.tflite", tokenizer, parameters)
    return folder / "ours.task", folder / "theirs.task"


@pytest.mark.parametrize(
    "start, stops, mapping",
    list(itertools.product([END, "<s>", "é😀"], [(END,), (END, "</s>", "."), (END, END)], [False, True])),
)
@pytest.mark.parametrize(
    "templates",
    [
        {},
        dict(user=TURN),
        dict(user=PromptTemplate("<user>")),
        dict(user=PromptTemplate(suffix="!")),
        dict(model=TURN),
        dict(user=TURN, model=PromptTemplate("<model>", "<end>")),
        dict(user=TURN, model=TURN, system=TURN),
        dict(system=PromptTemplate(suffix="\n")),
        dict(system_prompt="Be brief."),
        dict(system_prompt="ß" * 200, user=TURN, model=TURN),
    ],
)
def test_same_bundle_as_mediapipe(mediapipe_bundler, tmp_path, tokenizer, start, stops, mapping, templates):
    parameters = LlmParameters(start_token=start, stop_tokens=stops, bytes_to_unicode=mapping, **templates)
    ours, theirs = both(tmp_path, tokenizer, parameters)
    assert read_task(ours).read_entry(METADATA_ENTRY) == read_task(theirs).read_entry(METADATA_ENTRY)
    assert read_task(ours).entries == read_task(theirs).entries  # names, order, offsets, sizes, CRCs, alignment
    assert without_time(ours) == without_time(theirs)
    assert read_task(theirs).parameters() == parameters


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 5, 1023, (1 << 20) - 1, 1 << 20, (3 << 20) + 1])
def test_same_alignment_for_every_size(mediapipe_bundler, tmp_path, tokenizer, size):
    parameters = LlmParameters(start_token=END, stop_tokens=(END,), bytes_to_unicode=True)
    ours, theirs = both(tmp_path, tokenizer, parameters, bytes(range(251)) * (size // 251 + 1))
    assert without_time(ours) == without_time(theirs)


@pytest.mark.parametrize("size", [50, 95, 101, 102, 103, 200])
def test_same_zip64_records(mediapipe_bundler, tmp_path, monkeypatch, size):
    """MediaPipe's ZIP64 form, at a limit low enough to reach; theirs is 2 GiB, where Python's zipfile turns to ZIP64.

    Within a twentieth below its limit zipfile already widens the local header, in case the size was misjudged: we do
    not.
    """
    from mediapipe.tasks.python.metadata.metadata_writers import model_asset_bundle_utils

    entries = {MODEL_ENTRY: bytes(size), TOKENIZER_ENTRY: b"tokenizer", METADATA_ENTRY: b"metadata"}
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 100)
    model_asset_bundle_utils.create_model_asset_bundle(entries, str(tmp_path / "theirs.task"))
    write_task(tmp_path / "ours.task", entries, zip64_from=101)
    assert without_time(tmp_path / "ours.task") == without_time(tmp_path / "theirs.task")


def test_mediapipes_own_refusals_become_ours(mediapipe_bundler, tmp_path, tokenizer):
    with pytest.raises(BundleError, match="mutually exclusive"):
        both(tmp_path, tokenizer, LlmParameters(start_token=END, stop_tokens=(END,), system_prompt="a", system=TURN))
    (tmp_path / "broken.model").write_bytes(b"no tokenizer")
    with pytest.raises(BundleError, match="SentencePiece"):
        both(tmp_path, tmp_path / "broken.model", LlmParameters(start_token=END, stop_tokens=(END,)))
    assert not (tmp_path / "theirs.task").exists()
    assert not any(entry.is_dir() for entry in tmp_path.iterdir())


@pytest.mark.parametrize(
    "fields",
    [
        dict(start_token=None),
        dict(start_token=None, start_token_id=1),
        dict(stop_token_ids=(1,)),
        dict(unknown=((2, b"\x10\x01"),)),
        dict(prompt_template=TURN),
    ],
)
def test_what_its_bundler_cannot_write(tmp_path, fields):
    with pytest.raises(BundleError, match="as text only"):
        pack_with_mediapipe(
            tmp_path / "a.task",
            tmp_path / "m",
            tmp_path / "t",
            LlmParameters(**{"start_token": END, "stop_tokens": (END,), **fields}),
        )


def test_without_mediapipe_the_error_names_the_install_line(tmp_path, monkeypatch):
    plain_import = builtins.__import__

    def no_mediapipe(name, *rest):
        if name.startswith("mediapipe"):
            raise ModuleNotFoundError("No module named 'mediapipe'")
        return plain_import(name, *rest)

    monkeypatch.setattr(builtins, "__import__", no_mediapipe)
    with pytest.raises(BundleError, match="pip install mediapipe==0.10.35"):
        pack_with_mediapipe(
            tmp_path / "a.task", tmp_path / "m", tmp_path / "t", LlmParameters(start_token=END, stop_tokens=(END,))
        )
