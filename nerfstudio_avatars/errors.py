"""Errors that a user can fix. Their message alone is printed, without a traceback."""

from __future__ import annotations

from pathlib import Path


class UserError(Exception):
    """A mistake in what was asked for or in what was given; commands print its message alone, without a traceback."""

    def __init__(self, message: str = "") -> None:
        # Names of files need not be UTF-8; Python keeps their bytes as surrogates, which cannot be printed.
        super().__init__(str(message).encode("utf8", "backslashreplace").decode("utf8"))


class DataError(UserError):
    """A file that cannot be used. The message names it, what was found, what was expected and what to do."""

    def __init__(self, file: str | Path, found: str, expected: str, fix: str) -> None:
        super().__init__(f"{file}\n  found:    {found}\n  expected: {expected}\n  fix:      {fix}")
        self.file, self.found, self.expected, self.fix = file, found, expected, fix

    def __reduce__(self) -> tuple[type[DataError], tuple[str | Path, str, str, str]]:
        # Exceptions are rebuilt from `args`, which hold the one message; worker processes send them by pickle.
        return type(self), (self.file, self.found, self.expected, self.fix)
