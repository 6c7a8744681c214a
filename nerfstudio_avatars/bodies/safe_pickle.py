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
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nerfstudio_avatars.bodies.pickle_records import ALLOWED, DType, Made, Record, check_array_size, from_buffer, plain
from nerfstudio_avatars.bodies.shared_values import check_shared_values
from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.files import read_bytes

MOST_BYTES = 2 << 30
"""Of a file."""
_MOST_INSTRUCTIONS = 1_000_000
"""Of a small file. Of a larger one, as many as an eighth of its bytes: nearly all of these belong to arrays."""
_MOST_BYTES_MADE = 1 << 28
"""Of all arrays of a small file. Those of a larger one may take twice its size."""
_DAMAGED = (
    pickle.UnpicklingError,
    struct.error,
    ArithmeticError,
    AssertionError,
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
    path = Path(path)
    return load_pickle_bytes_safely(read_bytes(path, "a readable file", most=MOST_BYTES), path)


def load_pickle_bytes_safely(content: bytes, path: str | Path) -> Any:
    """Reads a pickle from memory, as `load_pickle_safely` does, or the content of a joblib file.

    Args:
        content: the pickle.
        path: the file it was read from, for messages.

    Raises:
        UnsafePickleError: the pickle needs something else, which the message names. It was not executed.
        DataError: the content is not a pickle.
    """
    try:
        value = plain(_Reader(content, Path(path)).load(), Made(max(_MOST_BYTES_MADE, 2 * len(content))))
        check_shared_values(value)
    except _DAMAGED as error:
        found = f"{type(error).__name__}: {error} (the file starts with {content[:12]!r})"
        raise DataError(path, found, "a whole pickle of plain data", "download or copy it again") from error
    return value


class _Instructions(dict[int, Callable[..., None]]):
    """What each instruction of a pickle does, for a limited number of them."""

    def __init__(self, most: int) -> None:
        super().__init__(pickle._Unpickler.dispatch)
        # Sets hold nothing that a file needs, and an empty one takes two hundred bytes of memory for one in the file.
        for name in (pickle.EMPTY_SET, pickle.ADDITEMS, pickle.FROZENSET):
            del self[name[0]]
        self._left = most

    def __getitem__(self, instruction: int) -> Callable[..., None]:
        self._left -= 1
        if self._left < 0:
            raise pickle.UnpicklingError("more values than a file of its size has")
        if instruction not in self:
            raise pickle.UnpicklingError(f"no instruction {instruction}")
        return super().__getitem__(instruction)


class _Reader(pickle._Unpickler):
    """Maps the allowed names to inert stand-ins, and reads the arrays that joblib writes between the instructions.

    It is Python's own, slower unpickler: the compiled one takes any amount of memory for a number in the file.

    Args:
        content: the pickle.
        path: for messages.
        within: another reader, in whose stream this pickle lies.
    """

    def __init__(self, content: bytes, path: Path, within: _Reader | None = None) -> None:
        self.file: io.BytesIO = io.BytesIO(content) if within is None else within.file
        # Python 2's byte strings, numpy's buffers among them, survive as latin1.
        super().__init__(self.file, encoding="latin1")
        self.path = path
        most = max(_MOST_INSTRUCTIONS, len(content) // 8)
        self.dispatch = _Instructions(most) if within is None else within.dispatch  # type: ignore[misc]
        self._joblib_array = type("_JoblibArray", (_JoblibArray,), {"reader": self})

    def find_class(self, module_name: str, global_name: str) -> Any:
        name = f"{module_name}.{global_name}"
        if name == "joblib.numpy_pickle.NumpyArrayWrapper":
            return self._joblib_array
        if name not in ALLOWED:
            raise UnsafePickleError(
                self.path,
                f"the name `{name}` (not executed)",
                "numpy arrays, scipy.sparse matrices and chumpy arrays only",
                "do not use this file, unless you made it: then save its arrays with numpy.savez and give the .npz",
            )
        return ALLOWED[name]


class _JoblibArray(Record):
    """`joblib.numpy_pickle.NumpyArrayWrapper`: reads its array from the stream as soon as the shape is known."""

    reader: _Reader

    def __setstate__(self, state: Any) -> None:
        shape, order, dtype = (state[name] for name in ("shape", "order", "dtype"))
        if not isinstance(dtype, DType):
            raise pickle.UnpicklingError("an array without a type")
        if dtype.dtype.kind == "O":
            # An array of objects is a pickle within the pickle.
            self.content = _Reader(b"", self.reader.path, self.reader).load()
            return
        file = self.reader.file
        if state.get("numpy_array_alignment_bytes") is not None:
            file.seek(file.read(1)[0], io.SEEK_CUR)
        check_array_size(tuple(shape))
        size = dtype.dtype.itemsize * math.prod(shape)
        self.content = from_buffer(file.read(size), dtype, tuple(shape), order)

    def plain(self, memo: Made) -> Any:
        if "content" not in self.__dict__:
            raise pickle.UnpicklingError("an incomplete array")
        return plain(self.content, memo)
