"""The texts that bundles are checked on."""

from importlib import resources

# What engines continue: prose, code, and what tokenizers stumble over.
PROMPTS = (
    "The lighthouse keeper wrote",
    "def nearest(points, target):\n    ",
    "We're here, aren't we?\n\nIt's 6 o'clock 🌊 – naïve café,",
)


def verification_text() -> str:
    """A few kilobytes of prose, code and many scripts."""
    return resources.files("bundler.verification").joinpath("verification_text.txt").read_text(encoding="utf-8")
