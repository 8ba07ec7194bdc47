"""A SentencePiece model that a checkpoint was trained with: it goes into a bundle as it is, if transformers reads the
same ids with it.

Of the classes that transformers 5.23 has for such models, T5Tokenizer alone does (rinna's Japanese GPT-2s have it). It
differs in two things, which are put right in the reference: what is unknown is id 2 for it, whatever the model says,
and the names of special tokens are cut out of a text, which no SentencePiece model does.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Mapping

from tokenizer_tools.auto_tokenizer import PIECES_FILE, load_auto_tokenizer
from tokenizer_tools.errors import TokenizerError, brief
from tokenizer_tools.vocabulary import BytePairVocabulary

if TYPE_CHECKING:
    from sentencepiece import SentencePieceProcessor

CLASSES = ("T5Tokenizer", "T5TokenizerFast")
# What transformers' other classes do that a SentencePiece model by itself does not. Tried with transformers 5.23.0.
_DIFFERENCES = {
    "AlbertTokenizer": "rewrites quotation marks, accents and capitals before the model reads the text",
    "CamembertTokenizer": "gives the pieces other ids than the model has",
    "GemmaTokenizer": "puts no space before a text",
    "LlamaTokenizer": "puts no space before a text that begins with one",
    "XLMRobertaTokenizer": "gives the pieces other ids than the model has",
    "XLNetTokenizer": "rewrites quotation marks, accents and capitals before the model reads the text",
}
_LARGEST_FILE, _MOST_PIECES = 24 << 20, 1 << 18  # as of other vocabularies: vocabulary_files.py
_SPACE = "\u2581"  # SentencePiece's sign for a space
# Before the name of a piece that no text becomes: a private character, which no text has.
_UNREACHABLE = "\uf8ff"


@dataclass(frozen=True)
class PieceVocabulary(BytePairVocabulary):
    """The pieces of `model`, a serialized ModelProto, in the words of a vocabulary. `tokens` are the pieces."""

    model: bytes = field(default=b"", repr=False, compare=False)

    def id_of_text(self, text: str) -> int | None:
        return self.ids.get(text if text in self.special_tokens else text.replace(" ", _SPACE))

    def token_bytes(self, token_id: int) -> bytes:
        token = self.tokens[token_id]
        return (token if token in self.special_tokens else token.replace(_SPACE, " ")).encode()


def why_not(name: str | None) -> str:
    """Why the SentencePiece model of a checkpoint whose tokenizer_class is `name` cannot be bundled."""
    name = name and name.removesuffix("Fast")
    if name in _DIFFERENCES:
        return f"transformers' {name} {_DIFFERENCES[name]}, and an engine gives the model the text as it is"
    if name is None:
        return "without a tokenizer_class, transformers takes it for GPT-2's byte-level BPE"
    if name in CLASSES:
        return f"{name} looks for {PIECES_FILE}"
    return f"with tokenizer_class {brief(name)} it was not tried"


def read_pieces(path: Path, files: Mapping[str, dict[str, Any]]) -> PieceVocabulary:
    """The pieces of the SentencePiece model at `path`; its `tokenizer_json` is the reference. `files`: the JSON files
    of its folder, by name.

    Raises TokenizerError for one that transformers reads otherwise than SentencePiece does, as far as the files tell;
    the rest is seen where texts are compared.
    """
    folder = path.parent
    settings = files.get("tokenizer_config.json", {})
    name = settings.get("tokenizer_class") or files.get("config.json", {}).get("tokenizer_class")
    if name not in CLASSES or path.name != PIECES_FILE:
        raise TokenizerError(
            f"{path} is a SentencePiece model, and cannot be bundled: {why_not(name)}. Expected {PIECES_FILE} with "
            f"the tokenizer_class {CLASSES[0]}, or GPT-2's vocab.json and merges.txt"
        )
    model, pieces = _open(path)
    made = load_auto_tokenizer(folder, files, CLASSES)
    document = made.document
    tokens = tuple(pieces.id_to_piece(index) for index in range(len(pieces)))
    entries = document["model"].get("vocab")
    if document["model"].get("type") != "Unigram" or [entry[0] for entry in entries[: len(tokens)]] != [*tokens]:
        raise TokenizerError(
            f"{path}: transformers does not have its {len(tokens):,} pieces in their order; expected a unigram model "
            "that belongs to the other files. Fetch the folder again"
        )
    added = [token["content"] for token in document["added_tokens"] if token["id"] >= len(tokens)]
    if more := [*dict.fromkeys([*(piece for piece, _ in entries[len(tokens) :]), *added])]:
        raise TokenizerError(
            f"{folder}: {brief(more[0])} and {len(more) - 1} more tokens are added to the {len(tokens):,} pieces of "
            f"{PIECES_FILE}, which then lacks them; expected a model that has all. Set extra_ids to 0 in "
            "tokenizer_config.json, if the checkpoint has no rows for them"
        )
    special = [index for index in range(len(tokens)) if pieces.is_control(index) or pieces.is_unknown(index)]
    for index in special:
        entries[index] = [_UNREACHABLE + tokens[index], entries[index][1]]
    others = {"added_tokens": [], "post_processor": None, "truncation": None, "padding": None}
    return PieceVocabulary(
        tokens,
        (),
        tuple(tokens[index] for index in special),
        tokenizer_json=json.dumps(
            document | others | {"model": document["model"] | {"unk_id": pieces.unk_id()}}, ensure_ascii=False
        ).encode(),
        parse_special=False,
        bos=made.bos,
        eos=made.eos,
        notes=tuple(_notes(pieces, document, settings)),
        model=model,
    )


def _open(path: Path) -> tuple[bytes, SentencePieceProcessor]:
    from sentencepiece import SentencePieceProcessor

    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise RuntimeError(f"{path.stat().st_size:,} bytes, where {_LARGEST_FILE:,} are the limit")
        model = path.read_bytes()
        pieces = SentencePieceProcessor(model_proto=model)
        if len(pieces) > _MOST_PIECES:
            raise RuntimeError(f"{len(pieces):,} pieces, where {_MOST_PIECES:,} are the limit")
    except (OSError, RuntimeError) as error:
        raise TokenizerError(
            f"{path} cannot be read as a SentencePiece model ({' '.join(str(error).split())[:200]}); fetch it again"
        ) from None
    return model, pieces


def _notes(pieces: SentencePieceProcessor, document: dict[str, Any], settings: Mapping[str, Any]) -> list[str]:
    notes = [
        f"{PIECES_FILE} goes into the bundle as it is; special tokens typed in a prompt stay text, because a "
        "SentencePiece model cuts none out"
    ]
    if document["model"].get("unk_id") != pieces.unk_id():
        notes.append(
            f"unknown characters are {pieces.id_to_piece(pieces.unk_id())!r}, id {pieces.unk_id()}, as "
            f"{PIECES_FILE} says; transformers 5 takes id {document['model'].get('unk_id')} for any T5Tokenizer"
        )
    if settings.get("do_lower_case"):
        notes.append("do_lower_case is set, which transformers' T5Tokenizer passes over, and so does the bundle")
    return notes
