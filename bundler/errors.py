"""The errors a user can cause or mend, by the exit code they end a command with."""

from __future__ import annotations


class BundleError(Exception):
    """Something given to us is unusable (exit 1). The message: what was found, what was expected, what to do.

    This class itself is for what is found in the content of files: damaged, unsupported, does not fit.
    """


class OptionError(BundleError):
    """A wrong use that the arguments and the disk show before any work (exit 2): an option's value does not fit the
    model or another option, an input is missing, an output is in the way or cannot be made.
    """


class VerificationError(BundleError):
    """A gate failed: what was built is not what was given (exit 3)."""
