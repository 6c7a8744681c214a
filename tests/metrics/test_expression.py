"""How far mouths and eyes are open, on points whose distances are written down, and how one face follows another."""

import math

import pytest
import torch

from nerfstudio_avatars.metrics.expression import eye_opening, following, mouth_opening
from nerfstudio_avatars.metrics.face_landmarks import EYES_OUTER


def _faces(lips: list[float], lids: list[float]) -> torch.Tensor:
    """Faces of 100 pixels between the outer corners of the eyes, whose lips and lids are so many pixels apart."""
    faces = torch.zeros(len(lips), 468, 3)
    faces[:, EYES_OUTER[1], 0] = 100
    faces[:, 14, 1] = torch.tensor(lips)
    faces[:, 145, 1] = torch.tensor(lids)
    faces[:, 374, 1] = -3 * torch.tensor(lids)
    return faces


def test_openings_are_shares_of_the_distance_of_the_eyes_at_any_size_of_the_face():
    faces = _faces([0.0, 20.0], [5.0, 10.0])
    for size in (1.0, 3.0):
        assert mouth_opening(size * faces).tolist() == pytest.approx([0, 0.2])
        assert eye_opening(size * faces).tolist() == pytest.approx([0.1, 0.2])


def test_no_face_has_no_opening():
    assert mouth_opening(torch.full((1, 468, 3), torch.nan)).isnan().all()


def test_half_as_far_and_in_time_is_a_slope_of_a_half_whatever_is_missing():
    theirs = torch.tensor([0.0, 1.0, 2.0, 1.0, 0.0, 3.0, 9.0])
    ours = 0.7 + 0.5 * theirs
    ours[6] = torch.nan
    found = following(ours, theirs)
    assert (found.correlation, found.slope, found.frames) == (pytest.approx(1), pytest.approx(0.5), 6)


def test_the_other_way_round_is_a_correlation_of_minus_one():
    theirs = torch.tensor([0.0, 1.0, 2.0, 1.0, 0.5])
    assert following(-theirs, theirs).correlation == pytest.approx(-1)


def test_a_still_face_follows_nobody_and_four_frames_say_nothing():
    theirs = torch.tensor([0.0, 1.0, 2.0, 1.0, 0.0])
    still = following(torch.ones(5), theirs)
    assert (still.correlation, still.slope) == (0, 0)
    assert math.isnan(following(theirs[:4], theirs[:4]).correlation)
    assert math.isnan(following(theirs, torch.ones(5)).correlation)
