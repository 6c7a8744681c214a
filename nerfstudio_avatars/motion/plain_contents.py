"""Reads the contents of a file as plain data, without executing anything in it."""

from __future__ import annotations

import io
import json
import math
import pickle
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from numpy import ndarray

from nerfstudio_avatars.bodies.safe_pickle import load_pickle_bytes_safely
from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.files import regular_file

_MOST_BYTES = 8 << 30
"""Limit on the unpacked size of a file, against attacks on memory."""
_EXPECTED = "an npz, npy, pickle, joblib, torch or JSON file, or a folder of EasyMocap's JSON or npy files"
_DAMAGED = (
    ArithmeticError,
    AttributeError,
    EOFError,
    KeyError,
    MemoryError,
    OSError,
    RecursionError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    tokenize.TokenError,
)
_ZIP, _NPY, _ZLIB, _GZIP = b"PK\x03\x04", b"\x93NUMPY", b"\x78", b"\x1f\x8b"
_OLD_TORCH = 0x1950A86A20F9469CFC6C
"""The first pickle in a file of torch before 1.6."""


class Unreadable:
    """Stands for a field of an npz file that cannot be read, which only matters if the field is needed."""

    def __init__(self, error: DataError) -> None:
        self.error = error


def read_contents(path: Path) -> Any:
    """Reads a file by its first bytes, not its name: dicts, lists, numbers, text and numpy arrays.

    A folder gives a dict with the contents of its `.json` and `.npy` files, by their names without suffix.

    Raises:
        DataError: the file cannot be read, or needs code to be executed.
    """
    if path.is_dir():
        return {file.stem: read_contents(file) for file in frame_files(path)}
    regular_file(path, _EXPECTED)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(path, error.strerror or str(error), "a readable file", "check the path") from error
    try:
        return _plain(_parse(content, path))
    except DataError as error:
        raise DataError(path, error.found, error.expected, _fix(error)) from error
    except pickle.UnpicklingError as error:
        # Torch's message goes on about how to switch the safety off.
        found = f"{str(error).splitlines()[0]} (nothing was executed)"
        fix = "do not use this file, unless you made it: then save its tensors alone"
        raise DataError(path, found, "plain tensors only", fix) from error
    except (*_DAMAGED, zipfile.BadZipFile, zlib.error) as error:
        _refuse(path, f"{type(error).__name__}: {error}", error)


def frame_files(folder: Path) -> list[Path]:
    """A folder's files of frames, sorted: its `.json` and `.npy` files, else its `.npz`, else its `.pkl` files."""
    files = sorted(file for file in folder.iterdir() if file.is_file())
    for endings in ((".json", ".npy"), (".npz",), (".pkl",)):
        found = [file for file in files if file.suffix.lower() in endings]
        if found:
            return found
    return []


def _parse(content: bytes, path: Path) -> Any:
    if not content:
        _refuse(path, "an empty file")
    if content.startswith(_ZIP):
        return _parse_zip(content, path)
    if content.startswith(_NPY):
        return _parse_npy(content, path)
    if content.startswith((_ZLIB, _GZIP)):
        return load_pickle_bytes_safely(_inflate(content, path), path)
    if content.lstrip()[:1] in (b"{", b"["):
        return json.loads(content)
    value = load_pickle_bytes_safely(content, path)
    return _load_torch(content) if isinstance(value, int) and value == _OLD_TORCH else value


def _parse_zip(content: bytes, path: Path) -> Any:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = archive.infolist()
        if sum(member.file_size for member in members) > _MOST_BYTES:
            _refuse(path, "an archive that unpacks to more than 8 GB")
        names = [member.filename for member in members]
        if any(name.endswith("data.pkl") for name in names):
            return _load_torch(content)
        arrays = [name for name in names if name.endswith(".npy")]
        if not arrays:
            _refuse(path, f"a zip archive of {', '.join(names[:5]) or 'nothing'}")
        return {name.removesuffix(".npy"): _member(archive.read(name), path) for name in arrays}


def _load_torch(content: bytes) -> Any:
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


def _member(content: bytes, path: Path) -> Any:
    try:
        return _parse_npy(content, path)
    except DataError as error:
        return Unreadable(DataError(path, error.found, error.expected, _fix(error)))


def _parse_npy(content: bytes, path: Path) -> Any:
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read_header(file)
    if not dtype.hasobject:
        claimed, held = math.prod(shape) * dtype.itemsize, len(content) - file.tell()
        if claimed > held:
            _refuse(path, f"an array that claims {claimed} bytes and has {held}")
        return np.load(io.BytesIO(content), allow_pickle=False)
    objects = load_pickle_bytes_safely(content[file.tell() :], path)
    if not isinstance(objects, ndarray) or objects.size != np.prod(shape, dtype=np.int64):
        _refuse(path, "an array of objects whose size does not fit its header")
    return objects.reshape(shape)


def _inflate(content: bytes, path: Path) -> bytes:
    # 32: zlib's or gzip's header, whichever it is.
    inflated = zlib.decompressobj(32 + zlib.MAX_WBITS).decompress(content, _MOST_BYTES)
    if len(inflated) >= _MOST_BYTES:
        _refuse(path, "a compressed file that unpacks to more than 8 GB")
    return inflated


def _plain(value: Any) -> Any:
    """Converts tensors to arrays, and arrays around a single object to that object."""
    if isinstance(value, torch.Tensor):
        return value.detach().float().numpy() if value.dtype == torch.bfloat16 else value.detach().numpy()
    if isinstance(value, ndarray) and value.dtype == object and value.ndim == 0:
        return _plain(value.item())
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    return [_plain(entry) for entry in value] if isinstance(value, list | tuple) else value


def _fix(error: DataError) -> str:
    return error.fix.replace("and give the .npz", "and give that")


def _refuse(path: Path, found: str, cause: Exception | None = None) -> NoReturn:
    raise DataError(path, found, _EXPECTED, "give a file as its tool wrote it, or copy it again") from cause
