"""The error of this package."""


class TokenizerError(Exception):
    """A vocabulary or tokenizer file is unusable; the message says what was found, expected, and what to do."""
