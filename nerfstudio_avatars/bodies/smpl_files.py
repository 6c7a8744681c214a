"""SMPL files on disk: finding them, reading them safely, and converting them once."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import zipfile
from pathlib import Path
from typing import Any

import torch
from numpy import ndarray

from nerfstudio_avatars.bodies.file_kinds import HEAD, refuse_other_kinds
from nerfstudio_avatars.bodies.safe_pickle import MOST_BYTES, load_pickle_safely
from nerfstudio_avatars.bodies.smpl_arrays import KEYS, SmplArrays
from nerfstudio_avatars.bodies.smpl_search import cache_folder
from nerfstudio_avatars.bodies.torch_file import load_tensors
from nerfstudio_avatars.errors import DataError, UserError
from nerfstudio_avatars.files import read_bytes, regular_file, write_npz
from nerfstudio_avatars.media.npz_file import open_npz

_LOG = logging.getLogger(__name__)
_MOST_BYTES_OF_AN_ARRAY = 1 << 28
"""The largest, SMPL-X's pose correctives as doubles, has half of that."""
_FORMAT = "v1"
"""Version in the names of cached files; increased when their contents change."""


def read_smpl(path: str | Path) -> SmplArrays:
    """Reads a user's SMPL file: the official pickles of Python 2, `.npz`, or ROMP's `.pth`. Nothing in it is executed.

    The arrays are kept as a plain npz in the user's cache, under a hash of the file's content. Later reads are quick,
    and do not involve a pickle.

    Raises:
        DataError: the file cannot be used.
    """
    path = regular_file(Path(path), "a readable SMPL file")
    try:
        digest = _hash(path)
    except OSError as error:
        raise DataError(path, f"{error.strerror or error}", "a readable SMPL file", "check the path") from error
    cached = cache_folder() / f"smpl-{_FORMAT}-{digest[:32]}.npz"
    if cached.is_file():
        try:
            return SmplArrays.checked(_read_npz(cached), cached)
        except DataError as error:
            _LOG.warning("converting %s again: its converted copy is damaged (%s)", path, error.found)
    arrays = SmplArrays.checked(_read(path), path)
    try:
        _write_npz(cached, arrays)
    except UserError as error:
        _LOG.warning("%s; %s will be converted again next time", error, path)
    return arrays


def _hash(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def _read(path: Path) -> dict[str, Any]:
    """Reads the fields by content, not by name: zip archives are npz or torch files, anything else is a pickle."""
    with path.open("rb") as file:
        refuse_other_kinds(path, file.read(HEAD), "an SMPL body: the official .pkl, an .npz, or ROMP's .pth")
    if not zipfile.is_zipfile(path):
        fields = load_pickle_safely(path)
        if not isinstance(fields, dict):
            raise DataError(path, f"a {type(fields).__name__}", "a dictionary of SMPL's fields", "give an SMPL file")
        return fields
    if path.suffix.lower() in (".pth", ".pt"):
        return _read_torch(path)
    return _read_npz(path)


def _read_npz(path: Path) -> dict[str, ndarray]:
    try:
        with open_npz(path, most=_MOST_BYTES_OF_AN_ARRAY) as file:
            # SMPL-X's files hold pickled objects beside the arrays; they are never opened.
            return {key: file[key] for key in file.files if key in KEYS}
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile) as error:
        fix = "save SMPL's arrays again with numpy.savez (plain arrays, no objects), or give the official .pkl"
        raise DataError(path, f"{type(error).__name__}: {error}", "an npz of plain arrays", fix) from error


def _read_torch(path: Path) -> dict[str, ndarray]:
    try:
        content = load_tensors(read_bytes(path, most=MOST_BYTES))
    except ValueError as error:
        raise DataError(path, str(error), "a file of plain tensors", "give the official .pkl or an .npz") from error
    if not isinstance(content, dict):
        raise DataError(path, f"a {type(content).__name__}", "a dictionary of SMPL's fields", "give an SMPL file")
    fields = {str(key): value.numpy() if isinstance(value, torch.Tensor) else value for key, value in content.items()}
    posedirs = fields.get("posedirs")
    if isinstance(posedirs, ndarray) and posedirs.ndim == 2 and "v_template" in fields:
        # ROMP keeps them as smplx uses them: one row per pose coefficient.
        fields["posedirs"] = posedirs.T.reshape(len(fields["v_template"]), 3, -1)
    return fields


def _write_npz(path: Path, arrays: SmplArrays) -> None:
    write_npz(path, **{field.name: getattr(arrays, field.name) for field in dataclasses.fields(arrays)})
