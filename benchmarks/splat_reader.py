"""Reads files of Gaussian splats as other programs do: PLY and SPZ of one pose, and GVRM, whose splats a VRM moves."""

from __future__ import annotations

import gzip
import json
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class ReadSplats:
    """Splats as arrays."""

    centres: np.ndarray
    """(splats, 3) metres."""
    turns: np.ndarray
    """(splats, 4) unit quaternions (w, x, y, z)."""
    sizes: np.ndarray
    """(splats, 3) standard deviations, metres."""
    colours: np.ndarray
    """(splats, 3), 0 to 1."""
    opacities: np.ndarray
    """(splats,), 0 to 1."""


@dataclass(frozen=True)
class ReadAvatar:
    """A .gvrm file."""

    splats: ReadSplats
    """In the T-pose, standing on the ground."""
    vertices: np.ndarray
    """(splats,) the vertex of the VRM that each follows."""
    relative: np.ndarray
    """(splats, 3) from that vertex, metres."""
    vrm: bytes


def read_ply(data: bytes) -> ReadSplats:
    """Splats in the layout of the first program for them."""
    header, rest = data.split(b"end_header\n", 1)
    lines = header.decode("ascii").split("\n")
    assert lines[:2] == ["ply", "format binary_little_endian 1.0"]
    names = [line.split()[2] for line in lines if line.startswith("property float ")]
    (count,) = [int(line.split()[2]) for line in lines if line.startswith("element vertex ")]
    table = np.frombuffer(rest, [(name, "<f4") for name in names], count)

    def columns(*names: str) -> np.ndarray:
        return np.stack([table[name] for name in names], -1).astype(float)

    turns = columns("rot_0", "rot_1", "rot_2", "rot_3")
    return ReadSplats(
        columns("x", "y", "z"),
        turns / np.linalg.norm(turns, axis=1, keepdims=True),
        np.exp(columns("scale_0", "scale_1", "scale_2")),
        columns("f_dc_0", "f_dc_1", "f_dc_2") * 0.28209479177387814 + 0.5,
        1 / (1 + np.exp(-columns("opacity")[:, 0])),
    )


def read_spz(data: bytes) -> ReadSplats:
    """Splats of SPZ, version 3, without colours that depend on the view."""
    plain = gzip.decompress(data)
    magic, version, count, degree, fraction, _, _ = struct.unpack_from("<4sIIBBBB", plain)
    assert (magic, version, degree, len(plain)) == (b"NGSP", 3, 0, 16 + 20 * count)
    ends = 16 + np.cumsum([0, 9, 1, 3, 3, 4]) * count
    bytes_of = [np.frombuffer(plain[a:b], np.uint8).astype(int) for a, b in zip(ends, ends[1:], strict=False)]
    places, opacities, colours, sizes, packed = (part.reshape(count, -1) for part in bytes_of)
    places = places.reshape(count, 3, 3) @ [1, 1 << 8, 1 << 16]
    places = np.where(places >= 1 << 23, places - (1 << 24), places)
    word = packed @ (1 << np.arange(0, 32, 8))
    turns, largest = np.zeros((count, 4)), word >> 30
    for axis in (3, 2, 1, 0):
        value = (word & 511) / 511 / np.sqrt(2) * np.where(word & 512, -1, 1)
        turns[:, axis] = np.where(axis == largest, 0, value)
        word = np.where(axis == largest, word, word >> 10)
    left = np.sqrt(np.maximum(0, 1 - (turns**2).sum(1)))
    turns[np.arange(count), largest] = left
    return ReadSplats(
        places / (1 << fraction),
        np.roll(turns, 1, 1),
        np.exp(sizes / 16 - 10),
        (colours / 255 - 0.5) / 0.15 * 0.28209479177387814 + 0.5,
        opacities[:, 0] / 255,
    )


def read_gvrm(path: Path) -> ReadAvatar:
    """Splats, what they follow, and the VRM."""
    with zipfile.ZipFile(path) as packed:
        parts = {name: packed.read(name) for name in packed.namelist()}
    assert parts.keys() == {"model.vrm", "model.ply", "data.json"}
    told = json.loads(parts["data.json"])
    relative = np.array(told["splatRelativePoses"]).reshape(-1, 3)
    return ReadAvatar(read_ply(parts["model.ply"]), np.array(told["splatVertexIndices"]), relative, parts["model.vrm"])
