"""Inert records that stand for the names in a pickle while it is read safely, and the arrays built from them."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    import torch

_MOST_ENTRIES = 500_000_000
"""Limit on the entries of an array, above any that a body has, against attacks on memory."""
_MOST_BYTES_OF_A_SCALAR = 1 << 20


class Made:
    """What a pickle's values became, and how much memory may still be taken for arrays.

    Many values may stand for the same bytes, so that a small file can ask for any number of copies of them.

    Args:
        most: bytes of all arrays.
    """

    def __init__(self, most: int) -> None:
        self._left = most
        # A value is kept beside what it became, so that its id is not given to another object meanwhile.
        self.values: dict[int, tuple[Any, Any]] = {}

    def take(self, size: int) -> None:
        """Counts the bytes of an array before it is made."""
        self._left -= size
        if self._left < 0:
            raise pickle.UnpicklingError("arrays that are many times larger than the file")


class _Name:
    """A name that files use as an argument or call. It is not a function, so that a pickle cannot alter it."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., Any] | None = None) -> None:
        self._call = call

    def __call__(self, *args: Any) -> Any:
        if self._call is None:
            raise pickle.UnpicklingError("a call of something that is no function here")
        return self._call(*args)

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("an attempt to change a name")


class Record:
    """Keeps the attributes of an object, but none of its behaviour."""

    def __init__(self, *args: Any) -> None:
        self.state: dict[str, Any] = {}

    def __setstate__(self, state: Any) -> None:
        for part in state if isinstance(state, tuple) else (state,):
            if isinstance(part, dict):
                # NEWOBJ makes records without calling __init__.
                self.__dict__.setdefault("state", {}).update(part)

    def plain(self, memo: Made) -> Any:
        """The array that the object represents."""
        raise pickle.UnpicklingError(f"an incomplete {type(self).__name__.strip('_')}")

    def field(self, name: str, memo: Made) -> Any:
        """An attribute as plain data."""
        state = self.__dict__.get("state", {})
        if name not in state:
            raise pickle.UnpicklingError(f"a {type(self).__name__.strip('_')} without `{name}`")
        return plain(state[name], memo)


class DType(Record):
    """`numpy.dtype`, limited to numbers, text and objects whose size is fixed by the name."""

    def __init__(self, name: str, *_: Any) -> None:
        self.dtype = np.dtype(str(name))
        if self.dtype.kind not in "fiubcSUO":
            raise pickle.UnpicklingError(f"an array of {name}")

    def __setstate__(self, state: Any) -> None:
        _, order, base, names, fields = state[:5]
        if base is not None or names is not None or fields is not None:
            raise pickle.UnpicklingError("a structured array")
        if self.dtype.kind in "SU" and self.dtype.itemsize == 0:
            self.dtype = np.dtype(f"{self.dtype.kind}{state[5] // (4 if self.dtype.kind == 'U' else 1)}")
        self.dtype = self.dtype.newbyteorder(order)

    def plain(self, memo: Made) -> np.dtype:
        return self.dtype


class _Array(Record):
    """`numpy.ndarray`."""

    def __setstate__(self, state: Any) -> None:
        shape, dtype, fortran, data = state[-4:]
        self.content: tuple[Any, Any, Any, Any] = (data, dtype, shape, "F" if fortran else "C")

    def plain(self, memo: Made) -> np.ndarray:
        if "content" not in self.__dict__:
            return np.zeros(0, np.int8)
        data, dtype, shape, order = self.content
        return _array(data, dtype, shape, order, memo)


class _Chumpy(Record):
    """`chumpy.Ch`: the array lies in `x`."""

    def plain(self, memo: Made) -> np.ndarray:
        return np.asarray(self.field("x", memo))


class _Select(Record):
    """`chumpy.reordering.Select`: entries `idxs` of the flattened `a`, in the shape `preferred_shape`."""

    def plain(self, memo: Made) -> np.ndarray:
        whole, places = np.asarray(self.field("a", memo)), np.asarray(self.field("idxs", memo), np.int64)
        memo.take(places.size * whole.itemsize)
        chosen = whole.ravel()[places]
        shape = self.__dict__["state"].get("preferred_shape")
        return chosen if shape is None else chosen.reshape(plain(shape, memo))


class _Sparse(Record):
    """`scipy.sparse.csc_matrix` or `csr_matrix`, of any version of scipy."""

    kind = ""

    def plain(self, memo: Made) -> np.ndarray:
        shape = tuple(int(size) for size in self.field("_shape", memo))
        check_array_size(shape)
        parts = tuple(np.asarray(self.field(name, memo)) for name in ("data", "indices", "indptr"))
        # Imported here: it takes long, and few pickles hold such a matrix.
        import scipy.sparse

        matrix = getattr(scipy.sparse, self.kind)(parts, shape=shape)
        # Indices out of bounds would make scipy write outside its memory.
        matrix.check_format(full_check=True)
        memo.take(math.prod(shape) * matrix.dtype.itemsize)
        return matrix.toarray()


class _SparseColumns(_Sparse):
    kind = "csc_matrix"


class _SparseRows(_Sparse):
    kind = "csr_matrix"


def _encode(text: str, encoding: str = "utf-8") -> bytes:
    """`_codecs.encode`, which Python 3 uses to write bytes in protocol 2."""
    if encoding not in ("latin1", "latin-1", "utf-8", "ascii"):
        raise pickle.UnpicklingError(f"bytes encoded as {encoding!r}")
    return str(text).encode(encoding)


def _reconstruct(kind: Any, *_: Any) -> Record:
    """`copy_reg._reconstructor`: an object of protocol 0 or 1. Only records of this module can be created."""
    if not (isinstance(kind, type) and issubclass(kind, Record)):
        raise pickle.UnpicklingError("an object of an unknown class")
    return kind()


