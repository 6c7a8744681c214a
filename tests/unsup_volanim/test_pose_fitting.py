"""Poses fitted to pictures: those that a picture was drawn with are found again, and nothing else is changed."""

from __future__ import annotations

import pytest
import torch
from striped_ball import PARTS, striped_ball, two_part_network

from nerfstudio_avatars.bodies.rotations import axis_angle_to_matrix
from nerfstudio_avatars.metrics.geometry import rotation_error
from nerfstudio_avatars.unsup_volanim.fitted_clip import fit_clip
from nerfstudio_avatars.unsup_volanim.pose_fitting import fit_poses
from nerfstudio_avatars.unsup_volanim.volumetric_skinning import PartPoses, identity_poses
from nerfstudio_avatars.unsup_volanim.voxel_render import standard_rays

SIZE = 32


@pytest.fixture(scope="module")
def network():
    return two_part_network()


@pytest.fixture(scope="module")
def cube():
    return striped_ball()


@pytest.fixture(scope="module")
def truth():
    turn = torch.zeros(3, PARTS, 3)
    turn[0, 1, 0], turn[1, 0, 1], turn[2, 1, 1] = 0.3, 0.25, -0.3
    return identity_poses(3, PARTS).moved_within(turn, torch.zeros(3, PARTS, 3), torch.zeros(PARTS, 3))


def drawn(network, cube, poses):
    with torch.no_grad():
        seen = network.render(cube[None], poses, standard_rays(SIZE))
    return seen.rgb.mT.unflatten(2, (SIZE, SIZE))


def test_the_poses_of_a_picture_are_found_again(network, cube, truth):
    start = identity_poses(3, PARTS)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with torch.inference_mode():
        found = fit_poses(network, cube, drawn(network, cube, truth), start, 40)
    far, near = (rotation_error(poses.rotation, truth.rotation).sum() for poses in (start, found))
    assert near < 0.35 * far
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert torch.equal(start.rotation, identity_poses(3, PARTS).rotation)


def test_right_poses_stay_nearly_right_and_frames_do_not_see_each_other(network, cube, truth):
    pictures = drawn(network, cube, truth)
    together = fit_poses(network, cube, pictures, truth, 10)
    assert rotation_error(together.rotation, truth.rotation).max() < 3
    alone = fit_poses(network, cube, pictures[1:2], truth[1:2], 10)
    torch.testing.assert_close(together[1:2].rotation, alone.rotation, atol=1e-3, rtol=0)


def test_no_rounds_leave_what_the_detector_finds():
    pose = PartPoses(axis_angle_to_matrix(torch.full((1, PARTS, 3), 0.1)), torch.zeros(1, PARTS, 3))

    class Model:
        def driving_pose(self, clip, frame):
            return pose

    assert fit_clip(Model(), 0, [3, 4], 0) == [pose, pose]
