"""Reads the contents of a file as plain data, without executing anything in it."""

from __future__ import annotations

import io
import json
import math
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from numpy import ndarray

from nerfstudio_avatars.bodies.safe_pickle import load_pickle_bytes_safely
from nerfstudio_avatars.bodies.torch_file import ForeignObjects, load_tensors
from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.files import read_bytes

_MOST_BYTES = 4 << 30
"""Of a file."""
_MOST_UNPACKED = 1 << 28
"""Of a small compressed file, bytes. A larger one may grow to `_RATIO` times its size."""
_RATIO = 50
_MOST_BYTES_OF_ARRAYS = 1 << 29
"""Of the arrays of an npz that are read, the smallest first: poses of many hours, but no surfaces."""
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
"""The first pickle in a file written by torch before 1.6."""


class Unreadable:
    """A field of an npz file that cannot be read, which only matters if it is needed."""

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
    content = read_bytes(path, _EXPECTED, most=_MOST_BYTES)
    try:
        return _plain(_parse(content, path))
    except DataError as error:
        raise DataError(path, error.found, error.expected, _fix(error)) from error
    except ForeignObjects as error:
        fix = "do not use this file, unless you made it: then save its tensors alone"
        raise DataError(path, str(error), "plain tensors only", fix) from error
    except (*_DAMAGED, zipfile.BadZipFile, zlib.error) as error:
        _refuse(path, f"{type(error).__name__}: {error}", error)


def frame_files(folder: Path) -> list[Path]:
    """The files in a folder that hold frames, sorted: `.json` and `.npy` files, or else `.npz`, or else `.pkl`."""
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
    return load_tensors(content) if isinstance(value, int) and value == _OLD_TORCH else value


def _parse_zip(content: bytes, path: Path) -> Any:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = archive.infolist()
        names = [member.filename for member in members]
        if any(name.endswith("data.pkl") for name in names):
            return load_tensors(content)
        arrays = sorted((one for one in members if one.filename.endswith(".npy")), key=lambda one: one.file_size)
        if not arrays:
            _refuse(path, f"a zip archive of {', '.join(names[:5]) or 'nothing'}")
        fields, left = {}, _MOST_BYTES_OF_ARRAYS
        for one in arrays:
            left -= one.file_size
            name = one.filename.removesuffix(".npy")
            fields[name] = _member(archive.read(one), path) if left >= 0 else _too_large(name, one.file_size, path)
        return {name.removesuffix(".npy"): fields[name.removesuffix(".npy")] for name in names if name.endswith(".npy")}


def _too_large(name: str, size: int, path: Path) -> Unreadable:
    found = f"{name} of {size / 1e9:.2g} GB"
    expected = f"arrays of less than {_MOST_BYTES_OF_ARRAYS / 1e9:.2g} GB in all"
    return Unreadable(DataError(path, found, expected, "cut the motion into parts"))


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
    most = max(_MOST_UNPACKED, _RATIO * len(content))
    # 32: zlib's or gzip's header, whichever it is.
    inflated = zlib.decompressobj(32 + zlib.MAX_WBITS).decompress(content, most)
    if len(inflated) >= most:
        _refuse(path, f"a compressed file that unpacks to more than {most / 1e6:.0f} MB")
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
