"""Every kind of picture file, against what was written into it."""

import cv2
import numpy as np
import pytest
from PIL import Image

from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.media.pictures import read_picture, squared

RGB = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
ALPHA = np.random.default_rng(1).integers(0, 256, (6, 8), dtype=np.uint8)


def write(path, values):
    cv2.imwrite(str(path), values)
    return path


def test_colour_and_grey_become_rgb(tmp_path):
    np.testing.assert_array_equal(read_picture(write(tmp_path / "a.png", RGB[..., ::-1])).rgb, RGB)
    grey = read_picture(write(tmp_path / "b.png", RGB[..., 0]))
    np.testing.assert_array_equal(grey.rgb, RGB[..., :1].repeat(3, 2))
    assert grey.mask is None


def test_sixteen_bits_become_eight(tmp_path):
    deep = (RGB.astype(np.uint16) * 257)[..., ::-1]
    np.testing.assert_array_equal(read_picture(write(tmp_path / "a.png", deep)).rgb, RGB)
    np.testing.assert_array_equal(read_picture(write(tmp_path / "b.png", deep[..., 2])).rgb[..., 1], RGB[..., 0])


def test_photographs_are_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise to show
    Image.fromarray(np.full((8, 16, 3), 90, np.uint8)).save(tmp_path / "a.jpg", exif=exif)
    assert read_picture(tmp_path / "a.jpg").rgb.shape == (16, 8, 3)


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


@pytest.mark.parametrize("content", [None, b"", b"no picture"])
def test_files_that_are_no_pictures_are_named(tmp_path, content):
    if content is not None:
        (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(DataError, match="a.png"):
        read_picture(tmp_path / "a.png")
