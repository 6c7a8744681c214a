"""Reads and writes files: only regular ones, whole or not at all; JSON without NaN."""

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
"""Of a file that is read into memory whole."""
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def regular_file(path: Path, expected: str = "a file", fix: str = "check the path") -> Path:
    """Refuses whatever would block whoever opens it, or holds nothing: pipes, sockets, devices, folders, nothing.

    Args:
        path: links are followed.
        expected: for the message.
        fix: likewise.

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
    """The content of a regular file.

    Args:
        path: links are followed.
        expected: for messages.
        fix: likewise.
        most: bytes that it may have.

    Raises:
        DataError: it is not a regular file, cannot be read, or is larger than that.
    """
    regular_file(path, expected, fix)
    try:
        with path.open("rb") as file:
            # Asked for more, Python makes room for all of it.
            size = os.fstat(file.fileno()).st_size
            content = file.read(size + 1) if size <= most else None
    except OSError as error:
        raise DataError(path, error.strerror or str(error), expected, fix) from error
    if content is None or len(content) > most:
        raise DataError(path, f"more than {most / 1e6:.0f} MB", expected, fix)
    return content


def write_json(path: Path, content: Any) -> None:
    """Writes a file in one step; numbers that are not finite become null, as JSON knows no others."""
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
    """Tries whether a folder can be made and written to; leaves nothing behind.

    A file is written, and gone at once, into the folder or the nearest one above it that exists. Permissions alone do
    not tell: in `/proc` root may write, and cannot.

    Args:
        folder: need not exist.
        option: that names it, for the message.

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
    """Tries whether a file can be written; leaves nothing behind.

    Raises:
        UserError: if the name is a folder's, or nothing can be written into the folder it lies in.
    """
    if file.is_dir():
        raise UserError(f"{file}: is a folder. Expected the name of a file. Choose another {option}.")
    check_folder(file.parent, option)
