"""What transformers makes of a folder's tokenizer files, without running anything that the folder brings.

Several files can speak of one tokenizer, and which one counts depends on the others and on the version of transformers.
So its own AutoTokenizer is asked, and what it made is read back as the one document that says everything, a
tokenizer.json.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterator, Mapping

from tokenizer_tools.errors import TokenizerError, brief

PIECES_FILE = "spiece.model"  # T5Tokenizer's SentencePiece model; see piece_vocabulary.py
# What the models of transformers' other classes are called.
OTHER_PIECES_FILES = ("tokenizer.model", "sentencepiece.bpe.model", "spm.model")
# Every file that has a say in the ids, beside config.json.
TOKENIZER_FILES = (
    "vocab.json",
    "merges.txt",
    "tokenizer.json",
    "added_tokens.json",
    "special_tokens_map.json",
    "tokenizer_config.json",
    PIECES_FILE,
)

# The classes that are GPT-2's tokenizer, or take tokenizer.json as it is. Any other would run other code of
# transformers.
_CLASSES = ("GPT2Tokenizer", "GPT2TokenizerFast", "PreTrainedTokenizerFast", "TokenizersBackend")
# Arguments of tokenizers that tokenizer_config.json could set too, to have other files read or other objects taken.
_ARGUMENTS = (
    "fast_tokenizer_files",
    "fix_mistral_regex",
    "gguf_file",
    "init_inputs",
    "merges",
    "post_processor",
    "tokenizer_object",
    "tokenizer_padding",
    "tokenizer_truncation",
    "vocab",
)


@dataclass(frozen=True)
class AutoTokenizer:
    """`document`: the tokenizer as a tokenizer.json. `bos` and `eos`: the ids of the tokens it calls so.

    `parse_special`: whether special tokens typed in a text become these tokens, which split_special_tokens turns off.
    """

    document: dict[str, Any]
    bos: int | None
    eos: int | None
    parse_special: bool


def load_auto_tokenizer(
    folder: Path, files: Mapping[str, dict[str, Any]], classes: tuple[str, ...] = _CLASSES
) -> AutoTokenizer:
    """transformers' AutoTokenizer of `folder`: no network, no code but transformers' own, and that of `classes` alone.
    `files`: the folder's JSON files, by name.

    Raises TokenizerError when it refuses the files, makes a tokenizer of another kind, or gives an added token another
    id than a file says.
    """
    _check_settings(folder, files, classes)
    stated = [*_stated_ids(folder, files)]
    with _silence():
        from transformers import AutoTokenizer as Auto
        from transformers import GPT2Config

        try:
            # A folder of tokenizer files alone does not say that they are GPT-2's.
            extra = {} if "config.json" in files else {"config": GPT2Config()}
            tokenizer = Auto.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False, **extra)
            document = json.loads(tokenizer.backend_tokenizer.to_str())
        except Exception as error:
            raise TokenizerError(
                f"{folder}: transformers cannot load its tokenizer: {_one_line(error)}. Correct the files, or save "
                "them again with save_pretrained"
            ) from error
        except BaseException as error:  # a panic of the tokenizers library is no Exception
            if type(error).__name__ != "PanicException":
                raise
            raise TokenizerError(
                f"{folder}: the tokenizers library breaks on its tokenizer: {_one_line(error)}. The files are damaged, "
                "fetch them again"
            ) from error
    if (kind := type(tokenizer).__name__) not in classes:
        raise TokenizerError(f"{folder}: transformers makes a {kind} of it; expected GPT-2's tokenizer")
    own = document["model"]["vocab"]
    ids = own if isinstance(own, dict) else {piece: index for index, (piece, _) in enumerate(own)}
    ids |= {token["content"]: token["id"] for token in document["added_tokens"]}
    for file, content, number in stated:
        if ids.get(content) != number:
            made = f"gives it {ids[content]}" if content in ids else "leaves it out"
            raise TokenizerError(
                f"{folder / file}: {brief(content)} has id {number}, but transformers {_version()} {made}; expected "
                "ids that follow the vocabulary's without a gap. Add the tokens that are missing, or correct the ids"
            )
    return AutoTokenizer(document, tokenizer.bos_token_id, tokenizer.eos_token_id, not tokenizer.split_special_tokens)


def _check_settings(folder: Path, files: Mapping[str, dict[str, Any]], classes: tuple[str, ...]) -> None:
    """Raise TokenizerError for settings that would make transformers run another tokenizer than GPT-2's, or read other
    files.
    """
    kind = files.get("config.json", {}).get("model_type", "gpt2")
    if kind != "gpt2":
        raise TokenizerError(
            f"{folder / 'config.json'}: model_type is {kind!r}; expected gpt2. If the tokenizer is GPT-2's all the "
            "same, give its files in a folder without a config.json"
        )
    for file in ("tokenizer_config.json", "config.json"):
        name = files.get(file, {}).get("tokenizer_class")
        if name is not None and name not in classes:
            raise TokenizerError(
                f"{folder / file}: tokenizer_class is {name!r}; expected one of {', '.join(classes)}, because only "
                "GPT-2's byte-level BPE can be rebuilt. Give the tokenizer the model was trained with, if this is not "
                "it"
            )
    settings = files.get("tokenizer_config.json", {})
    if refused := [name for name in _ARGUMENTS if settings.get(name) is not None]:
        raise TokenizerError(
            f"{folder / 'tokenizer_config.json'}: sets {', '.join(refused)}; expected a tokenizer that its own files "
            "describe. Remove the setting"
        )


def _stated_ids(folder: Path, files: Mapping[str, dict[str, Any]]) -> Iterator[tuple[str, str, int]]:
    """Every (file, text, id) of an added token that a file names. Raises TokenizerError for what is none."""
    for content, number in files.get("added_tokens.json", {}).items():
        yield "added_tokens.json", content, _id(folder / "added_tokens.json", content, number)
    decoder = files.get("tokenizer_config.json", {}).get("added_tokens_decoder") or {}
    if not isinstance(decoder, dict):
        raise TokenizerError(
            f"{folder / 'tokenizer_config.json'}: added_tokens_decoder is {brief(decoder)}; expected an object from id "
            "to token"
        )
    for number, token in decoder.items():
        content = _content(folder / "tokenizer_config.json", token)
        number = int(number) if number.isascii() and number.isdecimal() and len(number) < 20 else number
        yield "tokenizer_config.json", content, _id(folder / "tokenizer_config.json", content, number)
    added = files.get("tokenizer.json", {}).get("added_tokens") or []
    if not isinstance(added, list):
        raise TokenizerError(f"{folder / 'tokenizer.json'}: added_tokens is {brief(added)}; expected a list")
    for token in added:
        content = _content(folder / "tokenizer.json", token)
        yield "tokenizer.json", content, _id(folder / "tokenizer.json", content, token.get("id"))


def _content(path: Path, token: Any) -> str:
    if not isinstance(token, dict) or not isinstance(token.get("content"), str):
        raise TokenizerError(f'{path}: one of its added_tokens has no "content"; expected text and id of every token')
    return token["content"]


def _id(path: Path, content: str, number: Any) -> int:
    if type(number) is not int:
        raise TokenizerError(
            f"{path}: {brief(content)} has id {brief(number)}; expected a number. Save the tokenizer again"
        )
    return number


def _version() -> str:
    import transformers

    return transformers.__version__


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """transformers without its warnings."""
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")  # of what a tokenizer does without: PyTorch
    from transformers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
