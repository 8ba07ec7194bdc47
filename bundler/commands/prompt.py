"""The text to be continued, from the command line or the standard input."""

from __future__ import annotations

import sys

from bundler.errors import BundleError


def read_prompt(given: str | None) -> str:
    """`given`, or what the standard input holds. Raises BundleError for what no engine can read."""
    if given is None:
        try:
            given = sys.stdin.read()
        except UnicodeDecodeError as error:
            raise BundleError(
                f"the standard input is no {error.encoding} text (byte {error.object[error.start]:#04x}); expected a "
                "text to continue; give one in that encoding"
            ) from None
        if not given:
            raise BundleError("the standard input is empty; expected a text to continue; give one with --prompt")
    if "\0" in given:
        raise BundleError("the prompt holds a NUL character, at which an engine would stop reading; remove it")
    try:
        given.encode()
    except UnicodeEncodeError:
        raise BundleError(
            "the prompt has bytes that are no text in this terminal's encoding; expected a text to continue; type it "
            "again"
        ) from None
    return given
