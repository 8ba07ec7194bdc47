"""The text that bundles are checked on."""

from importlib import resources


def verification_text() -> str:
    """A few kilobytes of prose, code and many scripts."""
    return resources.files("bundler.verification").joinpath("verification_text.txt").read_text(encoding="utf-8")
