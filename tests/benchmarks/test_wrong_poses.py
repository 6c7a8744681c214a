"""Poses made wrong on purpose: as wrong as was asked for, where it was asked for; and the measure of it."""

import math

import pytest
import torch
from scipy.spatial.transform import Rotation
from wrong_poses import copy_with_poses, flipped, jittered, pose_error

from nerfstudio_avatars.bodies.body_sequence import BodySequence
from nerfstudio_avatars.demo import draw_demo_sequence
from nerfstudio_avatars.instant_avatar.data.people_snapshot_raw import read_poses

FRAMES = 200


@pytest.fixture(scope="module")
def motion():
    generator = torch.Generator().manual_seed(0)
    return BodySequence(
        betas=torch.zeros(10),
        global_orient=torch.randn(FRAMES, 3, generator=generator),
        body_pose=0.3 * torch.randn(FRAMES, 69, generator=generator),
        transl=torch.randn(FRAMES, 3, generator=generator),
    )


def rows(motion):
    return torch.cat([motion.global_orient, motion.body_pose, motion.transl], 1)


def error(motion, truth, standin):
    return pose_error(rows(motion), rows(truth), standin, truth.betas)


def test_jitter_is_as_large_as_asked_for(motion, standin):
    wrong = error(jittered(motion, range(FRAMES), 3.0, 0.02), motion, standin)
    # The mean length of three normal numbers is sqrt(8 / pi).
    mean = math.sqrt(8 / math.pi)
    assert wrong.joints_degrees == pytest.approx(3 * mean, rel=0.02)
    assert wrong.orient_degrees == pytest.approx(3 * mean, rel=0.1)
    assert wrong.root_cm == pytest.approx(2 * mean, rel=0.1)
    assert wrong.joint_positions_cm > wrong.root_cm


def test_jitter_turns_joints_in_their_own_frames(motion):
    """scipy composes the same rotations."""
    wrong = jittered(motion, [5], 10.0, 0.0)
    before = Rotation.from_rotvec(motion.body_pose[5].view(23, 3).numpy())
    after = Rotation.from_rotvec(wrong.body_pose[5].view(23, 3).numpy())
    small = jittered(motion, [5], 5.0, 0.0)
    half = Rotation.from_rotvec(small.body_pose[5].view(23, 3).numpy())
    full_turn, half_turn = (before.inv() * after).as_rotvec(), (before.inv() * half).as_rotvec()
    torch.testing.assert_close(torch.from_numpy(full_turn), 2 * torch.from_numpy(half_turn), atol=1e-5, rtol=0)


@pytest.mark.parametrize("change", [lambda m, f: jittered(m, f, 5.0, 0.05), flipped])
def test_only_the_frames_asked_for_change(motion, change):
    changed = (rows(change(motion, [3, 8])) != rows(motion)).any(1)
    assert changed.nonzero()[:, 0].tolist() == [3, 8]


def test_a_flip_turns_the_back_to_the_front_and_mirrors_the_limbs(motion, standin):
    """A body's points, mirrored across its own middle plane and turned by half a turn, are the flipped body's."""
    straight = BodySequence(motion.betas, torch.zeros(FRAMES, 3), motion.body_pose, torch.zeros(FRAMES, 3))
    wrong = flipped(straight, [4])
    true, found = (standin.pose(m.state(4)).joints for m in (straight, wrong))
    pelvis = true[:1]
    # Mirrored in x, then turned about y: together a reflection in z. Joints of the left stand where the right's were.
    expected = (true - pelvis) * torch.tensor([1.0, 1.0, -1.0])
    order = [0, 2, 1, 3, 5, 4, 6, 8, 7, 9, 11, 10, 12, 14, 13, 15, 17, 16, 19, 18, 21, 20, 23, 22]
    torch.testing.assert_close((found - pelvis)[order], expected, atol=0.02, rtol=0)
    torch.testing.assert_close(rows(flipped(wrong, [4]))[:, 3:], rows(straight)[:, 3:])


def test_the_true_poses_have_no_error_and_a_known_one_is_measured(motion, standin):
    assert max(vars(error(motion, motion, standin)).values()) < 1e-3
    poses = rows(motion).clone()
    poses[:, 72] += 0.03
    moved = pose_error(poses, rows(motion), standin, motion.betas)
    assert (moved.root_cm, moved.joint_positions_cm) == pytest.approx((3, 3), abs=1e-3)
    assert moved.joints_degrees < 1e-3


def test_a_copy_has_the_other_poses_and_the_same_everything_else(tmp_path):
    drawn = draw_demo_sequence(tmp_path / "drawn", size=32, frames=16)
    wrong = jittered(read_poses(drawn), [0, 2], 3.0, 0.02)
    copy = copy_with_poses(drawn, tmp_path / "wrong" / "demo-casual", wrong)
    torch.testing.assert_close(rows(read_poses(copy)), rows(wrong))
    same = [file.name for file in drawn.iterdir() if file.is_file() and "poses" not in file.name]
    assert len(same) > 5 and all((drawn / name).read_bytes() == (copy / name).read_bytes() for name in same)
