"""Picture files against what was written into them."""

import cv2
import numpy as np
import pytest
from PIL import Image

from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.media.picture_files import read_picture, read_values, squared, write_png

RGB = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
ALPHA = np.random.default_rng(1).integers(0, 256, (6, 8), dtype=np.uint8)


def write(path, values):
    cv2.imwrite(str(path), values)
    return path


@pytest.mark.parametrize(("note", "turns"), [(1, 0), (3, 2), (6, 3), (8, 1)])
@pytest.mark.parametrize("suffix", ["jpg", "JPEG"])
def test_photographs_are_turned_upright(tmp_path, note, turns, suffix):
    stored = np.zeros((16, 32, 3), np.uint8)
    stored[:8, :8] = 250
    exif = Image.Exif()
    exif[0x0112] = note
    Image.fromarray(stored).save(tmp_path / f"a.{suffix}", exif=exif)
    shown = read_values(tmp_path / f"a.{suffix}")
    assert np.abs(shown.astype(int) - np.rot90(stored, turns)).max() < 16


def test_alpha_and_depth_are_kept(tmp_path):
    values = np.random.default_rng(0).integers(0, 256, (6, 8, 4), dtype=np.uint8)
    Image.fromarray(values).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_values(tmp_path / "a.png"), values[..., [2, 1, 0, 3]])
    Image.fromarray(values[..., 0].astype(np.uint16) * 257).save(tmp_path / "b.png")
    assert read_values(tmp_path / "b.png").dtype == np.uint16


@pytest.mark.parametrize("content", [None, b"", b"no picture"])
def test_files_that_are_no_pictures_are_named(tmp_path, content):
    if content is not None:
        (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.png"):
        read_picture(tmp_path / "a.png")


def test_colour_and_grey_become_rgb(tmp_path):
    np.testing.assert_array_equal(read_picture(write(tmp_path / "a.png", RGB[..., ::-1])).rgb, RGB)
    grey = read_picture(write(tmp_path / "b.png", RGB[..., 0]))
    np.testing.assert_array_equal(grey.rgb, RGB[..., :1].repeat(3, 2))
    assert grey.mask is None


def test_sixteen_bits_become_eight(tmp_path):
    deep = (RGB.astype(np.uint16) * 257)[..., ::-1]
    np.testing.assert_array_equal(read_picture(write(tmp_path / "a.png", deep)).rgb, RGB)
    np.testing.assert_array_equal(read_picture(write(tmp_path / "b.png", deep[..., 2])).rgb[..., 1], RGB[..., 0])


def test_transparent_pictures_lie_on_black_and_bring_their_mask(tmp_path):
    picture = read_picture(write(tmp_path / "a.png", np.dstack([RGB[..., ::-1], ALPHA])))
    np.testing.assert_array_equal(picture.mask, ALPHA)
    assert np.abs(picture.rgb - RGB * (ALPHA[..., None] / 255)).max() <= 0.5


def test_opaque_alpha_says_nothing_about_the_object(tmp_path):
    picture = read_picture(write(tmp_path / "a.png", np.dstack([RGB[..., ::-1], np.full_like(ALPHA, 255)])))
    assert picture.mask is None
    np.testing.assert_array_equal(picture.rgb, RGB)


def test_the_middle_square_is_averaged_over_areas():
    wide = np.random.default_rng(2).integers(0, 256, (64, 101, 3), dtype=np.uint8)
    expected = wide[:, 18:82].reshape(16, 4, 16, 4, 3).mean((1, 3))
    assert np.abs(squared(wide, 16) - expected).max() <= 0.51
    assert squared(wide[..., 0], 37).shape == (37, 37)
    assert squared(wide, 128).shape == (128, 128, 3)
    np.testing.assert_array_equal(squared(wide, 64), wide[:, 18:82])


def test_written_pictures_read_back_and_failures_say_why(tmp_path):
    for values in (RGB, RGB[..., 0], np.dstack([RGB, ALPHA])):
        write_png(tmp_path / "a.png", values)
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a.png")), values)
    with pytest.raises(FileNotFoundError):
        write_png(tmp_path / "nowhere" / "a.png", RGB)
