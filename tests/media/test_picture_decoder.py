"""The picture decoder: every kind, every way to hold a camera, nothing cut off, nothing that claims too much."""

import io
import os
import struct
import sys
import tracemalloc
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.media.picture_files import read_values

SCENE = np.random.default_rng(1).integers(0, 256, (8, 12, 3), dtype=np.uint8)
SMOOTH = np.dstack(np.broadcast_arrays(*np.ogrid[0:160:5, 0:240:5], np.uint8(90))).astype(np.uint8)


def test_names_that_are_not_utf8_are_read(tmp_path):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xe9.png"))
    with path.open("wb") as file:
        Image.fromarray(SCENE).save(file, "PNG")
    np.testing.assert_array_equal(read_values(path)[..., ::-1], SCENE)
    path.write_bytes(b"none")
    with pytest.raises(DataError) as error:
        read_values(path)
    str(error.value).encode("utf8")  # can be printed


@pytest.mark.parametrize("note", range(1, 9))
@pytest.mark.parametrize("ending", ["png", "tif", "webp"])
def test_every_way_to_hold_a_camera_ends_upright_as_pillow_has_it(tmp_path, ending, note):
    exif = Image.Exif()
    exif[0x0112] = note
    Image.fromarray(SCENE).save(tmp_path / f"a.{ending}", exif=exif, **({"lossless": True} if ending == "webp" else {}))
    with Image.open(tmp_path / f"a.{ending}") as picture:
        expected = np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))
    np.testing.assert_array_equal(read_values(tmp_path / f"a.{ending}")[..., ::-1], expected)


def test_tiffs_of_sixteen_bits_keep_them(tmp_path):
    cv2.imwrite(str(tmp_path / "a.tiff"), SCENE[..., ::-1].astype(np.uint16) * 257)
    np.testing.assert_array_equal(read_values(tmp_path / "a.tiff")[..., ::-1], SCENE.astype(np.uint16) * 257)


@pytest.mark.parametrize("ending", ["heic", "HEIF", "jpg"])
def test_pictures_of_iphones_are_read_whatever_their_ending(tmp_path, ending):
    heif = pytest.importorskip("pillow_heif")
    heif.from_pillow(Image.fromarray(SMOOTH)).save(tmp_path / f"a.{ending}", quality=90)
    assert np.abs(read_values(tmp_path / f"a.{ending}")[..., ::-1].astype(int) - SMOOTH).max() < 16


def test_a_heic_picture_without_its_package_names_the_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    with pytest.raises(DataError, match="pip install pillow-heif"):
        read_values(tmp_path / "a.heic")


@pytest.mark.parametrize("ending", ["webp", "png", "apng"])
def test_animated_pictures_show_their_first_frame(tmp_path, ending):
    frames = [Image.fromarray(np.full((8, 12, 3), value, np.uint8)) for value in (30, 200)]
    options = {"lossless": True} if ending == "webp" else {}
    frames[0].save(tmp_path / f"a.{ending}", save_all=True, append_images=frames[1:], **options)
    assert (read_values(tmp_path / f"a.{ending}")[..., :3] == 30).all()


def _png_claiming(width, height):
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    end = b"\0\0\0\0IEND" + struct.pack(">I", zlib.crc32(b"IEND"))
    body = b"IDAT" + zlib.compress(bytes(64))
    chunks = [header, body]
    parts = [struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + end


BOMBS = {
    "a.png": _png_claiming(16000, 16000),
    "b.png": _png_claiming(2**31 - 1, 2**31 - 1),
    "a.bmp": b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 30000, 30000, 1, 24, 0, 0, 0, 0, 0, 0),
    "a.jpg": b"\xff\xd8\xff\xc0\0\x11\x08" + struct.pack(">HH", 60000, 60000) + b"\3\1\x11\0\2\x11\1\3\x11\1",
    "a.gif": b"GIF89a" + struct.pack("<HH", 65535, 65535) + bytes(40),
}


@pytest.mark.parametrize("name", BOMBS)
def test_what_claims_too_many_pixels_is_refused_before_memory_is_taken(tmp_path, name):
    (tmp_path / name).write_bytes(BOMBS[name])
    tracemalloc.start()
    with pytest.raises(DataError, match=name):
        read_values(tmp_path / name)
    taken = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert taken < 1 << 20


@pytest.mark.parametrize("share", [0.2, 0.5, 0.98])
@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif", "bmp"])
def test_pictures_that_are_cut_off_are_refused(tmp_path, ending, share):
    Image.fromarray(SCENE.repeat(8, 0).repeat(8, 1)).save(tmp_path / f"a.{ending}")
    whole = (tmp_path / f"a.{ending}").read_bytes()
    (tmp_path / f"a.{ending}").write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(DataError, match=rf"a\.{ending}"):
        read_values(tmp_path / f"a.{ending}")


def test_a_photograph_with_a_preview_is_whole_only_to_its_own_end(tmp_path):
    preview = io.BytesIO()
    Image.fromarray(SMOOTH).save(preview, "JPEG")
    Image.fromarray(SMOOTH).save(tmp_path / "a.jpg", exif=b"Exif\0\0" + preview.getvalue())
    whole = (tmp_path / "a.jpg").read_bytes()
    read_values(tmp_path / "a.jpg")
    (tmp_path / "a.jpg").write_bytes(whole[:-40])
    with pytest.raises(DataError, match="cut off"):
        read_values(tmp_path / "a.jpg")


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"version https://git-lfs.github.com/spec/v1\noid", "Git LFS"), (b"<!DOCTYPE html><html>", "a web page")],
)
def test_what_stands_in_a_pictures_place_is_called_so(tmp_path, content, told):
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(DataError, match=told):
        read_values(tmp_path / "a.jpg")
