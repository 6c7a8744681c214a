"""The pose table: transforms against the body itself, corrections of held-out frames, bone lengths."""

import math
from dataclasses import replace

import pytest
import torch

from nerfstudio_avatars.bodies.body_sequence import BodySequence
from nerfstudio_avatars.bodies.linear_blend_skinning import skin
from nerfstudio_avatars.bodies.rotations import axis_angle_to_matrix, compose_axis_angle, slerp_axis_angle
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


def test_held_out_frames_take_their_neighbours_correction(table, sequence):
    """Joint by joint, as turns: rotation vectors of different poses do not add."""
    turn = torch.tensor([0.1, 0.0, 0.2])
    with torch.no_grad():
        for frame, share in {0: 1.0, 2: 3.0}.items():
            given = table.stored(torch.tensor([frame]))[0]
            table.frame_correction[frame, :3] = compose_axis_angle(given[:3], share * turn) - given[:3]
            table.frame_correction[frame, 72] = share
        table.frame_correction[1] = 77.0
    corrected = [table.state(frame) for frame in range(6)]
    for frame, share in enumerate([1.0, 2.0, 3.0, 1.5, 0.0, 0.0]):
        there = axis_angle_to_matrix(compose_axis_angle(sequence.global_orient[frame], share * turn))
        torch.testing.assert_close(axis_angle_to_matrix(corrected[frame].global_orient), there, atol=1e-5, rtol=0)
        assert float(corrected[frame].transl[0] - sequence.transl[frame, 0]) == pytest.approx(share, abs=1e-5)


def _film(standin, noise):
    """A smooth film of 24 frames, every fourth held out, its jittering estimate, and a table that has learnt the truth
    of its trained frames."""
    time = torch.linspace(0, 2, 24)[:, None]
    generator = torch.Generator().manual_seed(0)
    turning = torch.cat([torch.zeros(24, 2), 1.2 * time], 1)
    true = torch.cat([turning, 0.3 * torch.sin(1.5 * time + torch.arange(69.0)), time * torch.tensor([0.1, 0, 0])], 1)
    estimate = true + noise * torch.randn(24, 75, generator=generator)
    sequence = BodySequence(torch.zeros(10), estimate[:, :3], estimate[:, 3:72], estimate[:, 72:])
    trained = torch.tensor([frame for frame in range(24) if frame % 4 != 3])
    table = BodyPoseTable(sequence, standin, trained)
    with torch.no_grad():
        table.frame_correction[trained] = (true - estimate)[trained]
    return true, estimate, table


def test_held_out_frames_of_a_jittering_estimate_are_led_between_their_neighbours(standin):
    true, estimate, table = _film(standin, noise=0.1)
    inner = [frame for frame in range(4, 20) if frame % 4 == 3]
    told = torch.stack([table.state(frame).packed() for frame in inner])
    assert (told - true[inner]).abs().mean() < 0.1 * (estimate - true)[inner].abs().mean()


def test_what_neighbours_tell_follows_the_training(standin):
    asked, fresh = (_film(standin, noise=0.1)[2] for _ in range(2))
    before = asked.state(7).packed()
    for table in (asked, fresh):
        with torch.no_grad():
            table.frame_correction[8:] *= 0.2
    after = asked.state(7).packed()
    assert not torch.allclose(after, before, atol=1e-3)
    torch.testing.assert_close(after, fresh.state(7).packed())


def test_exact_poses_of_held_out_frames_stay_as_they_are(standin):
    """Even one that no neighbour knows of."""
    true, _, table = _film(standin, noise=0.0)
    with torch.no_grad():
        table.body_pose[7, 10] += 1.0
    changed = true[7].clone()
    changed[13] += 1.0
    torch.testing.assert_close(table.state(7).packed(), changed, atol=1e-5, rtol=0)


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