def from_buffer(data: Any, dtype: Any, shape: Any, order: Any) -> _Array:
    """numpy's `_frombuffer`, which protocol 5 uses."""
    array = _Array()
    array.content = (data, dtype, shape, order)
    return array


def _scalar(dtype: Any, data: Any = b"") -> Any:
    """numpy's `scalar`."""
    return _array(data, dtype, (), "C", Made(_MOST_BYTES_OF_A_SCALAR))[()]


def _array(data: Any, dtype: Any, shape: Any, order: Literal["C", "F"], memo: Made) -> np.ndarray:
    dtype = dtype.dtype if isinstance(dtype, DType) else None
    shape = (shape,) if isinstance(shape, int) else tuple(int(size) for size in shape)
    if dtype is None or order not in ("C", "F"):
        raise pickle.UnpicklingError("an array without a type")
    check_array_size(shape)
    if dtype.kind == "O":
        memo.take(len(data) * dtype.itemsize)
        entries = np.empty(len(data), object)
        entries[:] = [plain(entry, memo) for entry in data]
    else:
        memo.take(len(data))
        entries = np.frombuffer(data.encode("latin1") if isinstance(data, str) else data, dtype)
    return entries.reshape(shape, order=order).copy(order="C")


class _Tensor(Record):
    """A tensor pickled by `numpy.save` or joblib: its storage is a torch file within the pickle."""

    def __init__(self, storage: Any, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> None:
        self.content = (storage, offset, size, stride)

    def plain(self, memo: Made) -> np.ndarray:
        storage, offset, size, stride = self.content
        if not isinstance(storage, _Storage):
            raise pickle.UnpicklingError("a tensor without a storage")
        check_array_size(tuple(size))
        whole = storage.tensor(memo)
        last = int(offset) + sum((int(count) - 1) * int(step) for count, step in zip(size, stride, strict=True))
        if 0 not in size and not (0 <= int(offset) <= last < len(whole) and min(stride, default=0) >= 0):
            raise pickle.UnpicklingError(f"a tensor of shape {tuple(size)} in a storage of {len(whole)}")
        memo.take(math.prod(map(int, size)) * whole.element_size())
        return whole.as_strided(tuple(size), tuple(stride), int(offset)).clone().numpy()


class _Storage(Record):
    """`torch.storage._load_from_bytes`: the bytes of a storage, which torch's own safe reader opens."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self._tensor: torch.Tensor | None = None

    def tensor(self, memo: Made) -> torch.Tensor:
        """All of the storage, flat, on the CPU."""
        import torch

        from nerfstudio_avatars.bodies.torch_file import load_tensors

        if self._tensor is None:
            memo.take(len(self.content))
            storage = load_tensors(self.content)
            self._tensor = torch.tensor([], dtype=storage.dtype).set_(storage)
        return self._tensor


def check_array_size(shape: tuple[int, ...]) -> None:
    if any(size < 0 for size in shape) or np.prod(shape, dtype=np.float64) > _MOST_ENTRIES:
        raise pickle.UnpicklingError(f"an array of shape {shape}")


def plain(value: Any, memo: Made) -> Any:
    """Replaces the records in a value by the arrays they represent."""
    if id(value) in memo.values:
        return memo.values[id(value)][1]
    if isinstance(value, Record):
        made = value.plain(memo)
    elif isinstance(value, dict):
        made = {}
        memo.values[id(value)] = (value, made)
        made.update({plain(key, memo): plain(entry, memo) for key, entry in value.items()})
    elif isinstance(value, list):
        made = []
        memo.values[id(value)] = (value, made)
        made.extend(plain(entry, memo) for entry in value)
    elif isinstance(value, tuple):
        made = tuple(plain(entry, memo) for entry in value)
    elif isinstance(value, _Name | type):
        raise pickle.UnpicklingError("a function instead of data")
    else:
        return value
    memo.values[id(value)] = (value, made)
    return made


ALLOWED: dict[str, Any] = {
    "numpy.ndarray": _Name(),
    "numpy.dtype": DType,
    **dict.fromkeys(
        (f"numpy.{core}.multiarray._reconstruct" for core in ("core", "_core")), _Name(lambda *_: _Array())
    ),
    **dict.fromkeys((f"numpy.{core}.multiarray.scalar" for core in ("core", "_core")), _Name(_scalar)),
    **dict.fromkeys((f"numpy.{core}.numeric._frombuffer" for core in ("core", "_core")), _Name(from_buffer)),
    "_codecs.encode": _Name(_encode),
    **dict.fromkeys(("copy_reg._reconstructor", "copyreg._reconstructor"), _Name(_reconstruct)),
    **dict.fromkeys(("__builtin__.object", "builtins.object"), _Name()),
    # Protocols below 3 write empty bytes as a call without arguments.
    **dict.fromkeys(("__builtin__.bytes", "builtins.bytes"), _Name(lambda: b"")),
    "torch._utils._rebuild_tensor_v2": _Name(_Tensor),
    "torch.storage._load_from_bytes": _Name(_Storage),
    "collections.OrderedDict": _Name(dict),
    "collections.defaultdict": _Name(lambda *_: {}),
    **dict.fromkeys(("__builtin__.dict", "builtins.dict"), _Name()),
    **dict.fromkeys(("chumpy.ch.Ch", "chumpy.Ch"), _Chumpy),
    "chumpy.reordering.Select": _Select,
    **dict.fromkeys((f"scipy.sparse.{place}csc_matrix" for place in ("", "csc.", "_csc.")), _SparseColumns),
    **dict.fromkeys((f"scipy.sparse.{place}csr_matrix" for place in ("", "csr.", "_csr.")), _SparseRows),
}
