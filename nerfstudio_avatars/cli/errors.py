"""What the user can put right."""

from __future__ import annotations


class UserError(Exception):
    """A mistake in what was asked for; the command line prints its message alone, without a traceback."""
