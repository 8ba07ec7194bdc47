"""Start, stop and added tokens of a build: every one that the checkpoint names is there, said, or refused; both
containers follow transformers.
"""

import json

import pytest
from safetensors.torch import load_file, save_file
from tiny_gpt2 import VOCABULARY, write_tiny_checkpoint
from transformers import AutoTokenizer

from bundler.engines.litertlm import open_engine
from bundler.errors import BundleError
from bundler.pipeline.build import build
from bundler.pipeline.plan import BuildOptions, plan_build
from bundler.verification.text import verification_text
from bundler.verification.verify import VerifyOptions, verify_bundle
from gpt2_training.vocabulary import save_vocabulary, train_vocabulary

END = VOCABULARY - 1  # <|endoftext|>
START, WORD, STOP = range(VOCABULARY, VOCABULARY + 3)


@pytest.fixture(scope="module")
def chat(tmp_path_factory):
    """A chat-tuned GPT-2 as transformers 4's slow tokenizer saves it, with padding rows; it likes to write
    <|endoftext|> and "word".
    """
    folder = write_tiny_checkpoint(
        tmp_path_factory.mktemp("chat") / "chat", vocab_size=408, bos_token_id=END, eos_token_id=STOP
    )
    (folder / "tokenizer.json").unlink()
    write(
        folder,
        added_tokens={"<|im_start|>": START, "word": WORD, "<|im_end|>": STOP},
        special_tokens_map={"eos_token": "<|im_end|>", "pad_token": "<|im_start|>"},
        tokenizer_config={"tokenizer_class": "GPT2Tokenizer"},
    )
    tensors = load_file(folder / "model.safetensors")
    for row in (END, WORD):
        tensors["transformer.wte.weight"][row] *= 6
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder


def write(folder, **files):
    for name, value in files.items():
        (folder / f"{name}.json").write_text(json.dumps(value))
    return folder


def plan_of(folder, tmp_path, **options):
    return plan_build(BuildOptions(str(folder), tmp_path / "out", **options))


def test_a_chat_tuned_checkpoint(chat, tmp_path):
    plan = plan_of(chat, tmp_path)
    assert (plan.start_token, plan.stop_tokens) == ("<|endoftext|>", ("<|im_end|>",))
    assert (plan.start_id, plan.stop_ids) == (END, {STOP}) and plan.notes == ()
    assert plan.vocabulary.added_words == ("word",) and len(plan.vocabulary) == 403


@pytest.mark.parametrize("parse_special", [None, False])
def test_both_containers_read_and_write_it_as_transformers_does(chat, tmp_path, parse_special):
    output = tmp_path / "out"
    manifest = build(BuildOptions(str(chat), output, recipe="fp32", parse_special=parse_special))
    assert manifest["tokenizer"]["parse_special"] is (parse_special is None)
    tokenizer = AutoTokenizer.from_pretrained(chat, local_files_only=True)
    alias_of = manifest["tokenizer"]["alias_of"]
    prompts = ("<|im_start|>user\n\n<|im_end|>\n<|endoftext|>'s word", "passwords <|im_start|> <|im_start|>")
    for name in ("out.task", "out.litertlm"):
        with open_engine(output / name, max_tokens=96) as engine:
            for prompt in prompts:
                ids = [id_ if id_ < 403 else alias_of[id_ - 403] for id_ in engine.tokenize(prompt)]
                assert ids == tokenizer(prompt, split_special_tokens=parse_special is False).input_ids
    gate = next(gate for gate in manifest["verification"] if gate["name"] == "LiteRT-LM, .task: greedy text")
    written = "".join(text for _, text in gate["figures"]["completions"])
    assert "<|endoftext|>" in written or "word" in written
    sentence = verify_bundle(output / "out.litertlm", str(chat), VerifyOptions(engines=()))[0].found
    assert ("are text" in sentence) is (parse_special is False)


def test_a_space_before_the_text_in_both_containers(tmp_path):
    """The gates of the build hold the engine's ids and text against PyTorch's; here they are transformers' own."""
    folder = write_tiny_checkpoint(tmp_path / "model", vocab_size=408)
    contractions = "it's don't we're I've I'm we'll he'd 's 't 're 've 'm 'll 'd\n\n x" * 30
    save_vocabulary(train_vocabulary([verification_text(), *[contractions] * 9], VOCABULARY), folder)
    (folder / "tokenizer.json").unlink(missing_ok=True)
    write(
        folder,
        added_tokens={"<|im_start|>": START, "word": WORD},
        tokenizer_config={"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": True},
    )
    manifest = build(BuildOptions(str(folder), tmp_path / "out", recipe="fp32"))
    tokenizer, alias_of = AutoTokenizer.from_pretrained(folder), manifest["tokenizer"]["alias_of"]
    prompts = ("'tis <|im_start|>user\n\nit's<|im_start|> a word's", " one", "\n\none", "<|im_start|><|im_start|>x")
    for name in ("out.task", "out.litertlm"):
        with open_engine(tmp_path / "out" / name, max_tokens=96) as engine:
            for prompt in prompts:
                ids = [id_ if id_ < 402 else alias_of[id_ - 402] for id_ in engine.tokenize(prompt)]
                assert ids == tokenizer(prompt).input_ids, prompt
        gate = next(gate for gate in manifest["verification"] if gate["name"] == f"LiteRT-LM, .{name[4:]}: greedy text")
        assert gate["figures"]["equal"] == gate["figures"]["prompts"] == 3


