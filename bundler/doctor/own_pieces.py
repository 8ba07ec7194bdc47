"""The SentencePiece model that a checkpoint brings, looked at before its library gets it."""

from __future__ import annotations

from pathlib import Path

from bundler.doctor.report import Finding
from bundler.doctor.sentencepiece_file import LIMIT, read_sentencepiece
from bundler.errors import BundleError
from tokenizer_tools.auto_tokenizer import PIECES_FILE


def check_own_pieces(folder: Path) -> None:
    """Raise BundleError if the folder's SentencePiece model, if there is one, is none that the library would load."""
    path = folder / PIECES_FILE
    if not path.is_file():
        return
    with open(path, "rb") as file:
        facts = read_sentencepiece(file.read(LIMIT + 1))
    findings = [facts] if isinstance(facts, Finding) else facts.findings
    if defect := next((finding for finding in findings if finding.code == "tokenizer-unreadable"), None):
        raise BundleError(f"{path} is no sound SentencePiece model: {defect.found}. Fetch it again")
