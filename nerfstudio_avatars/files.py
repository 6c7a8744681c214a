"""Figures in JSON files, which know no NaN."""

from __future__ import annotations

import json
import math
import os
import tempfile
from pathlib import Path
from typing import Any

from nerfstudio_avatars.errors import UserError


def write_json(path: Path, content: Any) -> None:
    """Writes a file in one step; numbers that are not finite become null."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(json.dumps(_finite(content), indent=2, allow_nan=False) + "\n", "utf8")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


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
            f"{folder}: nothing can be written there: {found}. Expected a folder, or a free name for one. "
            f"Choose another {option}."
        ) from error


def check_file(file: Path, option: str = "--output") -> None:
    """Tries whether a file can be written; leaves nothing behind.

    Raises:
        UserError: if the name is a folder's, or nothing can be written into the folder it lies in.
    """
    if file.is_dir():
        raise UserError(f"{file}: is already a folder. Expected a file's name. Choose another {option}.")
    check_folder(file.parent, option)
