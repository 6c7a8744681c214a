"""Picture files against what was written into them."""

import numpy as np
import pytest
from PIL import Image

from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.media.picture_files import read_values


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
        read_values(tmp_path / "a.png")
