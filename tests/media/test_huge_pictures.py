"""Pictures and films of a few bytes that claim to be huge: refused before memory is taken for them."""

import struct
import zlib

import cv2
import numpy as np
import pytest
from clip_files import write_video
from damage import bounded, told

from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.media.mask_files import read_mask
from nerfstudio_avatars.media.picture_files import read_picture
from nerfstudio_avatars.media.video_index import probe_video
from nerfstudio_avatars.unsup_volanim.data.loose_clip import read_loose_clip

pytestmark = pytest.mark.slow


def _png(width, height):
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


def _gif(width, height):
    head = struct.pack("<HH", width, height) + b"\x80\0\0" + bytes(6)
    frame = b"\x2c" + struct.pack("<HHHH", 0, 0, width, height) + b"\0\x02\x02\x44\x01\0"
    return b"GIF89a" + head + frame + b";"


def _jpeg(width, height):
    content = bytearray(cv2.imencode(".jpg", np.zeros((8, 8, 3), np.uint8))[1].tobytes())
    place = content.index(b"\xff\xc0") + 5
    content[place : place + 4] = struct.pack(">HH", height, width)
    return bytes(content)


def _tiff(width, height):
    tags = [(256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 8), (277, 3, 1),
            (278, 4, height), (279, 4, 100)]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    return b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(tags)) + entries + bytes(4)


def _bmp(width, height):
    return b"BM" + struct.pack("<IIIIiiHHIIiiII", 54, 0, 54, 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0) + bytes(30)


PICTURES = {"a.png": _png, "a.gif": _gif, "a.jpg": _jpeg, "a.tif": _tiff, "a.bmp": _bmp}


@pytest.mark.parametrize("side", [16_000, 65_000])
@pytest.mark.parametrize("name", PICTURES)
def test_pictures_of_a_few_bytes(tmp_path, name, side):
    (tmp_path / name).write_bytes(PICTURES[name](side, side))
    for read in (read_picture, read_mask, lambda path: read_loose_clip(path, 32)):
        with bounded(), pytest.raises(UserError) as error:
            read(tmp_path / name)
        told(error.value)


def test_a_video_of_a_few_bytes_and_one_that_names_others(tmp_path):
    (tmp_path / "a.gif").write_bytes(_gif(16_000, 16_000))
    with bounded(), pytest.raises(UserError, match="16000x16000"):
        probe_video(tmp_path / "a.gif")
    (tmp_path / "a.mp4").write_text("ffconcat version 1.0\nfile 'other.mp4'\n")
    with pytest.raises(UserError):
        probe_video(tmp_path / "a.mp4")


def _patched(content, kind, *numbers):
    content = bytearray(content)
    struct.pack_into(f">{len(numbers)}I", content, content.index(kind) + 8, *numbers)
    return bytes(content)


@pytest.mark.parametrize("count", [10**4, 10**7, 5 * 10**7, 2**31 - 1])
def test_a_film_of_a_few_bytes_that_claims_millions_of_frames(tmp_path, count):
    whole = write_video(tmp_path / "a.mp4", 5).read_bytes()
    one_chunk = _patched(_patched(whole, b"stsz", 1, count), b"stsc", 1, 1, count, 1)
    (tmp_path / "a.mp4").write_bytes(_patched(one_chunk, b"stts", 1, count, 512))
    with bounded(), pytest.raises(UserError, match=f"a table of {count} frames"):
        probe_video(tmp_path / "a.mp4")


def test_a_film_whose_edits_show_it_again_and_again(tmp_path):
    whole = write_video(tmp_path / "a.mp4", 5).read_bytes()
    (tmp_path / "a.mp4").write_bytes(_patched(whole, b"elst", 40_000_000))
    with bounded(), pytest.raises(UserError, match="a table of 200000000 frames"):
        probe_video(tmp_path / "a.mp4")
