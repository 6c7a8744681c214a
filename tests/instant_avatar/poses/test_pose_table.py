"""The pose table: transforms against the body itself, corrections of held-out frames, bone lengths."""

import math
from dataclasses import replace

import pytest
import torch

from nerfstudio_avatars.bodies.body_sequence import BodySequence
from nerfstudio_avatars.bodies.linear_blend_skinning import skin
from nerfstudio_avatars.bodies.rotations import slerp_axis_angle
from nerfstudio_avatars.instant_avatar.poses.pose_smoothing import likeness_of_neighbours
from nerfstudio_avatars.instant_avatar.poses.pose_table import BodyPoseTable, canonical_state


@pytest.fixture
def sequence():
    generator = torch.Generator().manual_seed(0)
    return BodySequence(
        betas=torch.randn(10, generator=generator) * 0.5,
        global_orient=torch.randn(6, 3, generator=generator),
        body_pose=0.3 * torch.randn(6, 69, generator=generator),
        transl=torch.randn(6, 3, generator=generator),
    )


@pytest.fixture
def table(sequence, standin):
    return BodyPoseTable(sequence, standin, torch.tensor([0, 2, 4]))


def test_transforms_carry_the_canonical_body_into_the_pose(table, sequence, standin):
    """smplx poses the body twice, canonically and in the frame; skinning by the table's transforms joins the two."""
    canonical = standin.pose(canonical_state(sequence.betas)).vertices
    posed = standin.pose(sequence.state(3)).vertices
    transforms = table.transforms(table.stored(torch.tensor([3])))[0]
    # Exact per joint; blended weights differ only because two blends do not compose.
    owner = standin.weights.argmax(-1)
    rigid = standin.weights.max(-1).values > 0.999
    moved = skin(canonical[rigid], torch.eye(24)[owner[rigid]], transforms)
    torch.testing.assert_close(moved, posed[rigid], atol=5e-4, rtol=0)


def test_the_canonical_pose_maps_to_itself(table, sequence):
    state = canonical_state(sequence.betas)
    pose = torch.cat([state.global_orient, state.body_pose, state.transl])[None]
    torch.testing.assert_close(table.transforms(pose)[0], torch.eye(4).repeat(24, 1, 1), atol=1e-5, rtol=0)


def test_held_out_frames_take_their_neighbours_correction(table):
    with torch.no_grad():
        table.frame_correction[0] = 1.0
        table.frame_correction[2] = 3.0
        table.frame_correction[1] = 77.0
    correction = table.correction(torch.tensor([0, 1, 2, 5]))
    torch.testing.assert_close(correction[:, 0], torch.tensor([1.0, 2.0, 3.0, 0.0]))


def test_a_moved_joint_takes_its_bone_along(table):
    """A wrist farther out: the hand follows by exactly that offset, the other arm stays."""
    pose = torch.zeros(1, 75)
    before = table.transforms(pose)[0]
    with torch.no_grad():
        table.joint_offsets[20] = torch.tensor([0.02, 0.0, 0.0])
    after = table.transforms(pose)[0]
    point = torch.tensor([0.1, 0.2, 0.3, 1.0])
    torch.testing.assert_close(((after - before) @ point)[20, :3], torch.tensor([0.02, 0.0, 0.0]), atol=1e-6, rtol=0)
    torch.testing.assert_close(after[21], before[21])


def test_steady_motion_costs_nothing_and_jitter_does(standin):
    """A steady turn past half a turn, where the rotation vector jumps, on a straight way; uneven steps in time."""
    time = torch.arange(8.0)[:, None]
    turning = slerp_axis_angle(torch.zeros(8, 3), torch.tensor([0.0, 0.0, 3.0]).expand(8, 3), 0.3 * time)
    still = torch.full((8, 69), 0.2)
    steady = BodySequence(torch.zeros(10), turning, still, time * torch.tensor([0.1, 0.0, 0.02]))
    assert turning[:, 2].max() > 2.5 and turning[:, 2].min() < -1  # it did jump
    table = BodyPoseTable(steady, standin, torch.tensor([0, 1, 3, 4, 6, 7]))
    assert table.smoothness(torch.tensor([1, 3, 6])) < 1e-10
    with torch.no_grad():
        table.frame_correction[3, [10, 40, 74]] = 0.1
    # So fast a turn makes frames nearly single photographs.
    alike = likeness_of_neighbours(turning[[0, 1, 3, 4, 6, 7]])
    assert table.smoothness(torch.tensor([3])).item() == pytest.approx(alike * 3 * 0.1**2 / 75, rel=0.1)
    assert table.smoothness(torch.tensor([6])) < 1e-10


def test_a_flipped_frame_hardly_pulls_at_its_neighbours(sequence, standin):
    still = replace(sequence, global_orient=torch.zeros(6, 3), body_pose=torch.zeros(6, 69), transl=torch.zeros(6, 3))
    pulls = {}
    for name, degrees in {"jitter": 10.0, "flip": 180.0}.items():
        table = BodyPoseTable(still, standin, torch.arange(6))
        with torch.no_grad():
            table.frame_correction[2, 1] = math.radians(degrees)
        table.smoothness(torch.tensor([3])).backward()
        pulls[name] = float(table.frame_correction.grad[3, 1].abs())
    assert pulls["flip"] < 0.2 * pulls["jitter"]


def test_gradients_reach_every_kind_of_correction(table):
    pose = table.stored(torch.tensor([0])) + table.frame_correction[:1]
    table.transforms(pose).square().sum().backward()
    for parameter in (table.frame_correction, table.shared_correction, table.joint_offsets):
        assert parameter.grad.abs().sum() > 0
