"""Coarse masks of drawn shapes, whose true masks are known."""

import cv2
import numpy as np
import pytest

from nerfstudio_avatars.process.mask_edges import follow_edges


def scene(height, coarse):
    """An ellipse of many colours before others, its true mask, and the mask as a network of `coarse` rows sees it."""
    width = height * 3 // 4
    noise = np.random.default_rng(0)
    behind = cv2.resize(noise.integers(90, 150, (6, 5, 3), np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)
    front = cv2.resize(noise.integers(0, 80, (6, 5, 3), np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)
    true = np.zeros((height, width), np.uint8)
    cv2.ellipse(true, (width // 2, height // 2), (width // 4, height * 2 // 5), 20, 0, 360, 255, -1)
    picture = np.where(true[..., None] > 0, front, behind)
    seen = cv2.resize(true, (coarse * 3 // 4, coarse), interpolation=cv2.INTER_AREA)
    return picture, true, cv2.resize(seen, (width, height), interpolation=cv2.INTER_LINEAR)


def wrong(mask, true):
    return int(((mask >= 128) != (true >= 128)).sum())


@pytest.mark.parametrize("height", [200, 900])
def test_the_border_moves_to_the_edge_of_the_picture(height):
    picture, true, coarse = scene(height, 60)
    shifted = np.roll(coarse, height // 100, axis=1)
    found = follow_edges(shifted, picture)
    assert wrong(found, true) < 0.5 * wrong(shifted, true)
    # Inside it is the person, far outside it is not.
    inner = cv2.erode(true, np.ones((height // 10,) * 2)) > 0
    outer = cv2.dilate(true, np.ones((height // 5,) * 2)) == 0
    assert found[inner].min() > 200 and found[outer].max() < 30


def test_where_the_picture_is_plain_the_mask_stays(height=120):
    _, _, coarse = scene(height, 24)
    found = follow_edges(coarse, np.full((height, height * 3 // 4, 3), 128, np.uint8))
    assert abs(found.astype(int) - coarse).mean() < 6 and wrong(found, coarse) < 0.02 * coarse.size


def test_an_empty_mask_stays_empty():
    empty = np.zeros((20, 30), np.uint8)
    assert not follow_edges(empty, np.full((20, 30, 3), 99, np.uint8)).any()
