"""Reads a byte-level BPE vocabulary from its files, and checks it before anything is built from it.

The vocabulary itself, and the reference tokenizer made from it, are in vocabulary.py; they can be imported from here.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Iterable

from tokenizer_tools.auto_tokenizer import (
    OTHER_PIECES_FILES,
    PIECES_FILE,
    TOKENIZER_FILES,
    AutoTokenizer,
    load_auto_tokenizer,
)
from tokenizer_tools.deviations import deviations, leftovers, puts_prefix_space, start_of_text
from tokenizer_tools.errors import TokenizerError, brief
from tokenizer_tools.piece_vocabulary import CLASSES, read_pieces
from tokenizer_tools.prefix_space import lacking_tokens
from tokenizer_tools.vocabulary import (
    BYTE_SYMBOLS,
    SYMBOL_BYTES,
    BytePairVocabulary,
    reference_tokenizer,
    tokenizer_json,
)

__all__ = ["BytePairVocabulary", "read_vocabulary", "read_vocabulary_files", "reference_tokenizer", "tokenizer_json"]

_OPENAI = ("encoder.json", "vocab.bpe")
_TOKENIZER_JSON = "tokenizer.json"

# The limits leave room for any vocabulary in use (GPT-2 has 50,257 tokens of at most 128 bytes in 1.4 MB, the largest
# of other models 262,144) and keep what is computed for each token to seconds.
_LARGEST_FILE = 24 << 20
_MOST_TOKENS = 1 << 18
_LONGEST_TOKEN = 1024
# Merging a token's own bytes takes as many steps as it has bytes, and each looks at all of them. GPT-2: 3 million.
_MOST_WORK = 40_000_000


def read_vocabulary(path: str | Path, parse_special: bool | None = None) -> BytePairVocabulary:
    """Read a folder (as transformers' AutoTokenizer does, or OpenAI's encoder.json + vocab.bpe) or a single
    tokenizer.json.

    `parse_special`: whether special tokens typed in a text become these tokens; None follows the files, which nearly
    always say so. Raises TokenizerError, naming the file and the line or key, when it is missing, malformed or
    inconsistent.
    """
    path = Path(path)
    if path.is_dir():
        if all((path / name).is_file() for name in _OPENAI) and not any(
            (path / name).is_file() for name in TOKENIZER_FILES
        ):
            return replace(
                read_vocabulary_files(*(path / name for name in _OPENAI)), parse_special=parse_special is not False
            )
        return _from_folder(path, parse_special)
    document = _tokenizer_json_document(path)
    vocabulary = _from_document(AutoTokenizer(document, None, None, True), path, path, parse_special)
    if vocabulary.deviations:
        reference_tokenizer(vocabulary)  # the tokenizers library takes this file as it is, so it has to be sound
    return vocabulary


def read_vocabulary_files(vocab: str | Path, merges: str | Path) -> BytePairVocabulary:
    """Read the two files of GPT-2's own format. Tokens that no merge makes are taken for special tokens.

    Raises TokenizerError as `read_vocabulary` does.
    """
    vocab, merges = Path(vocab), Path(merges)
    ids, pairs = _vocab_ids(vocab), _parse_merges(_read_text(merges), merges)
    tokens = _tokens_in_id_order(ids, vocab)
    _check_merges(ids, pairs, vocab, merges)
    return BytePairVocabulary(tokens, tuple(pairs), _unmade(tokens, pairs, (), merges))


def _from_folder(folder: Path, parse_special: bool | None) -> BytePairVocabulary:
    names = [name for name in (*TOKENIZER_FILES, "config.json") if name.endswith(".json") and (folder / name).is_file()]
    vocab, merges, fast = folder / "vocab.json", folder / "merges.txt", folder / _TOKENIZER_JSON
    # Without a config the folder is no checkpoint: a build's own tokenizer.model lies in its output.
    candidates = (PIECES_FILE, *(OTHER_PIECES_FILES if names else ()))
    if pieces := next((name for name in candidates if (folder / name).is_file()), None):
        files = {name: _parse_object(folder / name) for name in names if name != "vocab.json"}
        alone = not fast.is_file() and not (vocab.is_file() and merges.is_file())
        if alone or files.get("tokenizer_config.json", {}).get("tokenizer_class") in CLASSES:
            return _own_pieces(folder / pieces, files, parse_special)
    # What is wrong inside a file is said here, by line or key; transformers would say less.
    if fast.is_file():
        files = {
            name: _tokenizer_json_document(fast) if name == _TOKENIZER_JSON else _parse_object(folder / name)
            for name in names
            if name != "vocab.json"
        }
        model = files[_TOKENIZER_JSON]["model"]
        _check_limits(model["vocab"], fast)
        _check_merges(model["vocab"], _merge_pairs(model, fast), fast, fast)
        _deviations(files[_TOKENIZER_JSON], [], fast)
        vocab = merges = fast
    elif vocab.is_file() and merges.is_file():
        files = {name: _parse_object(folder / name) for name in names if name != "vocab.json"}
        ids = _vocab_ids(vocab)
        _tokens_in_id_order(ids, vocab)
        _check_merges(ids, _parse_merges(_read_text(merges), merges), vocab, merges)
    else:
        raise TokenizerError(
            f"{folder}: no tokenizer.json, no vocab.json with merges.txt, and no encoder.json with "
            "vocab.bpe; give the folder of a GPT-2 checkpoint"
        )
    return _from_document(load_auto_tokenizer(folder, files), vocab, merges, parse_special)


def _own_pieces(path: Path, files: dict[str, dict[str, Any]], parse_special: bool | None) -> BytePairVocabulary:
    if parse_special:
        raise TokenizerError(
            f"{path}: a SentencePiece model cuts no special tokens out of a text; leave `parse_special` out"
        )
    return read_pieces(path, files)


def _from_document(made: AutoTokenizer, vocab: Path, merges: Path, parse_special: bool | None) -> BytePairVocabulary:
    """The vocabulary that the tokenizer.json `made.document` describes; `vocab` and `merges` are the files to name in
    an error.
    """
    document = made.document
    parse_special = made.parse_special if parse_special is None else parse_special
    ids, pairs = dict(document["model"]["vocab"]), _merge_pairs(document["model"], merges)
    added = document.get("added_tokens") or []
    if not isinstance(added, list):
        raise TokenizerError(f"{vocab}: added_tokens is {brief(added)}; expected a list")
    for index, token in enumerate(added):
        if not isinstance(token, dict) or not isinstance(token.get("content"), str):
            raise TokenizerError(f'{vocab}: added_tokens[{index}] has no "content"')
        content, number = token["content"], token.get("id")
        if ids.setdefault(content, number) != number:
            raise TokenizerError(
                f"{vocab}: added_tokens[{index}] {brief(content)} has id {brief(number)}, but "
                f"{brief(ids[content])} in model.vocab"
            )
    tokens = _tokens_in_id_order(ids, vocab)
    _check_merges(ids, pairs, vocab, merges)
    special, words = (
        {token["content"] for token in added if bool(token.get("special")) is kind} for kind in (True, False)
    )
    in_order = lambda chosen: tuple(token for token in tokens if token in chosen)  # noqa: E731
    typed = [token for token in added if parse_special or not token.get("special")]
    deviating, notes, start = (
        tuple(_deviations(document, typed, vocab)),
        tuple(leftovers(document, vocab)),
        start_of_text(document),
    )
    raw = {
        **document,
        "truncation": None,
        "padding": None,
        "post_processor": None if start is not None else document.get("post_processor"),
    }
    vocabulary = BytePairVocabulary(
        tokens,
        tuple(pairs),
        in_order(special),
        deviating,
        json.dumps(raw, ensure_ascii=False, separators=(",", ":")).encode(),
        added_words=in_order(words),
        unmade_tokens=_unmade(tokens, pairs, special | words, merges),
        parse_special=parse_special,
        bos=made.bos,
        eos=made.eos,
        starts_with=start,
        prefix_space=puts_prefix_space(document),
        notes=notes,
    )
    lacking = lacking_tokens(vocabulary) if vocabulary.prefix_space else None
    return replace(vocabulary, deviations=(*deviating, lacking)) if lacking else vocabulary


def _deviations(document: dict[str, Any], typed: list[dict[str, Any]], path: Path) -> list[str]:
    try:
        return deviations(document, typed)
    except TokenizerError as error:
        raise TokenizerError(f"{path}: {error}") from None


def _tokenizer_json_document(path: Path) -> dict[str, Any]:
    """A tokenizer.json, as far as checked as to be a BPE vocabulary with merges."""
    document = _parse_json(_read_text(path), path)
    if not isinstance(document, dict) or not isinstance(document.get("model"), dict):
        raise TokenizerError(
            f'{path}: no "model" object; expected a Hugging Face tokenizer.json. '
            "Give vocab.json and merges.txt together, as `vocab` and `merges`"
        )
    model = document["model"]
    if model.get("type", "BPE") != "BPE":
        raise TokenizerError(f"{path}: the model is of type {brief(model.get('type'))}; expected BPE")
    if not isinstance(model.get("vocab"), dict) or not isinstance(model.get("merges"), list):
        raise TokenizerError(f"{path}: model.vocab must be an object and model.merges a list")
    return document


def _merge_pairs(model: dict[str, Any], path: Path) -> list[tuple[str, str]]:
    pairs = []
    for index, merge in enumerate(model["merges"]):
        pair = merge.split(" ") if isinstance(merge, str) else merge
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(part, str) for part in pair):
            raise TokenizerError(f"{path}: model.merges[{index}] is {brief(merge)}; expected two tokens")
        pairs.append((pair[0], pair[1]))
    return pairs


def _vocab_ids(path: Path) -> dict[str, Any]:
    ids = _parse_json(_read_text(path), path)
    if not isinstance(ids, dict):
        raise TokenizerError(f"{path}: holds a {type(ids).__name__}; expected one object from token to id")
    return ids


def _check_merges(ids: dict[str, Any], merges: list[tuple[str, str]], vocab: Path, merge_file: Path) -> None:
    """Raise TokenizerError unless there is a token for every byte and the merges belong to the tokens."""
    missing = [byte for byte, symbol in enumerate(BYTE_SYMBOLS) if symbol not in ids]
    if missing:
        raise TokenizerError(
            f"{vocab}: no token for {len(missing)} of the 256 bytes, the first is {missing[0]:#04x} "
            f"({BYTE_SYMBOLS[missing[0]]!r}); a byte-level vocabulary has all of them"
        )
    for number, pair in enumerate(merges, start=1):
        unknown = next((token for token in (*pair, "".join(pair)) if token not in ids), None)
        if unknown is not None:
            raise TokenizerError(
                f"{merge_file}: merge {number} ({brief(pair[0])} with {brief(pair[1])}) names {brief(unknown)}, which "
                "is not in the vocabulary; the two files do not belong together, or one is cut short"
            )
        foreign = next((symbol for token in pair for symbol in token if symbol not in SYMBOL_BYTES), None)
        if foreign is not None:
            raise TokenizerError(
                f"{merge_file}: merge {number} ({brief(pair[0])} with {brief(pair[1])}) holds {foreign!r}, which is "
                "not in GPT-2's byte alphabet; only byte-level BPE can be rebuilt"
            )
    if len(set(merges)) != len(merges):
        raise TokenizerError(f"{merge_file}: {len(merges) - len(set(merges))} merge(s) are listed twice")


def _unmade(
    tokens: tuple[str, ...], merges: list[tuple[str, str]], added: Iterable[str], merge_file: Path
) -> tuple[str, ...]:
    """The tokens that no merge makes and that are not `added`. Raises TokenizerError if one of them looks like an
    ordinary one.
    """
    made, added = {"".join(pair) for pair in merges}, set(added)
    unmade = [
        index
        for index, token in enumerate(tokens)
        if token not in made and token not in SYMBOL_BYTES and token not in added
    ]
    # A file cut short loses its last merges; their tokens then look as if nothing made them.
    ordinary = [
        index
        for index in unmade
        if all(symbol in SYMBOL_BYTES for symbol in tokens[index]) and not _looks_special(tokens[index])
    ]
    if ordinary and not merges:
        raise TokenizerError(
            f"{merge_file}: holds no merges, but there are {len(ordinary)} tokens that merges would make, such as "
            f"{brief(tokens[ordinary[0]])}; the file is empty or cut short, or this is a vocabulary of words, which is "
            "no byte-level BPE"
        )
    if ordinary:
        raise TokenizerError(
            f"{merge_file}: no merge makes {len(ordinary)} of the tokens, the first is {brief(tokens[ordinary[0]])} "
            f"(id {ordinary[0]}); the file is cut short or belongs to another vocabulary. If the tokens were added "
            "later, give a tokenizer.json that has them among its added_tokens"
        )
    return tuple(tokens[index] for index in unmade)


def _looks_special(token: str) -> bool:
    return (token[0], token[-1]) in (("<", ">"), ("[", "]"))


def _check_limits(ids: dict[str, Any], vocab: Path) -> None:
    """Raise TokenizerError for a vocabulary that would take minutes, here or in an engine."""
    if len(ids) > _MOST_TOKENS:
        raise TokenizerError(
            f"{vocab}: {len(ids):,} tokens, where {_MOST_TOKENS:,} are the limit: no model in use has more. Give "
            "GPT-2's vocabulary"
        )
    longest = max(ids, key=len, default="")
    if len(longest) > _LONGEST_TOKEN:
        raise TokenizerError(
            f"{vocab}: a token of {len(longest):,} bytes ({brief(longest[:40])}…), where {_LONGEST_TOKEN:,} are the "
            "limit: GPT-2's longest has 128. Give the vocabulary the model was trained with"
        )
    if (work := sum(len(token) ** 2 for token in ids)) > _MOST_WORK:
        raise TokenizerError(
            f"{vocab}: its tokens take {work:,} steps to merge (the squares of their lengths), where {_MOST_WORK:,} "
            "are the limit: GPT-2's take 3 million. Give the vocabulary the model was trained with"
        )


def _tokens_in_id_order(ids: dict[str, Any], vocab: Path) -> tuple[str, ...]:
    _check_limits(ids, vocab)
    by_id: dict[int, str] = {}
    for token, index in ids.items():
        if not isinstance(index, int) or isinstance(index, bool) or index < 0:
            raise TokenizerError(f"{vocab}: token {brief(token)} has id {brief(index)}; expected a number from 0 up")
        if not token:
            raise TokenizerError(f"{vocab}: id {brief(index)} is an empty token")
        if any("\ud800" <= character <= "\udfff" for character in token):
            raise TokenizerError(
                f"{vocab}: token {brief(token)} holds half a surrogate pair, which is no text; fetch the file again"
            )
        if index in by_id:
            raise TokenizerError(f"{vocab}: id {brief(index)} belongs to both {brief(by_id[index])} and {brief(token)}")
        by_id[index] = token
    gap = next((index for index in range(len(by_id)) if index not in by_id), None)
    if gap is not None:
        raise TokenizerError(
            f"{vocab}: no token has id {gap}, but ids go up to {brief(max(by_id))}; expected 0 to "
            f"{len(by_id) - 1} without gaps"
        )
    return tuple(by_id[index] for index in range(len(by_id)))


def _parse_merges(text: str, path: Path) -> list[tuple[str, str]]:
    merges = []
    for number, line in enumerate(text.split("\n"), start=1):
        line = line.removesuffix("\r")
        if not line or (number == 1 and line.startswith("#version")):
            continue
        pair = line.split(" ")
        if len(pair) != 2 or not all(pair):
            raise TokenizerError(f"{path}: line {number} is {line[:80]!r}; expected two tokens with a space between")
        merges.append((pair[0], pair[1]))
    return merges


def _parse_json(text: str, path: Path, unique_keys: bool = True) -> Any:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        document = dict(pairs)
        if len(document) != len(pairs):
            seen: set[str] = set()
            twice = next(key for key, _ in pairs if key in seen or seen.add(key))
            raise TokenizerError(f"{path}: the key {twice[:80]!r} stands in one object twice")
        return document

    try:
        return json.loads(text, object_pairs_hook=unique if unique_keys else None)
    except json.JSONDecodeError as error:
        raise TokenizerError(
            f"{path}: not JSON: {error.msg} in line {error.lineno}, column {error.colno}; "
            "the file may be cut short, fetch it again"
        ) from error
    except ValueError as error:  # a number of thousands of digits
        raise TokenizerError(f"{path}: not JSON that can be read: {str(error)[:200]}; fetch the file again") from error
    except RecursionError as error:
        raise TokenizerError(f"{path}: nested too deeply for a vocabulary") from error


def _parse_object(path: Path) -> dict[str, Any]:
    value = _parse_json(_read_text(path), path, unique_keys=False)  # of settings the last counts, as for transformers
    if not isinstance(value, dict):
        raise TokenizerError(f"{path}: holds a {type(value).__name__}; expected one object")
    return value


def _read_text(path: Path) -> str:
    if not path.is_file():
        raise TokenizerError(f"{path}: no such file")
    size = path.stat().st_size
    if size > _LARGEST_FILE:
        raise TokenizerError(
            f"{path}: {size / 1e6:.0f} MB; a vocabulary is never larger than {_LARGEST_FILE / 1e6:.0f} MB, "
            "so this is another file"
        )
    try:
        return path.read_bytes().decode()
    except OSError as error:
        raise TokenizerError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error
    except UnicodeDecodeError as error:
        raise TokenizerError(
            f"{path}: not UTF-8: byte {error.object[error.start]:#04x} at offset {error.start}; expected JSON or text: "
            "tokenizer.json, vocab.json or merges.txt"
        ) from error
