"""Arrays and text in the safetensors format (Hugging Face, version 0.4): a JSON header and plain numbers behind it.

Nothing in such a file can be executed. It is read with every length compared before any memory is taken.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.files import read_bytes
from nerfstudio_avatars.whole_files import whole_file

EXPECTED = "a whole safetensors file"
FIX = "ask for the file again, or export it again"
_MOST_HEADER = 1 << 20
"""Bytes of the header."""
_DTYPES = {"F32": "<f4", "F64": "<f8", "I64": "<i8", "I32": "<i4", "U8": "|u1", "BOOL": "|b1"}
_NAMES = {np.dtype(kind): name for name, kind in _DTYPES.items()}


def write_safetensors(path: Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Writes a file in one step.

    Args:
        path: the file.
        arrays: of 32 or 64 bit numbers, bytes or truth.
        metadata: text by name.
    """
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    place, parts = 0, []
    for name, array in arrays.items():
        data = np.ascontiguousarray(array)
        parts.append(data.tobytes())
        offsets = [place, place + len(parts[-1])]
        header[name] = {"dtype": _NAMES[data.dtype], "shape": list(array.shape), "data_offsets": offsets}
        place = offsets[1]
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with whole_file(path) as partial:
        partial.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(parts))


def read_safetensors(path: Path, what: str = EXPECTED) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays and the text of a file.

    Args:
        path: the file.
        what: what is expected, for messages.

    Raises:
        DataError: lengths, shapes or types do not fit each other, or numbers are not finite.
    """

    def wrong(found: str) -> DataError:
        return DataError(path, found, what, FIX)

    data = read_bytes(path, what, FIX)
    length = struct.unpack_from("<Q", data)[0] if len(data) >= 8 else 0
    if not 2 <= length <= min(_MOST_HEADER, len(data) - 8):
        raise wrong(f"a header of {length} bytes in a file of {len(data)}")
    header = parse_json(data[8 : 8 + length], wrong)
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise wrong("metadata that are no text")
    body, arrays, place = memoryview(data)[8 + length :], {}, 0
    for name, entry in sorted(header.items(), key=lambda item: _start(item[1])):
        if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
            raise wrong(f"{name!r:.60} without type, shape and place")
        kind, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
        if not isinstance(kind, str) or kind not in _DTYPES or not _counts(shape) or not _counts(offsets):
            raise wrong(f"{name!r:.60} of type {kind!r:.20} and shape {shape!r:.60}")
        dtype = np.dtype(_DTYPES[kind])
        size = math.prod(shape) * dtype.itemsize
        if offsets != [place, place + size] or place + size > len(body):
            raise wrong(f"{name!r:.60} at bytes {offsets!r:.60}, where {size} bytes from {place} belong")
        part = body[place : place + size]
        if kind == "BOOL" and np.frombuffer(part, np.uint8).max(initial=0) > 1:
            raise wrong(f"{name!r:.60} with truth that is neither 0 nor 1")
        arrays[name] = np.frombuffer(part, dtype).reshape(shape).copy()
        if dtype.kind == "f" and not np.isfinite(arrays[name]).all():
            raise wrong(f"{name!r:.60} with NaN or infinity")
        place += size
    if place != len(body):
        raise wrong(f"{len(body) - place} bytes behind the last array")
    return arrays, metadata


def parse_json(text: bytes | str, wrong: Any) -> dict[str, Any]:
    """A JSON object, without NaN and without names that occur twice.

    Args:
        text: UTF-8.
        wrong: makes the error from what was found.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({name for name, _ in pairs}) < len(pairs):
            raise ValueError("a name that occurs twice")
        return dict(pairs)

    def constant(name: str) -> Any:
        raise ValueError(f"the number {name}")

    try:
        content = json.loads(text, object_pairs_hook=unique, parse_constant=constant)
    except (ValueError, RecursionError) as error:
        raise wrong(f"a header that cannot be read: {str(error) or 'too deep'}") from error
    if not isinstance(content, dict):
        raise wrong(f"a header that is a {type(content).__name__}")
    return content


def _counts(value: Any) -> bool:
    return isinstance(value, list) and len(value) < 9 and all(type(one) is int and 0 <= one < 2**40 for one in value)


def _start(entry: Any) -> int:
    offsets = entry.get("data_offsets") if isinstance(entry, dict) else None
    return offsets[0] if _counts(offsets) and offsets else -1
