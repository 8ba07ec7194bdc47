"""The error of this package."""


class LoraError(Exception):
    """An adapter cannot be read, does not fit, or cannot be carried; the message says what was found, expected, and
    what to do.
    """