def named(tmp_path, vocabulary=VOCABULARY, generation=None, **fields):
    folder = write_tiny_checkpoint(
        tmp_path / "model", vocab_size=vocabulary, **{"bos_token_id": END, "eos_token_id": END, **fields}
    )
    (folder / "generation_config.json").unlink(missing_ok=True)
    return write(folder, generation_config=generation) if generation else folder


@pytest.mark.parametrize(
    "fields, message",
    [
        (
            dict(vocabulary=404, eos_token_id=402),
            "eos_token_id is 402, but the vocabulary has 400 tokens.*give `stop_tokens`",
        ),
        (dict(generation={"eos_token_id": [END, 50256]}), "eos_token_id is 50256, but the vocabulary has 400 tokens"),
        (dict(vocabulary=404, bos_token_id=401), "bos_token_id is 401.*give `start_token`"),
        (dict(eos_token_id=-1), "eos_token_id is -1"),
        (dict(eos_token_id=150), r"eos_token_id is 150, the bytes b'.x..'; expected a token that text can name"),
    ],
)
def test_a_stop_token_that_cannot_be_is_refused(tmp_path, fields, message):
    with pytest.raises(BundleError, match=message):
        plan_of(named(tmp_path, **fields), tmp_path)


def test_options_take_the_place_of_what_cannot_be(tmp_path):
    plan = plan_of(
        named(tmp_path, vocabulary=404, bos_token_id=401, eos_token_id=402),
        tmp_path,
        start_token="<|endoftext|>",
        stop_tokens=("\n",),
    )
    assert (plan.start_token, plan.stop_tokens) == ("<|endoftext|>", ("\n",))


def test_gpt2s_own_ids_of_a_small_vocabulary_are_replaced_and_said(tmp_path):
    plan = plan_of(named(tmp_path, bos_token_id=50256, eos_token_id=50256), tmp_path)
    assert (plan.start_token, plan.stop_tokens) == ("<|endoftext|>", ("<|endoftext|>",))
    assert [note.split()[0] for note in plan.notes] == ["bos_token_id", "eos_token_id"] and "50256" in plan.notes[1]


def test_all_stop_tokens_are_taken(chat, tmp_path):
    write(chat, generation_config={"eos_token_id": [STOP, END, 10]})
    plan = plan_of(chat, tmp_path)
    (chat / "generation_config.json").unlink()
    assert plan.stop_ids == {STOP, END, 10}


def test_an_end_token_that_does_not_stop_is_said(tmp_path):
    folder = write(
        named(tmp_path, vocabulary=404),
        added_tokens={"<|im_end|>": VOCABULARY},
        special_tokens_map={"eos_token": "<|im_end|>"},
    )
    plan = plan_of(folder, tmp_path)
    assert plan.stop_tokens == ("<|endoftext|>",)
    assert "'<|im_end|>' is not among" in plan.notes[0] and "--stop-token '<|im_end|>'" in plan.notes[0]


def test_a_tokenizer_that_begins_texts_names_the_start_token(tmp_path):
    folder = named(tmp_path, vocabulary=404, bos_token_id=10)
    (folder / "tokenizer.json").unlink()
    write(
        folder,
        added_tokens={"<s>": VOCABULARY},
        special_tokens_map={"bos_token": "<s>"},
        tokenizer_config={"add_bos_token": True},
    )
    plan = plan_of(folder, tmp_path)
    assert plan.start_token == "<s>" and plan.vocabulary.starts_with == VOCABULARY


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"add_prefix_space": True}, "puts a space before the text .add_prefix_space"),
        ({"add_eos_token": True}, "post-processor TemplateProcessing adds tokens around the text"),
    ],
)
def test_what_a_task_cannot_do_is_refused_before_the_work(tmp_path, settings, message):
    folder = named(tmp_path)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(BundleError, match=message):
        plan_of(write(folder, tokenizer_config=settings), tmp_path)


def test_tokens_without_a_row_are_refused(tmp_path):
    folder = write(named(tmp_path), added_tokens={"[PAD]": VOCABULARY})
    with pytest.raises(
        BundleError, match="401 tokens, as transformers reads it, but the embedding of model has 400 rows"
    ):
        plan_of(folder, tmp_path)
