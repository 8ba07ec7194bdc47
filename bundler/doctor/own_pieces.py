"""A checkpoint's vocabulary; a SentencePiece model that it brings is looked at before its library gets it."""

from __future__ import annotations

from pathlib import Path

from bundler.doctor.report import Finding
from bundler.doctor.sentencepiece_file import LIMIT, read_sentencepiece
from bundler.errors import BundleError
from tokenizer_tools.auto_tokenizer import PIECES_FILE
from tokenizer_tools.vocabulary import BytePairVocabulary
from tokenizer_tools.vocabulary_files import read_vocabulary


def read_sound_vocabulary(path: str | Path, parse_special: bool | None = None) -> BytePairVocabulary:
    """A checkpoint's vocabulary, as `read_vocabulary` reads it. Raises BundleError where its SentencePiece model, if it
    has one, is none that the library would load, and TokenizerError as `read_vocabulary` does.
    """
    _check_own_pieces(Path(path))
    return read_vocabulary(path, parse_special)


def _check_own_pieces(folder: Path) -> None:
    path = folder / PIECES_FILE
    if not path.is_file():
        return
    with open(path, "rb") as file:
        facts = read_sentencepiece(file.read(LIMIT + 1))
    findings = [facts] if isinstance(facts, Finding) else facts.findings
    if defect := next((finding for finding in findings if finding.code == "tokenizer-unreadable"), None):
        raise BundleError(f"{path} is no sound SentencePiece model: {defect.found}. Fetch it again")
