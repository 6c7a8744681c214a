"""The window around a person: where it lies, and what its camera sees."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from turning_bodies import seen_bodies, turning_states

from nerfstudio_avatars.process.framing import Framing, around, whole

SEEN = seen_bodies(turning_states(1))[0]


def box(top, left, bottom, right, shape=(100, 80)):
    """A person who is a rectangle."""
    mask = np.zeros(shape, np.uint8)
    mask[top:bottom, left:right] = 255
    return replace(SEEN, mask=mask)


@pytest.mark.parametrize(("height", "width"), [(200, 100), (100, 200)])
def test_the_field_of_view_is_that_of_the_longer_side(height, width):
    camera = whole(height, width, 1000).camera_matrix(90.0)
    assert camera[0, 0] == camera[1, 1] == pytest.approx(100)
    assert camera[:2, 2].tolist() == [width / 2, height / 2]


def test_the_window_holds_the_person_of_every_frame_with_a_margin_at_the_filmed_size():
    looked_at = whole(1000, 800, 100)
    assert looked_at.kept == (100, 80)
    window = around([box(20, 30, 60, 50), box(25, 10, 70, 40)], looked_at, 5000)
    # Rows 200 to 700 and columns 100 to 500, and 8 % of 500.
    assert window == Framing((1000, 800), 160, 60, 580, 480, (580, 480))
    assert around([box(20, 30, 60, 50), box(25, 10, 70, 40)], looked_at, 290).kept == (290, 240)
    at_border = around([box(0, 0, 100, 20)], looked_at, 5000)
    assert (at_border.top, at_border.left, at_border.height, at_border.width) == (0, 0, 1000, 280)


@pytest.mark.parametrize("size", [5000, 333])
def test_the_camera_of_the_window_sees_what_opencv_projects_into_the_filmed_picture(size):
    looked_at = whole(1000, 800, 100)
    window = around([box(20, 30, 60, 50)], looked_at, size)
    points = np.array([[0.1, -0.2, 3.0], [0.0, -0.4, 4.0]])
    filmed = whole(1000, 800, 1000).camera_matrix(60.0)
    in_film, _ = cv2.projectPoints(points, np.zeros(3), np.zeros(3), filmed, None)
    ours = points @ window.camera_matrix(60.0).T
    expected = (in_film[:, 0] - [window.left, window.top]) * np.array(window.kept[::-1]) / [window.width, window.height]
    np.testing.assert_allclose(ours[:, :2] / ours[:, 2:], expected, atol=1e-6)


def test_what_is_kept_is_what_was_filmed():
    film = np.random.default_rng(0).integers(0, 255, (1000, 800, 3), np.uint8)
    window = around([box(20, 30, 60, 50)], whole(1000, 800, 100), 5000)
    np.testing.assert_array_equal(window.cut(film), film[168 : 168 + window.height, 268 : 268 + window.width])
    half = around([box(20, 30, 60, 50)], whole(1000, 800, 100), window.height // 2).cut(film)
    assert half.shape[0] == window.height // 2 and abs(half.mean() - window.cut(film).mean()) < 1


@pytest.mark.parametrize(
    ("side", "top", "left"), [(np.s_[0], 0, 5), (np.s_[-1], 30, 5), (np.s_[:, 0], 5, 0), (np.s_[:, -1], 5, 40)]
)
def test_a_person_is_cut_off_only_at_the_border_of_the_film(side, top, left):
    seen = box(20, 10, 50, 30, (70, 40))
    at_border, inside = Framing((100, 80), top, left, 70, 40, (70, 40)), Framing((100, 80), 5, 5, 70, 40, (70, 40))
    assert not at_border.cuts_off(seen)
    seen.mask[side] = 255
    assert at_border.cuts_off(seen) and not inside.cuts_off(seen)
