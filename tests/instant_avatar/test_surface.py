"""What is inside a body: its caves, and not the air between its fingers."""

import numpy as np
import pytest

from nerfstudio_avatars.instant_avatar.surface import inside

SPACING = 0.006


@pytest.fixture
def places():
    """Samples of a cube of 30 cm around the origin, in metres."""
    axis = np.arange(-25, 26) * SPACING
    return np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1)


def test_caves_and_thin_shafts_to_them_are_filled(places):
    x, y, z = np.moveaxis(places, -1, 0)
    radius = np.linalg.norm(places, axis=-1)
    ball = radius < 0.1
    shaft = (np.hypot(x, y) < 0.01) & (z > 0)
    found = inside(ball & (radius > 0.06) & ~shaft, SPACING)
    assert found[radius < 0.075].all(), "cave and shaft"
    assert not found[radius > 0.1 - 0.006].any(), "the skin stays as it is"


def test_a_wide_opening_stays_open(places):
    x, y, z = np.moveaxis(places, -1, 0)
    radius = np.linalg.norm(places, axis=-1)
    wide = (np.hypot(x, y) < 0.03) & (z > 0)
    assert not inside((radius < 0.1) & ~wide, SPACING)[wide & (radius > 0.05) & (np.hypot(x, y) < 0.015)].any()


def test_fingers_stay_apart(places):
    x, y, _ = np.moveaxis(places, -1, 0)
    fingers = np.min([np.hypot(x - middle, y) for middle in (-0.02, 0.0, 0.02)], 0) < 0.007
    assert fingers.any() and not inside(fingers, SPACING).any()
