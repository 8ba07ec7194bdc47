"""The errors a user can cause or mend, by the exit code they end a command with."""

from __future__ import annotations


class BundleError(Exception):
    """Something given to us is unusable (exit 1). The message: what was found, what was expected, what to do."""


class OptionError(BundleError):
    """An option's value does not fit the model or another option (exit 2)."""


class VerificationError(BundleError):
    """A gate failed: what was built is not what was given (exit 3)."""
