"""Limbs that follow their ends, judged by the body's own kinematics."""

from dataclasses import replace

import pytest
import torch

from nerfstudio_avatars.bodies.body_model import JOINT_NAMES, BodyState
from nerfstudio_avatars.bodies.rotations import axis_angle_to_matrix
from nerfstudio_avatars.studio.limb_reach import LIMBS, reach


def _with(state, rotations):
    pose = state.body_pose.view(23, 3).clone()
    for name, rotation in rotations.items():
        pose[JOINT_NAMES.index(name) - 1] = rotation
    return replace(state, body_pose=pose.flatten())


def _joints(standin, state):
    return standin.pose(state).joints


@pytest.mark.parametrize("end", LIMBS)
@pytest.mark.parametrize("seed", range(4))
def test_the_end_is_where_it_was_dragged_to(standin, random_pose, end, seed):
    state = random_pose(seed, 0.3)
    upper, lower, last = (JOINT_NAMES.index(name) for name in LIMBS[end])
    before = _joints(standin, state)
    length = (before[lower] - before[upper]).norm() + (before[last] - before[lower]).norm()
    direction = torch.nn.functional.normalize(torch.randn(3, generator=torch.Generator().manual_seed(seed)), dim=0)
    target = before[upper] + 0.7 * length * direction
    after = _joints(standin, _with(state, reach(state, standin, end, target)))
    torch.testing.assert_close(after[last], target, atol=2e-3, rtol=0)
    others = [joint for joint in range(24) if (after[joint] - before[joint]).norm() > 1e-4]
    below = {lower, last} | {JOINT_NAMES.index(end.replace("wrist", "hand").replace("ankle", "foot"))}
    assert set(others) <= below


@pytest.mark.parametrize("end", LIMBS)
def test_out_of_reach_it_stretches_towards_the_place(standin, random_pose, end):
    state = random_pose(7, 0.3)
    upper, lower, last = (JOINT_NAMES.index(name) for name in LIMBS[end])
    before = _joints(standin, state)
    target = before[upper] + torch.tensor([3.0, 1.0, -2.0])
    after = _joints(standin, _with(state, reach(state, standin, end, target)))
    length = (before[lower] - before[upper]).norm() + (before[last] - before[lower]).norm()
    assert (after[last] - after[upper]).norm() == pytest.approx(float(length), rel=2e-3)
    assert torch.nn.functional.cosine_similarity(after[last] - after[upper], target - after[upper], dim=0) > 0.9999


@pytest.mark.parametrize(
    ("end", "ahead"), [("left_wrist", 1), ("right_wrist", 1), ("left_ankle", -1), ("right_ankle", -1)]
)
def test_a_straight_limb_bends_as_bodies_do(standin, end, ahead):
    """Pulled in along itself, an elbow goes back and a knee forward; the rest pose faces +z."""
    state = BodyState(torch.zeros(10), torch.zeros(3), torch.zeros(69), torch.zeros(3))
    upper, lower, last = (JOINT_NAMES.index(name) for name in LIMBS[end])
    joints = _joints(standin, state)
    # What little the stand-in's limbs are bent is taken out first.
    straight = reach(state, standin, end, joints[upper] + 5 * (joints[last] - joints[upper]))
    state = _with(state, straight)
    joints = _joints(standin, state)
    target = joints[upper] + 0.8 * (joints[last] - joints[upper])
    after = _joints(standin, _with(state, reach(state, standin, end, target)))
    line = torch.nn.functional.normalize(after[last] - after[upper], dim=0)
    out = after[lower] - after[upper] - ((after[lower] - after[upper]) @ line) * line
    assert -ahead * float(out[2]) > 0.05


def test_whoever_is_where_they_should_be_stays(standin, random_pose):
    state = random_pose(1, 0.3)
    place = _joints(standin, state)[JOINT_NAMES.index("left_wrist")]
    for name, rotation in reach(state, standin, "left_wrist", place).items():
        now = state.body_pose.view(23, 3)[JOINT_NAMES.index(name) - 1]
        torch.testing.assert_close(axis_angle_to_matrix(rotation), axis_angle_to_matrix(now), atol=1e-4, rtol=0)
