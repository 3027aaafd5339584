"""The one error that is a user's to mend."""

from __future__ import annotations


class InputError(ValueError):
    """A mistake in what the user gave: one line that names it and says what to do.

    The command line prints it without a traceback and ends with exit status 2.
    """
