"""Animation figures of faces against closed forms on a synthetic face."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.spatial.transform import Rotation

from nerfstudio_avatars.metrics.face_animation import aed, akd, mkr, pose_consistency, shape_consistency, yaw_deviation
from nerfstudio_avatars.metrics.head_pose import canonical_face


@pytest.fixture
def face():
    """The mean face in a picture of 256 pixels."""
    return 9 * canonical_face()[0] + torch.tensor([128.0, 120.0, 0.0])


def _rotation(yaw):
    return torch.from_numpy(Rotation.from_euler("y", -yaw, degrees=True).as_matrix()).float()


def test_akd_is_per_coordinate_in_pixels_of_256(face):
    true = face.expand(4, -1, -1)
    generated = true + torch.tensor([3.0, -1.0, 50.0])
    assert akd(generated, true) == pytest.approx(2, rel=1e-4)
    assert akd(generated, true, side=512) == pytest.approx(1, rel=1e-4)


def test_missing_faces_are_counted_apart(face):
    true = face.expand(5, -1, -1).clone()
    generated = true + torch.tensor([4.0, 0.0, 0.0])
    generated[:2] = torch.nan
    true[4] = torch.nan
    assert akd(generated, true) == pytest.approx(2, rel=1e-4)
    assert mkr(generated, true) == 0.5
    assert mkr(generated, true * torch.nan) != mkr(generated, true * torch.nan)
    assert math.isnan(akd(generated * torch.nan, true))


def test_aed_is_the_mean_squared_distance_of_the_frames_that_have_both():
    true = torch.zeros(3, 128)
    generated = torch.zeros(3, 128)
    generated[0, 0], generated[1, 5], generated[2] = 0.6, 0.8, torch.nan
    assert aed(generated, true) == pytest.approx((0.36 + 0.64) / 2)


def test_yaw_deviation_of_a_poster_is_the_request():
    unturned = torch.tensor([5.0, -3.0, 170.0, torch.nan])
    requested = torch.tensor([15.0, -30.0, 15.0, 15.0])
    assert yaw_deviation(unturned + requested, unturned, requested) == 0
    assert yaw_deviation(unturned, unturned, requested) == pytest.approx(20)
    assert yaw_deviation(unturned + requested - 360, unturned, requested) == pytest.approx(0, abs=1e-4)


def test_pose_consistency_is_the_angle_between_the_heads(face):
    middle = face.mean(0)
    turned = torch.stack([(face - middle) @ _rotation(yaw).mT * 1.3 + middle for yaw in (10, 20)])
    assert pose_consistency(turned, face.expand(2, -1, -1)) == pytest.approx(15, abs=1e-2)
    turned[1] = torch.nan
    assert pose_consistency(turned, face.expand(2, -1, -1)) == pytest.approx(10, abs=1e-2)


def test_a_turned_moved_and_larger_face_keeps_its_shape(face):
    animated = torch.stack([0.7 * face @ _rotation(40).mT + 30, face])
    assert shape_consistency(animated, face) == pytest.approx(0, abs=1e-3)


def test_landmarks_a_hundredth_off_score_about_a_hundredth(face):
    eyes = (face[33] - face[263]).norm()
    noise = torch.randn(20, 468, 3, generator=torch.Generator().manual_seed(0))
    noisy = shape_consistency(face + 0.01 * eyes * noise, face)
    # The mean length of a normal vector in space is sqrt(8 / pi); the seven freedoms of the fit hardly matter.
    assert noisy == pytest.approx(math.sqrt(8 / math.pi), rel=0.02)


def test_no_frame_gives_no_figure(face):
    nothing = torch.full((2, 468, 3), torch.nan)
    for figure in (shape_consistency(nothing, face), pose_consistency(nothing, face.expand(2, -1, -1))):
        assert math.isnan(figure)
