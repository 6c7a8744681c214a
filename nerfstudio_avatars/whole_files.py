"""Writes files and folders whole or not at all."""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nerfstudio_avatars.errors import UserError

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
PROBE = 1 << 20
"""Number of bytes to write to see whether a disk is full."""


@contextmanager
def whole_file(path: Path, partial_in: Path | None = None) -> Iterator[Path]:
    """Gives a path to write a file to. The file takes its own name when the block ends, and is deleted if that fails.

    >>> with whole_file(Path("figures.txt")) as partial:
    ...     _ = partial.write_text("0.5")
    >>> Path("figures.txt").read_text()
    '0.5'

    Args:
        path: the name of the file. Folders above it are made, and an existing file is replaced.
        partial_in: the folder for the unfinished file, on the same disk; by default that of the finished one. The name
            of the unfinished file begins with a dot and has the same ending. Leftovers of earlier processes are
            deleted.

    Raises:
        UserError: if there is no room for the file, or it cannot be put in its place.
    """
    folder = partial_in or path.parent
    with _complaining(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(parents=True, exist_ok=True)
        _remove_stale(folder, path.stem, path.suffix)
    partial = folder / f".{path.stem}.{os.getpid()}.partial{path.suffix}"
    try:
        with _failing_by_name(path, folder):
            yield partial
        with _complaining(path):
            _sync(partial)
            os.replace(partial, path)
            _sync_folder(path.parent)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Gives an empty folder to fill. It takes its own name when the block ends, and is deleted if that fails.

    >>> with whole_folder(Path("pictures")) as partial:
    ...     _ = (partial / "first.txt").write_text("")
    >>> [file.name for file in Path("pictures").iterdir()]
    ['first.txt']

    Args:
        path: the name of the folder. Folders above it are made, and an existing folder is replaced with all its files.

    Raises:
        UserError: if there is a file of this name, no room for the folder, or it cannot be put in its place.
    """
    if path.exists() and not path.is_dir():
        raise UserError(f"{path}: is a file. Expected a new name, or a folder to replace. Choose another name.")
    path = path if path.name else path.absolute()
    partial, old = (path.with_name(f".{path.name}.{os.getpid()}.{kind}") for kind in ("partial", "old"))
    with _complaining(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(path.parent, path.name, "")
        _remove(partial)
        partial.mkdir()
    try:
        with _failing_by_name(path, path.parent):
            yield partial
        with _complaining(path):
            for file in partial.rglob("*"):
                if file.is_file():
                    _sync(file)
            _put_in_place(partial, path, old)
            _sync_folder(path.parent)
    finally:
        _remove(partial)


def _put_in_place(partial: Path, path: Path, old: Path) -> None:
    if path.exists():
        os.replace(path, old)
    try:
        os.replace(partial, path)
    except OSError:
        if old.exists():
            os.replace(old, path)
        raise
    _remove(old)


@contextmanager
def _complaining(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _unwritten(path, error.strerror or str(error)) from error


@contextmanager
def _failing_by_name(path: Path, folder: Path) -> Iterator[None]:
    """Turns errors of the system while a file is written into one that names the file.

    Many libraries fail without saying that the disk is full, so this is tested afterwards.
    """
    try:
        yield
    except UserError:
        raise
    except OSError as error:
        # An error about a file elsewhere comes from reading, not from writing.
        if isinstance(error.filename, str | bytes) and folder not in Path(os.fsdecode(error.filename)).parents:
            raise
        raise _unwritten(path, error.strerror or str(error)) from error
    except Exception as error:
        cause = error.__cause__ or error.__context__
        if isinstance(cause, OSError) and cause.filename is None:
            raise _unwritten(path, cause.strerror or str(cause)) from error
        if _has_room(folder):
            raise
        raise _unwritten(path, os.strerror(errno.ENOSPC)) from error


def _unwritten(path: Path, why: str) -> UserError:
    return UserError(f"{why}: {path}: nothing was written. Free some space or choose another place, and try again.")


def _has_room(folder: Path) -> bool:
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(PROBE))
    except OSError as error:
        return error.errno not in _NO_ROOM
    return True


def _remove_stale(folder: Path, stem: str, suffix: str) -> None:
    """Deletes what processes that have ended left of the same file."""
    name = re.compile(rf"\.{re.escape(stem)}\.(\d+)\.(?:partial|old){re.escape(suffix)}")
    for place in folder.iterdir():
        match = place.name.startswith(".") and name.fullmatch(place.name)
        if match and not _alive(int(match[1])):
            with suppress(OSError):
                _remove(place)


def _alive(process: int) -> bool:
    if os.name == "nt":  # On Windows, os.kill would end the process.
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _sync(file: Path) -> None:
    if file.is_symlink():
        return
    descriptor = os.open(file, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # On Windows, folders cannot be opened.
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # Some network file systems cannot; the file itself is on the disk.
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
