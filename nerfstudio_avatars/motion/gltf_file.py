"""Reads the JSON, the buffers and the accessors of a glTF 2.0 file."""

from __future__ import annotations

import base64
import binascii
import json
import re
import struct
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np

from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.files import read_bytes

FIX = "export the file again as glTF 2.0 with its animation, from Blender for example"
_JSON, _BIN = 0x4E4F534A, 0x004E4942
_TYPES = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_MOST_NUMBERS = 50_000_000
"""Of all accessors that are read, which may share the bytes they are in."""
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}


class GltfFile:
    """The JSON and the buffers of a glTF file."""

    def __init__(self, path: Path) -> None:
        self.path, self.binary = path, None  # type: Path, bytes | None
        data = read_bytes(path, "glTF 2.0", FIX)
        if data.startswith(b"glTF"):
            data = self._unpack(data)
        try:
            self.json: dict[str, Any] = json.loads(data)
        except ValueError as error:
            raise DataError(path, f"no JSON: {error}", "glTF 2.0", FIX) from error
        self._check_entries()
        version = str(self.json["asset"]["version"])
        if not version.startswith("2"):
            raise DataError(path, f"glTF {version}", "glTF 2.0", FIX)
        self._buffers: dict[int, bytes] = {}
        self._arrays: dict[int, np.ndarray] = {}
        self._left = _MOST_NUMBERS

    def _check_entries(self) -> None:
        """All of glTF's lists at the top hold objects, but for those of extensions' names."""
        for name, entries in self.json.items():
            for number, entry in enumerate(entries if isinstance(entries, list) else ()):
                if not isinstance(entry, dict) and not name.startswith("extensions"):
                    raise DataError(self.path, f"{name} {number}: {json.dumps(entry)[:50]}", "a JSON object", FIX)

    def _unpack(self, data: bytes) -> bytes:
        version, length = struct.unpack_from("<II", data, 4)
        if version != 2 or length > len(data):
            found = f"a GLB of version {version}, {len(data)} bytes of {length}"
            raise DataError(self.path, found, "a whole GLB of version 2", "copy or export the file again")
        chunks: dict[int, bytes] = {}
        place = 12
        while place + 8 <= length:
            size, kind = struct.unpack_from("<II", data, place)
            if place + 8 + size > length:
                raise DataError(self.path, "a chunk that ends after the file", "a whole GLB", "copy the file again")
            chunks.setdefault(kind, data[place + 8 : place + 8 + size])
            place += 8 + size
        self.binary = chunks.get(_BIN)
        return chunks[_JSON]

    def _buffer(self, number: int) -> bytes:
        if number not in self._buffers:
            buffer = self._entry("buffers", number)
            data = self._load(buffer.get("uri"), number)
            if len(data) < buffer["byteLength"]:
                found = f"buffer {number} of {len(data)} bytes"
                raise DataError(
                    self.path, found, f"{buffer['byteLength']} bytes", "copy all of the motion's files again"
                )
            self._buffers[number] = data
        return self._buffers[number]

    def _load(self, uri: str | None, number: int) -> bytes:
        if uri is None:
            if self.binary is None or number:
                raise DataError(self.path, f"buffer {number} without data", "a URI or a GLB's binary part", FIX)
            return self.binary
        if uri.startswith("data:"):
            header, _, text = uri.partition(",")
            try:
                return base64.b64decode(text, validate=True) if header.endswith(";base64") else unquote(text).encode()
            except binascii.Error as error:
                raise DataError(self.path, f"buffer {number}: {error}", "base64", FIX) from error
        name, folder = unquote(uri), self.path.parent.resolve()
        elsewhere = re.search(r"^[\\/]|\\|:|\0", name) or ".." in name.split("/")
        file = folder if elsewhere else (folder / name).resolve()  # with with links followed
        if elsewhere or not file.is_relative_to(folder):
            raise DataError(self.path, f"a buffer at {uri[:100]!r}", "a file beside it", "export it as one .glb file")
        if not file.is_file():
            raise DataError(self.path, f"no file {name!r} beside it", "the buffer that it names", "copy that file too")
        return read_bytes(file, "the buffer that a glTF file names", FIX)

    def _entry(self, name: str, number: int) -> dict[str, Any]:
        """One of a list; Python would count backwards from its end below zero."""
        if number < 0:
            raise DataError(self.path, f"{name} {number}", "a number from 0", FIX)
        return self.json[name][number]

    def array(self, number: int) -> np.ndarray:
        """The values of an accessor as float64, (count, width); normalised integers become -1 to 1, or 0 to 1."""
        if number not in self._arrays:
            self._arrays[number] = self._read(number)
        return self._arrays[number]

    def _read(self, number: int) -> np.ndarray:
        accessor = self._entry("accessors", number)
        kind, width = np.dtype(_TYPES[accessor["componentType"]]), _WIDTHS[accessor["type"]]
        view = self._entry("bufferViews", accessor["bufferView"]) if "bufferView" in accessor else None
        if view is None or "sparse" in accessor or set(view.get("extensions", {})) & {"EXT_meshopt_compression"}:
            what = "compressed by meshopt" if view and "extensions" in view else "sparse or empty"
            fix = "export the file without compression (`gltf-transform copy`, or Blender)"
            raise DataError(self.path, f"accessor {number}, {what}", "plain numbers", fix)
        count, step = int(accessor["count"]), int(view.get("byteStride", kind.itemsize * width))
        data, start = self._buffer(view["buffer"]), int(view.get("byteOffset", 0))
        inside = int(accessor.get("byteOffset", 0))
        end = inside + (count - 1) * step + kind.itemsize * width
        if count < 1 or min(start, inside) < 0 or step < kind.itemsize * width or end > view["byteLength"]:
            raise DataError(self.path, f"accessor {number} of {count} elements", "elements inside its buffer", FIX)
        if start + end > len(data):
            raise DataError(self.path, f"accessor {number} beyond the end of its buffer", "a whole file", FIX)
        self._left -= count * width
        if self._left < 0:
            raise DataError(self.path, "accessors that share their numbers", f"at most {_MOST_NUMBERS} in all", FIX)
        values = np.ndarray((count, width), kind, data, start + inside, (step, kind.itemsize)).astype(np.float64)
        if accessor.get("normalized") and kind.kind in "iu":
            values = np.maximum(values / np.iinfo(kind).max, -1.0)
        if not np.isfinite(values).all():
            raise DataError(self.path, f"NaN or infinity in accessor {number}", "finite numbers", FIX)
        return values
