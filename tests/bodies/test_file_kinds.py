"""Files that are something else are called what they are."""

from __future__ import annotations

import pytest

from nerfstudio_avatars.bodies.file_kinds import refuse_other_kinds
from nerfstudio_avatars.bodies.smpl_files import read_smpl
from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.motion import read_motion

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 247186228\n"
LOGIN = b"\n<!DOCTYPE html>\n<html><head><title>SMPL: sign in</title></head></html>\n"
NOT_A_FILE = {
    "pointer": (POINTER, "Git LFS pointer"),
    "login page": (LOGIN, "web page"),
    "zeros": (bytes(5000), "nothing but zeros"),
    "empty": (b"", "empty file"),
    "error of a server": (b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>AccessDenied', "error of a web server"),
    "document": (b"%PDF-1.7 ...", "PDF"),
    "picture": (b"\x89PNG\r\n\x1a\n" + bytes(50), "a picture"),
}
OTHER_MOTIONS = {
    "walk.fbx": (b"Kaydara FBX Binary  \x00\x1a\x00" + bytes(100), "FBX"),
    "text.fbx": (b"; FBX 7.4.0 project file\n", "FBX"),
    "named.bvh": (b"Kaydara FBX Binary  \x00\x1a\x00" + bytes(100), "FBX"),
    "dance.vmd": (b"Vocaloid Motion Data 0002" + bytes(100), "VMD"),
    "01_01.amc": (b"#!OML:ASF F:\\\n; comment\n:FULLY-SPECIFIED\n:DEGREES\n1\nroot 0 0 0 0 0 0\n", "AMC"),
    "no_comment.txt": (b":FULLY-SPECIFIED\n:DEGREES\n1\n", "AMC"),
    "01.asf": (b":version 1.10\n:name VICON\n", "AMC/ASF"),
    "walk.dae": (b'\xef\xbb\xbf<?xml version="1.0"?><COLLADA/>', "COLLADA"),
    "x.c3d": (b"c3d", "C3D"),
    "unnamed": (b"\x02\x50" + bytes(510), "C3D"),
    "a.usda": (b"#usda 1.0\n", "USD"),
    "a.usdz": (b"PK\x03\x04" + bytes(60), "USD|zip"),
    "a.usdc": (b"PXR-USDC" + bytes(60), "USD"),
    "m.csv": (b"time,x\n0,1\n", "CSV"),
    "m.trc": (b"PathFileType\t4\t(X/Y/Z)\tm.trc\n", "TRC"),
    "unnamed.txt": (b"PathFileType\t4\t(X/Y/Z)\tm.trc\n", "TRC"),
    "scene.blend": (b"BLENDER-v300", "Blender"),
    "take.anim": (b"%YAML 1.1\n%TAG !u!", "Unity"),
    "x.mvnx": (b"mvnx ...", "MVNX|XML"),
}


@pytest.mark.parametrize(("content", "found"), NOT_A_FILE.values(), ids=NOT_A_FILE)
@pytest.mark.parametrize("name", ["SMPL_NEUTRAL.pkl", "SMPL_MALE.npz", "model.pth"])
def test_what_is_no_body_is_called_what_it_is(tmp_path, monkeypatch, name, content, found):
    monkeypatch.setenv("NERFSTUDIO_AVATARS_CACHE", str(tmp_path / "cache"))
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=found) as error:
        read_smpl(tmp_path / name)
    assert "SMPL" in error.value.expected and error.value.fix


@pytest.mark.parametrize(("content", "found"), NOT_A_FILE.values(), ids=NOT_A_FILE)
@pytest.mark.parametrize("name", ["motion.npz", "motion.pkl", "motion.bvh", "motion.glb", "motion.json"])
def test_what_is_no_motion_is_called_what_it_is(tmp_path, name, content, found):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=found):
        read_motion(tmp_path / name)


@pytest.mark.parametrize("name", OTHER_MOTIONS)
def test_formats_that_are_not_read_are_named_with_the_way_out(tmp_path, name):
    content, found = OTHER_MOTIONS[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=found) as error:
        read_motion(tmp_path / name)
    assert any(word in error.value.fix for word in ("BVH", "glTF", "file as its tool wrote it")), error.value.fix


def test_a_known_content_under_a_foreign_name_is_no_other_kind(tmp_path):
    for head in (
        b"HIERARCHY\nROOT Hips",
        b"glTF\x02\0\0\0",
        b'{"asset": {}}',
        b"\x93NUMPY\x01\0",
        b"\x80\x04}",
        b"PK\x03\x04",
    ):
        refuse_other_kinds(tmp_path / "a.fbx", head, "a motion", motion=True)
