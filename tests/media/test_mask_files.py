"""One person, written in every way in which masks are found, reads as one and the same mask."""

import cv2
import numpy as np
import pytest
from PIL import Image

from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.media.mask_files import NOISE, mask_of, read_mask

HARD = np.zeros((6, 9), np.uint8)
HARD[1:5, 3:7] = 255
SOFT = np.linspace(0, 240, 54).round().astype(np.uint8).reshape(6, 9)
OPAQUE = np.full_like(HARD, 255)
OF_LABEL_THREE = np.where(HARD > 0, np.uint8(3), np.uint8(0))


def _palette(colour, **options):
    def write(path):
        picture = Image.fromarray(HARD // 255, "P")
        picture.putpalette([0, 0, 0, *colour] + [0] * 750)
        picture.save(path, **options)

    return write


def _pillow(values, mode=None):
    return lambda path: Image.fromarray(values, mode).save(path)


HARD_PICTURES = {
    "grey": _pillow(HARD),
    "0 and 1": _pillow(HARD // 255),
    "0 and 3": _pillow(OF_LABEL_THREE),
    "one bit": _pillow(HARD > 0),
    "dark red palette, as DAVIS": _palette((128, 0, 0)),
    "red palette": _palette((255, 0, 0)),
    "blue palette": _palette((0, 0, 255)),
    "palette with a transparent background": _palette((128, 0, 0), transparency=0),
    "red": _pillow(np.dstack([HARD, HARD * 0, HARD * 0])),
    "blue": _pillow(np.dstack([HARD * 0, HARD * 0, HARD])),
    "dark green": _pillow(np.dstack([HARD * 0, HARD // 2, HARD * 0])),
    "in the colours, opaque": _pillow(np.dstack([HARD, HARD, HARD, OPAQUE])),
    "in the colours, transparent throughout": _pillow(np.dstack([HARD, HARD, HARD, OPAQUE * 0])),
    "in the alpha": _pillow(np.dstack([OPAQUE, OPAQUE, OPAQUE, HARD])),
    "grey, opaque": _pillow(np.dstack([HARD, OPAQUE]), "LA"),
    "grey with alpha": _pillow(np.dstack([OPAQUE, HARD]), "LA"),
    "16 bits": lambda path: cv2.imwrite(str(path), HARD.astype(np.uint16) * 257),
    "16 bits, 0 and 1": lambda path: cv2.imwrite(str(path), (HARD // 255).astype(np.uint16)),
    "16 bits in colour": lambda path: cv2.imwrite(str(path), np.dstack([HARD.astype(np.uint16) * 257] * 3)),
}


@pytest.mark.parametrize("kind", HARD_PICTURES)
def test_a_hard_mask_is_found_in_every_kind_of_picture(tmp_path, kind):
    HARD_PICTURES[kind](tmp_path / "a.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png"), HARD)


HARD_ARRAYS = {
    "bytes": HARD,
    "0 and 1": HARD // 255,
    "0 and 3": OF_LABEL_THREE,
    "truth": HARD > 0,
    "shares": (HARD > 0).astype(np.float32),
    "whole numbers": (HARD > 0).astype(np.int64),
    "0 to 255 as float": HARD.astype(np.float64),
    "16 bits": HARD.astype(np.uint16) * 257,
    "an axis of length one before": HARD[None],
    "an axis of length one behind": (HARD > 0)[..., None],
    "in colours": np.dstack([HARD * 0, HARD * 0, HARD // 255]),
    "in colours, opaque": np.dstack([HARD, HARD, HARD, OPAQUE]) / 255,
}


@pytest.mark.parametrize("kind", HARD_ARRAYS)
@pytest.mark.parametrize("suffix", [".npy", ".NPY"])
def test_a_hard_mask_is_found_in_every_kind_of_array(tmp_path, kind, suffix):
    with (tmp_path / f"a{suffix}").open("wb") as file:
        np.save(file, HARD_ARRAYS[kind])
    np.testing.assert_array_equal(read_mask(tmp_path / f"a{suffix}"), HARD)


def test_soft_masks_stay_as_they_are(tmp_path):
    for name, values in {
        "a.png": SOFT,
        "b.png": SOFT.astype(np.uint16) * 257,
        "c.png": np.dstack([HARD] * 3 + [SOFT]),
    }.items():
        cv2.imwrite(str(tmp_path / name), values)
        np.testing.assert_array_equal(read_mask(tmp_path / name), SOFT)
    for values in (SOFT, SOFT[None], SOFT.astype(np.int32), SOFT / 255, SOFT / np.float32(255), SOFT.astype(float)):
        np.save(tmp_path / "d.npy", values)
        np.testing.assert_array_equal(read_mask(tmp_path / "d.npy"), SOFT)


def test_shares_that_resizing_took_beyond_their_ends_are_cut(tmp_path):
    np.save(tmp_path / "a.npy", np.linspace(-0.1, 1.1, 54).reshape(6, 9))
    mask = read_mask(tmp_path / "a.npy")
    assert mask[0, 0] == 0 and mask[-1, -1] == 255 and 100 < np.median(mask) < 155


def test_empty_and_full_masks(tmp_path):
    for value, expected in ((0, 0), (1, 255), (3, 255), (255, 255)):
        cv2.imwrite(str(tmp_path / "a.png"), np.full_like(HARD, value))
        assert (read_mask(tmp_path / "a.png") == expected).all()


def test_what_lossy_coding_leaves_of_black_is_no_person(tmp_path):
    speckled = np.where(HARD > 0, np.uint8(2), np.uint8(0))
    np.testing.assert_array_equal(mask_of(speckled, NOISE), speckled)
    cv2.imwrite(str(tmp_path / "a.jpg"), np.full((16, 16), 2, np.uint8))
    assert read_mask(tmp_path / "a.jpg").max() < 8
    cv2.imwrite(str(tmp_path / "a.jpg"), np.full((16, 16), 128, np.uint8))
    assert (read_mask(tmp_path / "a.jpg") == 255).all()


MISTAKES = {
    "several masks": (np.zeros((3, 6, 9)), r"shape \(3, 6, 9\)"),
    "a row": (np.zeros(9), r"shape \(9,\)"),
    "nothing": (np.zeros((0, 9)), r"shape \(0, 9\)"),
    "logits": (np.linspace(-7, 5, 54).reshape(6, 9), "from -7.0 to 5.0"),
    "NaN": (np.where(HARD > 0, np.nan, 0), "nan"),
    "overflown": (HARD.astype(np.int8), "from -1 to 0"),
    "text": (np.full((6, 9), "a"), "<U1"),
}


@pytest.mark.parametrize("kind", MISTAKES)
def test_arrays_that_are_no_mask_are_named(tmp_path, kind):
    values, found = MISTAKES[kind]
    np.save(tmp_path / "a.npy", values)
    with pytest.raises(DataError, match=rf"(?s)a\.npy.*found:.*{found}.*expected:.*fix:"):
        read_mask(tmp_path / "a.npy")


@pytest.mark.parametrize("name", ["a.npy", "a.png"])
@pytest.mark.parametrize(
    "content", [None, b"", b"nothing that can be read", b"PK\x05\x06" + bytes(18), b"PK\x03\x04cut"]
)
def test_files_that_are_no_mask_are_named(tmp_path, name, content):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=name):
        read_mask(tmp_path / name)
