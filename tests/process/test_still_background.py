"""A drawn shape that moves before a wall and a floor, seen by a camera that stands still or shakes."""

import cv2
import numpy as np
import pytest

from nerfstudio_avatars.process.still_background import StillBackground

SIDE, FRAMES = 160, 24


def film(exposure=0.0, shake=0, rough=6):
    """Pictures of a shape that sways before a wall of many colours, and its true masks."""
    noise = np.random.default_rng(0)
    spots = noise.integers(120, 200, (rough, 2 * rough, 3), np.uint8)
    wall = cv2.resize(spots, (2 * SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    pictures, masks = [], []
    for frame in range(FRAMES):
        true = np.zeros((SIDE, SIDE), np.uint8)
        centre = int(80 + 25 * np.sin(2 * np.pi * frame / FRAMES)), 80
        cv2.ellipse(true, centre, (22, 60), 0, 0, 360, 255, -1)
        behind = wall[:, SIDE // 2 + shake * (frame % 3) :][:, :SIDE] * (1 + exposure * np.sin(frame))
        pictures.append(np.where(true[..., None] > 0, (200, 40, 30), behind).clip(0, 255).astype(np.uint8))
        masks.append(true)
    return pictures, masks


def bitten(mask):
    """The mask without its lowest rows, and with a strip that is not the person's."""
    seen = mask.copy()
    bottom = np.flatnonzero(mask.any(1))[-1]
    seen[bottom - 3 :] = 0
    left = np.flatnonzero(mask[80])[0]
    seen[75:85, left - 4 : left] = 255
    return seen


def wrong(mask, true):
    return int(((mask >= 128) != (true >= 128)).sum())


@pytest.mark.parametrize("exposure", [0.0, 0.1])
def test_masks_get_back_what_differs_from_the_background_and_lose_what_does_not(exposure):
    pictures, true = film(exposure)
    masks = [bitten(one) for one in true]
    behind = StillBackground.behind(pictures, masks)
    assert behind is not None and behind.known.mean() > 0.8
    found = [behind.correct(mask, picture) for mask, picture in zip(masks, pictures, strict=True)]
    # What the person hides in nearly all frames stays as it was.
    assert sum(map(wrong, found, true)) < 0.3 * sum(map(wrong, masks, true))


def test_what_is_darker_at_the_feet_is_shadow_and_not_the_person():
    pictures, true = film()
    bottom = np.flatnonzero(true[0].any(1))[-1]
    shaded = pictures[0].copy()
    shaded[bottom + 1 : bottom + 5, 70:90] //= 3
    behind = StillBackground.behind(pictures, true)
    assert not behind.correct(true[0], shaded)[bottom + 2 :].any()


def test_far_from_the_border_the_mask_is_kept():
    pictures, true = film()
    behind = StillBackground.behind(pictures, true)
    with_others = pictures[0].copy()
    with_others[5:25, 5:25] = 0  # Somebody else walks through the picture.
    with_others[78:82, 78:82] = behind.colour[78:82, 78:82]  # A shirt of the wall's colour.
    found = behind.correct(true[0], with_others)
    assert not found[5:25, 5:25].any() and found[78:82, 78:82].min() == 255


def test_a_camera_that_moves_tells_no_background():
    assert StillBackground.behind(*film(shake=12, rough=40)) is None


@pytest.mark.parametrize(("shake", "tells"), [(0, True), (1, False), (4, False)])
def test_before_a_plain_wall_the_edge_of_the_floor_tells_whether_the_camera_moves(shake, tells):
    _, true = film()
    pictures = []
    for frame, mask in enumerate(true):
        wall = np.full((SIDE, SIDE, 3), 190, np.uint8)
        wall[150 + shake * (frame % 3) :] = (90, 60, 50)
        wall = cv2.GaussianBlur(wall, (0, 0), 1.5)
        pictures.append(np.where(mask[..., None] > 0, np.uint8([200, 40, 30]), wall))
    assert (StillBackground.behind(pictures, true) is not None) == tells


def test_a_person_who_hides_everything_tells_none():
    full = np.full((20, 20), 255, np.uint8)
    assert StillBackground.behind([np.zeros((20, 20, 3), np.uint8)] * 4, [full] * 4) is None


def test_an_empty_mask_stays_empty():
    pictures, true = film()
    behind = StillBackground.behind(pictures, true)
    assert not behind.correct(np.zeros((SIDE, SIDE), np.uint8), pictures[0]).any()
