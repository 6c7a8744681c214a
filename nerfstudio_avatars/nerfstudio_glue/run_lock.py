"""One training at a time in a run's folder."""

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


class RunLock:
    """Held from before the data are read until the training ends; a killed process lets go of it by itself.

    Raises:
        UserError: if another process trains in the folder.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        self._file: IO[str] | None = None
        if fcntl is None:
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = self._path.open("a+", encoding="utf8")
        except OSError as error:
            raise UserError(
                f"{folder}: nothing can be written there: {error.strerror}. Choose another --output-dir."
            ) from error
        if not _try(file):
            holder = _holder(file)
            file.close()
            if holder == str(os.getpid()):
                return  # A second trainer of one program, which knows of both.
            raise _busy(folder, holder)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        self._file = file

    def release(self) -> None:
        """Lets others train here."""
        if self._file is not None:
            self._path.unlink(missing_ok=True)
            self._file.close()
            self._file = None

    @staticmethod
    def check(folder: Path) -> None:
        """Whether a training could begin here.

        Raises:
            UserError: if another process trains in the folder.
        """
        path = folder / NAME
        if fcntl is None or not path.is_file():
            return
        with path.open("a+", encoding="utf8") as file:
            if not _try(file) and _holder(file) != str(os.getpid()):
                raise _busy(folder, _holder(file))


def _try(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True  # A file system without locks: nothing can be said.
    return True


def _holder(file: IO[str]) -> str:
    file.seek(0)
    return file.read(20).strip()


def _busy(folder: Path, holder: str) -> UserError:
    who = f" (process {holder})" if holder.isdigit() else ""
    return UserError(
        f"{folder}: another training is at work in this folder{who}. Wait for its end, or give this one a folder of "
        "its own with --timestamp or --experiment-name."
    )
