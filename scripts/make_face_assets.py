#!/usr/bin/env python
"""Cuts the files of `nerfstudio_avatars/assets/face` out of two packages of the npm registry.

    npm pack @mediapipe/face_mesh@0.4.1657299874 @vladmandic/face-api@1.7.15
    python scripts/make_face_assets.py mediapipe-face_mesh-0.4.1657299874.tgz vladmandic-face-api-1.7.15.tgz OUTPUT

Both are only read. Users need neither npm nor these packages: what is cut out ships with the package.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import struct
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy import ndarray

FACE_MESH_SHA256 = "c08a7e0742a326285da666cf81d77c8b6f3a181a2ee948cadaf166008e0d3bc7"
FACE_API_SHA256 = "0d77fffeef362ef9c0939cf6c567f3a2e8e177f114fa257a3270cbd2e509b031"

# Byte ranges inside the one file that holds MediaPipe's assets, as its loader lists them.
PACKED = "package/face_mesh_solution_packed_assets.data"
LANDMARKS = (2495952, 3737848)
GEOMETRY = (3737848, 3757224)
DETECTION = (3757224, 3986256)
RECOGNITION = ("face_recognition_model.bin", "face_recognition_model-weights_manifest.json")


def main() -> None:
    """Writes the five files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("face_mesh", type=Path)
    parser.add_argument("face_api", type=Path)
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)

    packed = _member(arguments.face_mesh, FACE_MESH_SHA256, PACKED)
    (arguments.output / "face_landmark.tflite").write_bytes(packed[slice(*LANDMARKS)])
    (arguments.output / "face_detection_short_range.tflite").write_bytes(packed[slice(*DETECTION)])
    vertices, weights = canonical_face(packed[slice(*GEOMETRY)])
    np.savez_compressed(arguments.output / "canonical_face.npz", vertices_cm=vertices, procrustes_weights=weights)
    for name in RECOGNITION:
        content = _member(arguments.face_api, FACE_API_SHA256, f"package/model/{name}")
        (arguments.output / name).write_bytes(content)


def canonical_face(metadata: bytes) -> tuple[ndarray, ndarray]:
    """Vertices (468, 3) in centimetres and the weight of each in a Procrustes fit (468,), zero for most.

    `metadata` is MediaPipe's `GeometryPipelineMetadata`, a protocol buffer: field 1 holds the mesh, whose field 3 are
    five floats a vertex (position and texture); each field 2 is a landmark's number (1) and weight (2).
    """
    vertices: list[float] = []
    weights = np.zeros(468, np.float32)
    for field, value in _fields(metadata):
        if field == 1 and isinstance(value, bytes) and len(value) > 1000:
            vertices = [struct.unpack("<f", v)[0] for number, v in _fields(value) if number == 3]
        elif field == 2 and isinstance(value, bytes):
            entry = dict(_fields(value))
            weights[entry[1]] = struct.unpack("<f", entry[2])[0]
    return np.array(vertices, np.float32).reshape(468, 5)[:, :3], weights


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(message, at)
            yield key >> 3, value
            continue
        length = 4
        if kind == 2:
            length, at = _varint(message, at)
        yield key >> 3, message[at : at + length]
        at += length


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        at, value, shift = at + 1, value | (byte & 127) << shift, shift + 7
        if byte < 128:
            return value, at


def _member(tarball: Path, sha256: str, name: str) -> bytes:
    content = tarball.read_bytes()
    if (found := hashlib.sha256(content).hexdigest()) != sha256:
        raise SystemExit(f"{tarball} is another version: its SHA-256 is {found}, expected {sha256}")
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        member = archive.extractfile(name)
        assert member is not None
        return member.read()


if __name__ == "__main__":
    main()
