"""Folders of masks that other tools have written."""

import cv2
import numpy as np
import pytest

from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.process.given_masks import GivenMasks


def write(folder, names, shape=(20, 30)):
    """Masks of one column each, the one of their place in the list."""
    for place, name in enumerate(names):
        mask = np.zeros(shape, np.uint8)
        mask[:, place] = 1
        cv2.imwrite(str(folder / name), mask)


@pytest.mark.parametrize(
    ("names", "frames"),
    [
        (["a.png", "b.png", "c.png"], [0, 1, 2]),  # as many as the video has frames
        (["00000.png", "00002.png"], [0, 2]),  # the numbers of frames from 0
        (["mask_1.png", "mask_3.png"], [0, 2]),  # from 1, as the last number is that of the last frame
        (["take2_0.png", "take2_1.png"], [0, 1]),  # a number that all names share is none of a frame
    ],
)
def test_masks_belong_to_the_frames_that_their_names_tell(tmp_path, names, frames):
    write(tmp_path, names)
    masks = GivenMasks.find(tmp_path, 3)
    assert sorted(masks.files) == frames
    for place, frame in enumerate(frames):
        mask = masks.of(frame, 20, 30)
        assert (mask[:, place] == 255).all() and mask.astype(int).sum() == 20 * 255
    assert all(masks.of(frame, 20, 30) is None for frame in set(range(3)) - set(frames))


def test_smaller_masks_are_enlarged_and_other_shapes_refused(tmp_path):
    write(tmp_path, ["0.png", "1.png"])
    mask = GivenMasks.find(tmp_path, 2).of(0, 40, 60)
    assert mask.shape == (40, 60) and mask[:, 0].min() == 255 and mask[:, 4:].max() == 0
    with pytest.raises(DataError, match=r"0.png[\s\S]*30x20 pixels[\s\S]*60x60"):
        GivenMasks.find(tmp_path, 2).of(0, 60, 60)


@pytest.mark.parametrize(("names", "frames"), [(["a.png", "b.png"], 3), (["7.png", "8.png"], 3)])
def test_masks_of_unknown_frames_are_refused(tmp_path, names, frames):
    write(tmp_path, names)
    with pytest.raises(DataError, match="2 masks from .* for a video of 3 frames"):
        GivenMasks.find(tmp_path, frames)
