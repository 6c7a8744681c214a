"""The pose table: transforms against the body itself, corrections of held-out frames, bone lengths."""

import pytest
import torch

from nerfstudio_avatars.bodies.pose_table import BodyPoseTable, canonical_state
from nerfstudio_avatars.data.body_sequence import BodySequence
from nerfstudio_avatars.deformations.linear_blend_skinning import skin


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


def test_smooth_corrections_cost_nothing_but_their_size(table):
    with torch.no_grad():
        table.frame_correction.copy_(torch.arange(6.0)[:, None] * 0.01)
    smooth = table.smoothness(torch.tensor([2]))
    with torch.no_grad():
        table.frame_correction[2] += 0.1
    assert table.smoothness(torch.tensor([2])) > 5 * smooth


def test_gradients_reach_every_kind_of_correction(table):
    pose = table.stored(torch.tensor([0])) + table.frame_correction[:1]
    table.transforms(pose).square().sum().backward()
    for parameter in (table.frame_correction, table.shared_correction, table.joint_offsets):
        assert parameter.grad.abs().sum() > 0
