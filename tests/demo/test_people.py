"""Drawn people differ in shape, clothes and gait, and a seed draws the same ones however many are asked for."""

import numpy as np
import pytest
import torch

from nerfstudio_avatars.demo.gait import STEADY, Gait
from nerfstudio_avatars.demo.people import draw_people, drawn_person
from nerfstudio_avatars.demo.sequence import novel_poses
from nerfstudio_avatars.demo.wardrobe import CASUAL, HAIRLINE, NAPE, drawn_wardrobe
from nerfstudio_avatars.errors import UserError


def test_no_two_people_are_alike():
    people = [drawn_person(0, number) for number in range(6)]
    for one in range(6):
        for other in range(one):
            (a, gait_a), (b, gait_b) = people[one], people[other]
            assert (a.betas - b.betas).abs().max() > 0.1
            assert np.abs(a.wardrobe.palette - b.wardrobe.palette).max() > 0.1
            assert gait_a != gait_b


def test_wardrobes_are_colours_and_cuts_of_a_body():
    for number in range(100):
        worn = drawn_wardrobe(np.random.default_rng(number))
        assert worn.palette.shape == CASUAL.palette.shape and worn.cut.shape == CASUAL.cut.shape
        assert worn.palette.min() >= 0 and worn.palette.max() <= 1
        assert worn.cut[NAPE] < worn.cut[HAIRLINE]


@pytest.mark.slow
def test_a_seed_draws_the_same_people_whatever_their_number(tmp_path):
    told = []
    two = draw_people(tmp_path / "two", 2, size=32, frames=16, report=lambda *done: told.append(done))
    one = draw_people(tmp_path / "one", 1, size=32, frames=16)
    assert told == [(1, 2), (2, 2)] and [folder.name for folder in two] == ["person-01", "person-02"]

    def pictures(folder):
        return b"".join(path.read_bytes() for path in sorted(folder.rglob("*.png")))

    assert pictures(two[0]) == pictures(one[0]) != pictures(two[1])


def test_a_gait_scales_legs_and_arms_about_the_mean_pose_and_bends_the_trunk():
    pose, mean = torch.randn(69), torch.randn(69)
    moved = Gait(stride=0.5, swing=2.0, lean=0.1).applied(pose, mean)
    torch.testing.assert_close(moved[:6], (pose[:6] + mean[:6]) / 2)  # hips
    torch.testing.assert_close(moved[45:48], 2 * pose[45:48] - mean[45:48])  # the left shoulder
    torch.testing.assert_close(moved[6], pose[6] + 0.1)  # the spine
    torch.testing.assert_close(moved[33:36], pose[33:36])  # the neck
    assert torch.equal(STEADY.applied(pose, mean), pose)


def test_the_same_poses_are_struck_in_each_ones_own_way():
    person, gait = drawn_person(0, 1)
    own = [state.body_pose for state, _ in novel_poses(person, 32, gait)]
    plain = [state.body_pose for state, _ in novel_poses(person, 32)]
    assert all((a - b).abs().max() > 0.01 for a, b in zip(own, plain, strict=True))


@pytest.mark.parametrize("count", [0, 1001])
def test_numbers_that_cannot_be_drawn_are_told(count, tmp_path):
    with pytest.raises(UserError, match=f"{count} people.*Expected 1 to 1000"):
        draw_people(tmp_path / "none", count)
    assert not (tmp_path / "none").exists()
