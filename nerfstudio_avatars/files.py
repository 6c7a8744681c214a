"""Reads regular files only, and writes files whole or not at all; JSON is written without NaN."""

from __future__ import annotations

import io
import json
import math
import os
import stat
import tempfile
from pathlib import Path
from typing import Any

from nerfstudio_avatars.errors import DataError, UserError
from nerfstudio_avatars.whole_files import whole_file

MOST_BYTES = 1 << 30
"""Largest file that is read into memory at once, in bytes."""
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def regular_file(path: Path, expected: str = "a file", fix: str = "check the path") -> Path:
    """Refuses what cannot be read like a file, or would block: pipes, sockets, devices, folders, missing files.

    Args:
        path: the file; links are followed.
        expected: what it should be, for the message.
        fix: what to do if it is something else, for the message.

    Returns:
        The path.

    Raises:
        DataError: it is not a regular file.
    """
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError as error:
        raise DataError(path, "no such file", expected, fix) from error
    except (OSError, ValueError) as error:
        raise DataError(path, getattr(error, "strerror", None) or str(error), expected, fix) from error
    if not stat.S_ISREG(mode):
        raise DataError(path, _KINDS.get(stat.S_IFMT(mode), "not a regular file"), expected, fix)
    return path


def read_bytes(path: Path, expected: str = "a file", fix: str = "check the path", most: int = MOST_BYTES) -> bytes:
    """Reads the content of a regular file.

    Args:
        path: the file; links are followed.
        expected: what it should be, for messages.
        fix: what to do if it is something else, for messages.
        most: largest size in bytes.

    Raises:
        DataError: it is not a regular file, cannot be read, or is larger than that.
    """
    regular_file(path, expected, fix)
    try:
        with path.open("rb") as file:
            # Python would set aside as much memory as it is asked to read.
            size = os.fstat(file.fileno()).st_size
            content = file.read(size + 1) if size <= most else None
    except OSError as error:
        raise DataError(path, error.strerror or str(error), expected, fix) from error
    if content is None or len(content) > most:
        raise DataError(path, f"more than {most / 1e6:.0f} MB", expected, fix)
    return content


def write_json(path: Path, content: Any) -> None:
    """Writes a file in one step. NaN and infinity become null, because JSON has neither."""
    with whole_file(path) as partial:
        partial.write_text(json.dumps(_finite(content), indent=2, allow_nan=False) + "\n", "utf8")


def write_text(path: Path, text: str) -> None:
    """Writes a file in UTF-8, in one step."""
    with whole_file(path) as partial:
        partial.write_text(text, "utf8")


def write_npz(path: Path, **arrays: Any) -> None:
    """Writes arrays in numpy's format, compressed, in one step."""
    import numpy as np

    # Not straight to the file: zipfile complains once more, later and at length, of a disk that is full.
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    with whole_file(path) as partial:
        partial.write_bytes(content.getvalue())


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def check_folder(folder: Path, option: str = "--output") -> None:
    """Checks that a folder can be made and written to, and leaves nothing behind.

    A temporary file is written to the folder, or to the nearest folder above it that exists. Permissions alone do not
    tell: root may write to `/proc`, but cannot.

    Args:
        folder: the folder, which need not exist.
        option: the option that names it, for the message.

    Raises:
        UserError: if it is a file, or lies below one, or nothing can be written there.
    """
    try:
        nearest = next(place for place in (folder, *folder.absolute().parents) if place.exists())
        with tempfile.TemporaryFile(dir=nearest):
            return
    except OSError as error:
        in_the_way = next((place for place in (folder, *folder.parents) if os.path.isfile(place)), None)
        found = f"{in_the_way} is a file" if in_the_way else error.strerror or type(error).__name__
        raise UserError(
            f"{folder}: cannot be written to: {found}. Expected a folder, or a new name for one. "
            f"Choose another {option}."
        ) from error


def check_file(file: Path, option: str = "--output") -> None:
    """Checks that a file can be written, and leaves nothing behind.

    Raises:
        UserError: if there is a folder of this name, or nothing can be written to the folder that the file is in.
    """
    if file.is_dir():
        raise UserError(f"{file}: is a folder. Expected the name of a file. Choose another {option}.")
    check_folder(file.parent, option)
