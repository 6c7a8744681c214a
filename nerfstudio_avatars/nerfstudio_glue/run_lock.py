"""Keeps two trainings out of the same folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO

from nerfstudio_avatars.errors import UserError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

NAME = ".training"


_TRAINING = ("another training", "give this one a folder of its own with --timestamp or --experiment-name")
CREATION = ("another `ns-avatar create`", "give this one a folder of its own with --output")


class RunLock:
    """A lock that is held from before the data are read until the training ends, or until the process is killed.

    Args:
        folder: where the work is done.
        what: what another process is at, and what to do instead of waiting for it.

    Raises:
        UserError: if another process is at work in the folder.
    """

    def __init__(self, folder: Path, what: tuple[str, str] = _TRAINING) -> None:
        self._path = folder / NAME
        self._file: IO[str] | None = None
        if fcntl is None:
            return
        file = _open(folder)
        if not _try(file):
            holder = _holder(file)
            file.close()
            if holder == str(os.getpid()):
                return  # A second trainer in the same program, which knows about both.
            raise _busy(folder, holder, what)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        self._file = file

    def release(self) -> None:
        """Releases the lock."""
        if self._file is not None:
            self._path.unlink(missing_ok=True)
            self._file.close()
            self._file = None

    @staticmethod
    def check(folder: Path) -> None:
        """Checks that no other training is running here.

        Raises:
            UserError: if another process trains in the folder.
        """
        if fcntl is None or not (folder / NAME).is_file():
            return
        with _open(folder) as file:
            if not _try(file) and _holder(file) != str(os.getpid()):
                raise _busy(folder, _holder(file), _TRAINING)


def _open(folder: Path) -> IO[str]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return (folder / NAME).open("a+", encoding="utf8")
    except OSError as error:
        raise UserError(
            f"{folder}: nothing can be written there: {error.strerror}. Choose another --output-dir."
        ) from error


def _try(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True  # The file system has no locks, so nobody can tell.
    return True


def _holder(file: IO[str]) -> str:
    file.seek(0)
    return file.read(20).strip()


def _busy(folder: Path, holder: str, what: tuple[str, str]) -> UserError:
    who = f" (process {holder})" if holder.isdigit() else ""
    return UserError(f"{folder}: {what[0]} is running in this folder{who}. Wait until it ends, or {what[1]}.")
