"""Reading untrusted pickles without running anything in them.

The files of SMPL and PeopleSnapshot are Python 2 pickles of numpy arrays, sparse matrices from scipy and `chumpy`
objects. A pickle can call any function of any installed library; here the few names that such files need stand for
inert records, from which plain arrays are built afterwards. Any other name aborts the reading. People trackers write
with joblib, whose files are pickles with the bytes of arrays between the opcodes.
"""

from __future__ import annotations

import io
import math
import pickle
from io import BufferedIOBase
from pathlib import Path
from typing import Any

from nerfstudio_avatars.bodies.pickle_records import ALLOWED, DType, Record, check_size, from_buffer, plain
from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.files import regular_file

_DAMAGED = (
    pickle.UnpicklingError,
    ArithmeticError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
)
"""Errors that Python's unpickler raises on bytes that are not a pickle."""


class UnsafePickleError(DataError):
    """A pickle that needs more than plain data. Nothing in it was executed."""


def load_pickle_safely(path: str | Path) -> Any:
    """Reads a pickle of plain data: dicts, lists, text, numbers, and arrays of numpy, scipy (sparse) and chumpy.

    The pickle may be written by Python 2 or 3. Sparse matrices and chumpy arrays are returned as plain numpy arrays,
    and text of Python 2 as `str`.

    Raises:
        UnsafePickleError: the file needs something else, which the message names. It was not executed.
        DataError: the file cannot be read, or is not a pickle.
    """
    path = regular_file(Path(path), "a readable file")
    try:
        with path.open("rb") as file:
            return _load(_Reader(file, path), file, path)
    except OSError as error:
        raise DataError(path, f"{error.strerror or error}", "a readable file", "check the path") from error


def load_pickle_bytes_safely(content: bytes, path: str | Path) -> Any:
    """Reads a pickle from memory, as `load_pickle_safely` does, or the content of a joblib file.

    Args:
        content: the pickle.
        path: the file it was read from, for messages.

    Raises:
        UnsafePickleError: the pickle needs something else, which the message names. It was not executed.
        DataError: the content is not a pickle.
    """
    file = io.BytesIO(content)
    return _load(_JoblibReader(file, Path(path)), file, Path(path))


def _load(reader: _Reader, file: BufferedIOBase, path: Path) -> Any:
    try:
        return plain(reader.load(), {})
    except _DAMAGED as error:
        file.seek(0)
        found = f"{type(error).__name__}: {error} (the file starts with {file.read(12)!r})"
        raise DataError(path, found, "a whole pickle of plain data", "download or copy it again") from error


class _Reader(pickle.Unpickler):
    """Maps the allowed names to inert stand-ins."""

    def __init__(self, file: BufferedIOBase, path: Path) -> None:
        # Python 2's byte strings, numpy's buffers among them, survive as latin1.
        super().__init__(file, encoding="latin1")
        self._path = path

    def allowed(self, name: str) -> Any:
        """The stand-in for a name, or None."""
        return ALLOWED.get(name)

    def find_class(self, module_name: str, global_name: str) -> Any:
        name = f"{module_name}.{global_name}"
        meaning = self.allowed(name)
        if meaning is None:
            raise UnsafePickleError(
                self._path,
                f"the name `{name}` (not executed)",
                "numpy arrays, scipy.sparse matrices and chumpy arrays only",
                "do not use this file, unless you made it: then save its arrays with numpy.savez and give the .npz",
            )
        return meaning


class _JoblibReader(_Reader):
    """Also reads the arrays that joblib writes into the stream as raw bytes, each after the record that describes it.

    The file must have no `peek`: without it, Python's unpickler has read exactly up to the record when it is made.
    """

    def __init__(self, file: io.BytesIO, path: Path) -> None:
        super().__init__(file, path)
        self._joblib_array = type("_JoblibArray", (_JoblibArray,), {"file": file, "path": path})

    def allowed(self, name: str) -> Any:
        return self._joblib_array if name == "joblib.numpy_pickle.NumpyArrayWrapper" else super().allowed(name)


class _JoblibArray(Record):
    """`joblib.numpy_pickle.NumpyArrayWrapper`: reads its array from the stream as soon as the shape is known."""

    file: io.BytesIO
    path: Path

    def __setstate__(self, state: Any) -> None:
        shape, order, dtype = (state[name] for name in ("shape", "order", "dtype"))
        if not isinstance(dtype, DType):
            raise pickle.UnpicklingError("an array without a type")
        if dtype.dtype.kind == "O":
            # An array of objects is a pickle within the pickle.
            self.content = _Reader(self.file, self.path).load()
            return
        if state.get("numpy_array_alignment_bytes") is not None:
            self.file.seek(self.file.read(1)[0], io.SEEK_CUR)
        check_size(tuple(shape))
        size = dtype.dtype.itemsize * math.prod(shape)
        self.content = from_buffer(self.file.read(size), dtype, tuple(shape), order)

    def plain(self, memo: dict[int, Any]) -> Any:
        if "content" not in self.__dict__:
            raise pickle.UnpicklingError("an incomplete array")
        return plain(self.content, memo)
