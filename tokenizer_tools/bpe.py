"""Reads a byte-level BPE vocabulary from its files, and checks it before anything is built from it.

The vocabulary itself, and the reference tokenizer made from it, are in vocabulary.py; they can be imported from here.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizer_tools.deviations import deviations
from tokenizer_tools.errors import TokenizerError, brief
from tokenizer_tools.vocabulary import BYTE_SYMBOLS, SYMBOL_BYTES, BytePairVocabulary, reference_tokenizer, tokenizer_json

__all__ = ["BytePairVocabulary", "read_vocabulary", "read_vocabulary_files", "reference_tokenizer", "tokenizer_json"]

# (vocabulary, merges) as Hugging Face and as OpenAI name them.
_PAIRS = (("vocab.json", "merges.txt"), ("encoder.json", "vocab.bpe"))
_TOKENIZER_JSON = "tokenizer.json"

# The limits leave room for any vocabulary in use (GPT-2 has 50,257 tokens of at most 128 bytes in 1.4 MB, the largest
# of other models 262,144) and keep what is computed for each token to seconds.
_LARGEST_FILE = 24 << 20
_MOST_TOKENS = 1 << 18
_LONGEST_TOKEN = 1024
# Merging a token's own bytes takes as many steps as it has bytes, and each looks at all of them. GPT-2: 3 million.
_MOST_WORK = 40_000_000


def read_vocabulary(path: str | Path) -> BytePairVocabulary:
    """Read a folder (tokenizer.json, vocab.json + merges.txt, or OpenAI's encoder.json + vocab.bpe) or a tokenizer.json.

    In a folder that has both forms, tokenizer.json counts, as it does for transformers: it alone can say that
    the tokenizer follows other rules than GPT-2's. Raises TokenizerError, naming the file and the line or key, when it is missing, malformed or inconsistent.
    """
    path = Path(path)
    if path.is_dir():
        pair = next((names for names in _PAIRS if all((path / name).is_file() for name in names)), None)
        if not (path / _TOKENIZER_JSON).is_file():
            if pair is None:
                raise TokenizerError(f"{path}: no tokenizer.json, no vocab.json with merges.txt, and no encoder.json with "
                                     "vocab.bpe; give the folder of a GPT-2 checkpoint")
            return read_vocabulary_files(path / pair[0], path / pair[1])
        path = path / _TOKENIZER_JSON
    text = _read_text(path)
    document = _parse_json(text, path)
    if not isinstance(document, dict) or not isinstance(document.get("model"), dict):
        raise TokenizerError(f"{path}: no \"model\" object; expected a Hugging Face tokenizer.json. "
                             "Give vocab.json and merges.txt together, as --vocab and --merges")
    return _from_tokenizer_json(document, text.encode(), path)


def read_vocabulary_files(vocab: str | Path, merges: str | Path) -> BytePairVocabulary:
    """Read the two files of GPT-2's own format. Tokens that no merge makes are taken for special tokens.

    Raises TokenizerError as `read_vocabulary` does.
    """
    vocab, merges = Path(vocab), Path(merges)
    ids = _parse_json(_read_text(vocab), vocab)
    if not isinstance(ids, dict):
        raise TokenizerError(f"{vocab}: holds a {type(ids).__name__}; expected one object from token to id")
    return _checked(ids, _parse_merges(_read_text(merges), merges), None, vocab, merges)


def _from_tokenizer_json(document: dict, raw: bytes, path: Path) -> BytePairVocabulary:
    model = document["model"]
    if model.get("type", "BPE") != "BPE":
        raise TokenizerError(f"{path}: the model is of type {brief(model.get('type'))}; expected BPE")
    ids, merges = model.get("vocab"), model.get("merges")
    if not isinstance(ids, dict) or not isinstance(merges, list):
        raise TokenizerError(f"{path}: model.vocab must be an object and model.merges a list")
    pairs = []
    for index, merge in enumerate(merges):
        pair = merge.split(" ") if isinstance(merge, str) else merge
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(part, str) for part in pair):
            raise TokenizerError(f"{path}: model.merges[{index}] is {brief(merge)}; expected two tokens")
        pairs.append((pair[0], pair[1]))
    added = document.get("added_tokens") or []
    if not isinstance(added, list):
        raise TokenizerError(f"{path}: added_tokens is {brief(added)}; expected a list")
    ids = dict(ids)
    special = []
    for index, token in enumerate(added):
        if not isinstance(token, dict) or not isinstance(token.get("content"), str):
            raise TokenizerError(f"{path}: added_tokens[{index}] has no \"content\"")
        content, number = token["content"], token.get("id")
        if ids.setdefault(content, number) != number:
            raise TokenizerError(f"{path}: added_tokens[{index}] {brief(content)} has id {brief(number)}, but "
                                 f"{brief(ids[content])} in model.vocab")
        special.append(content)
    if document.get("truncation") or document.get("padding"):
        # How long a batch was in training; transformers sets both anew for every call.
        document = {**document, "truncation": None, "padding": None}
        raw = json.dumps(document, ensure_ascii=False).encode()
    try:
        deviating = tuple(deviations(document))
    except TokenizerError as error:
        raise TokenizerError(f"{path}: {error}") from None
    vocabulary = _checked(ids, pairs, special, path, path, deviating, raw)
    if deviating:
        reference_tokenizer(vocabulary)  # the tokenizers library takes this file as it is, so it has to be sound
    return vocabulary


def _checked(ids: dict[str, Any], merges: list[tuple[str, str]], special: list[str] | None, vocab: Path, merge_file: Path,
             deviating: tuple[str, ...] = (), raw: bytes | None = None) -> BytePairVocabulary:
    _check_limits(ids, vocab)
    tokens = _tokens_in_id_order(ids, vocab)
    missing = [byte for byte, symbol in enumerate(BYTE_SYMBOLS) if symbol not in ids]
    if missing:
        raise TokenizerError(f"{vocab}: no token for {len(missing)} of the 256 bytes, the first is {missing[0]:#04x} "
                             f"({BYTE_SYMBOLS[missing[0]]!r}); a byte-level vocabulary has all of them")
    made = set()
    for number, pair in enumerate(merges, start=1):
        unknown = next((token for token in (*pair, "".join(pair)) if token not in ids), None)
        if unknown is not None:
            raise TokenizerError(f"{merge_file}: merge {number} ({brief(pair[0])} with {brief(pair[1])}) names {brief(unknown)}, which "
                                 "is not in the vocabulary; the two files do not belong together, or one is cut short")
        foreign = next((symbol for token in pair for symbol in token if symbol not in SYMBOL_BYTES), None)
        if foreign is not None:
            raise TokenizerError(f"{merge_file}: merge {number} ({brief(pair[0])} with {brief(pair[1])}) holds {foreign!r}, which is "
                                 "not in GPT-2's byte alphabet; only byte-level BPE can be rebuilt")
        made.add("".join(pair))
    if len(set(merges)) != len(merges):
        raise TokenizerError(f"{merge_file}: {len(merges) - len(set(merges))} merge(s) are listed twice")
    unmade = [token for token in tokens if token not in made and token not in SYMBOL_BYTES]
    given = set(special or ())
    # A file cut short loses its last merges; their tokens then look as if nothing made them.
    ordinary = [token for token in unmade if token not in given and all(symbol in SYMBOL_BYTES for symbol in token)
                and not _looks_special(token)]
    if ordinary and not merges:
        raise TokenizerError(f"{merge_file}: holds no merges, but {vocab.name} {len(ordinary)} tokens that merges would make, such as "
                             f"{brief(ordinary[0])}; the file is empty or cut short, or this is a vocabulary of words, which is no byte-level BPE")
    if ordinary:
        raise TokenizerError(f"{merge_file}: no merge makes {len(ordinary)} of the tokens, the first is {brief(ordinary[0])} "
                             f"(id {ids[ordinary[0]]}); the file is cut short or belongs to another vocabulary. If the tokens were added "
                             "later, give a tokenizer.json that has them among its added_tokens")
    return BytePairVocabulary(tokens, tuple(merges), tuple(token for token in tokens if token in given or token in unmade),
                              deviating, raw)


def _check_limits(ids: dict[str, Any], vocab: Path) -> None:
    """Raise TokenizerError for a vocabulary that would take minutes, here or in an engine."""
    if len(ids) > _MOST_TOKENS:
        raise TokenizerError(f"{vocab}: {len(ids):,} tokens, where {_MOST_TOKENS:,} are the limit: no model in use has more. Give GPT-2's vocabulary")
    longest = max(ids, key=len, default="")
    if len(longest) > _LONGEST_TOKEN:
        raise TokenizerError(f"{vocab}: a token of {len(longest):,} bytes ({brief(longest[:40])}…), where {_LONGEST_TOKEN:,} are the limit: GPT-2's "
                             "longest has 128. Give the vocabulary the model was trained with")
    if (work := sum(len(token) ** 2 for token in ids)) > _MOST_WORK:
        raise TokenizerError(f"{vocab}: its tokens take {work:,} steps to merge (the squares of their lengths), where {_MOST_WORK:,} are the limit: "
                             "GPT-2's take 3 million. Give the vocabulary the model was trained with")


def _looks_special(token: str) -> bool:
    return (token[0], token[-1]) in (("<", ">"), ("[", "]"))


def _tokens_in_id_order(ids: dict[str, Any], vocab: Path) -> tuple[str, ...]:
    by_id: dict[int, str] = {}
    for token, index in ids.items():
        if not isinstance(index, int) or isinstance(index, bool) or index < 0:
            raise TokenizerError(f"{vocab}: token {brief(token)} has id {brief(index)}; expected a number from 0 up")
        if not token:
            raise TokenizerError(f"{vocab}: id {brief(index)} is an empty token")
        if any("\ud800" <= character <= "\udfff" for character in token):
            raise TokenizerError(f"{vocab}: token {brief(token)} holds half a surrogate pair, which is no text; fetch the file again")
        if index in by_id:
            raise TokenizerError(f"{vocab}: id {brief(index)} belongs to both {brief(by_id[index])} and {brief(token)}")
        by_id[index] = token
    gap = next((index for index in range(len(by_id)) if index not in by_id), None)
    if gap is not None:
        raise TokenizerError(f"{vocab}: no token has id {gap}, but ids go up to {brief(max(by_id))}; expected 0 to "
                             f"{len(by_id) - 1} without gaps")
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


def _parse_json(text: str, path: Path) -> Any:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            seen: set[str] = set()
            twice = next(key for key, _ in pairs if key in seen or seen.add(key))
            raise TokenizerError(f"{path}: the key {twice[:80]!r} stands in one object twice")
        return found

    try:
        return json.loads(text, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        raise TokenizerError(f"{path}: not JSON: {error.msg} in line {error.lineno}, column {error.colno}; "
                             "the file may be cut short, fetch it again") from error
    except ValueError as error:  # a number of thousands of digits
        raise TokenizerError(f"{path}: not JSON that can be read: {str(error)[:200]}; fetch the file again") from error
    except RecursionError as error:
        raise TokenizerError(f"{path}: nested too deeply for a vocabulary") from error


def _read_text(path: Path) -> str:
    if not path.is_file():
        raise TokenizerError(f"{path}: no such file")
    size = path.stat().st_size
    if size > _LARGEST_FILE:
        raise TokenizerError(f"{path}: {size / 1e6:.0f} MB; a vocabulary is never larger than {_LARGEST_FILE / 1e6:.0f} MB, "
                             "so this is another file")
    try:
        return path.read_bytes().decode()
    except OSError as error:
        raise TokenizerError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error
    except UnicodeDecodeError as error:
        raise TokenizerError(f"{path}: not UTF-8: byte {error.object[error.start]:#04x} at offset {error.start}") from error
