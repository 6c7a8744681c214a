"""The script that cuts the face models out of their packages, and what it left in this one."""

from __future__ import annotations

import hashlib
import importlib.util
import struct
from pathlib import Path

import numpy as np
import pytest

from nerfstudio_avatars.metrics.head_pose import FACE_ASSETS

SCRIPT = Path(__file__).parents[2] / "scripts" / "make_face_assets.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("make_face_assets", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_shipped_file_is_in_the_notice_with_its_hash():
    notice = (FACE_ASSETS / "NOTICE").read_text("utf8")
    files = [path for path in FACE_ASSETS.iterdir() if path.name != "NOTICE"]
    assert len(files) == 5
    for path in files:
        assert f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}" in notice
    assert sum(path.stat().st_size for path in files) < 9e6


def _varint(value):
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _message(field, content):
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def test_the_mean_face_is_read_from_a_protocol_buffer(script):
    vertices = np.random.default_rng(0).normal(size=(468, 5)).astype(np.float32)
    floats = b"".join(b"\x1d" + struct.pack("<f", value) for value in vertices.ravel())
    metadata = _message(1, b"\x08\x00" + floats) + _message(
        2, b"\x08" + _varint(300) + b"\x15" + struct.pack("<f", 0.5)
    )
    found, weights = script.canonical_face(metadata)
    np.testing.assert_array_equal(found, vertices[:, :3])
    assert weights[300] == 0.5 and weights.sum() == 0.5


def test_another_version_of_a_package_is_refused(script, tmp_path):
    tarball = tmp_path / "package.tgz"
    tarball.write_bytes(b"something else")
    with pytest.raises(SystemExit, match="package.tgz is another version"):
        script._member(tarball, script.FACE_API_SHA256, "package/model/x")
