"""Reads numpy's .npz archives safely: without objects, and with no more memory than their headers announce."""

from __future__ import annotations

import math
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np

from nerfstudio_avatars.files import regular_file

MOST_BYTES = 4_000_000_000
"""Of one array, unless less is said. What claims to be larger is refused before any memory is taken."""
_MOST_MEMBERS = 10_000
_BLOCK = 1 << 24
"""Bytes that are unpacked at a time."""

_DAMAGED = (
    zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, tokenize.TokenError, SyntaxError, EOFError, RuntimeError,
)  # fmt: skip
"""What zipfile and numpy raise of damaged archives; `NotImplementedError` is a `RuntimeError`."""


class NpzArrays:
    """The arrays of an archive by name. Each is only read when it is needed.

    Args:
        archive: opened.
        most: bytes that an array may have.
    """

    def __init__(self, archive: zipfile.ZipFile, most: int = MOST_BYTES) -> None:
        self._archive, self._most = archive, most
        members = archive.infolist()
        if len(members) > _MOST_MEMBERS:
            raise ValueError(f"{len(members)} members, more than {_MOST_MEMBERS}")
        self._members = {one.filename.removesuffix(".npy"): one for one in members}

    @property
    def files(self) -> list[str]:
        """Their names."""
        return list(self._members)

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __getitem__(self, name: str) -> np.ndarray:
        member = self._members[name]
        with cast("zipfile.ZipExtFile", self._archive.open(member)) as file:
            shape, fortran, kind = _header(file, name)
            size = math.prod(shape) * kind.itemsize
            if size > self._most or size > member.file_size:
                found = f"{name} of shape {shape}, {size / 1e9:.3g} GB"
                limit = f"the limit is {self._most / 1e9:.3g} GB" if size > self._most else "its bytes are not there"
                raise ValueError(f"{found}: {limit}")
            content = bytearray(size)
            rest = memoryview(content)
            while rest:
                read = file.readinto(rest[:_BLOCK])
                if not read:
                    raise ValueError(f"{name}: cut off")
                rest = rest[read:]
        array = np.frombuffer(content, kind) if size else np.zeros(math.prod(shape), kind)
        return array.reshape(shape, order="F" if fortran else "C")


def _header(file: Any, name: str) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(file)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
    if read is None:
        raise ValueError(f"{name}: numpy's format {version}")
    shape, fortran, kind = read(file)
    if kind.hasobject or kind.names is not None or kind.subdtype is not None:
        raise ValueError(f"{name}: an array of objects ({kind}), which could run code; nothing was executed")
    if any(size < 0 for size in shape):
        raise ValueError(f"{name} of shape {shape}")
    return shape, fortran, kind


@contextmanager
def open_npz(
    path: Path, expected: str = "an .npz file", fix: str = "check the path", most: int = MOST_BYTES
) -> Iterator[NpzArrays]:
    """Opens an archive.

    Args:
        path: of the file.
        expected: for messages.
        fix: likewise.
        most: bytes that an array may have.

    Raises:
        DataError: if it is no regular file.
        ValueError: on opening or reading, if it is no such archive, or an array is not what it claims, or too large.
        KeyError: on reading a name that is not there.
    """
    regular_file(path, expected, fix)
    try:
        with zipfile.ZipFile(path) as archive:
            yield NpzArrays(archive, most)
    except _DAMAGED as error:
        raise ValueError(f"not a whole .npz archive: {error}") from error
    except MemoryError as error:
        raise ValueError("more than there is memory for") from error
