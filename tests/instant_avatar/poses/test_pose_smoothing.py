import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from nerfstudio_avatars.bodies.body_sequence import BodySequence
from nerfstudio_avatars.instant_avatar.poses.pose_smoothing import (
    FEWEST_FRAMES,
    jumping_frames,
    likeness_of_neighbours,
    smooth_poses,
    smoothing_correction,
)


def turning(frames=60, turns=1.0):
    """A person who turns about the vertical, swings an arm and walks away."""
    time = np.linspace(0, 1, frames)
    poses = np.zeros((frames, 75))
    poses[:, :3] = (Rotation.from_rotvec([np.pi, 0, 0]) * turn(2 * np.pi * turns * time)).as_rotvec()
    poses[:, 50] = 0.8 + 0.3 * np.sin(4 * time)
    poses[:, 72:] = np.stack([0.2 * time, 0 * time, 3 + time**2], 1)
    return poses


def turn(angles):
    return Rotation.from_rotvec(np.asarray(angles)[:, None] * [0.0, 1.0, 0.0])


def angles_between(poses, others):
    a, b = (Rotation.from_rotvec(each[:, :72].reshape(-1, 3)) for each in (poses, others))
    return np.degrees((a.inv() * b).magnitude())


def test_exact_poses_stay():
    poses = turning()
    result = smooth_poses(poses, np.arange(60))
    assert angles_between(poses, result).max() < 0.05
    assert np.abs(poses - result).max() < 1e-3


def test_a_steady_walk_with_frames_left_out_stays():
    times = np.cumsum(np.arange(40) % 4 + 1)
    poses = np.zeros((40, 75))
    poses[:, 72] = 0.01 * times
    np.testing.assert_allclose(smooth_poses(poses, times)[:, 72], poses[:, 72], atol=1e-6)


@pytest.mark.parametrize(("degrees", "metres"), [(1, 0.005), (3, 0.02), (10, 0.05)])
def test_jitter_goes(degrees, metres):
    truth, random = turning(), np.random.default_rng(0)
    noise = Rotation.from_rotvec(np.radians(degrees) * random.standard_normal((60 * 24, 3)))
    rough = truth.copy()
    rough[:, :72] = (Rotation.from_rotvec(truth[:, :72].reshape(-1, 3)) * noise).as_rotvec().reshape(60, 72)
    rough[:, 72:] += metres * random.standard_normal((60, 3))
    smooth = smooth_poses(rough, np.arange(60))
    assert angles_between(smooth, truth).mean() < 0.45 * angles_between(rough, truth).mean()
    assert np.abs(smooth - truth)[:, 72:].mean() < 0.6 * np.abs(rough - truth)[:, 72:].mean()


def test_rotation_vectors_longer_than_half_a_turn_stay_near():
    poses = np.zeros((30, 75))
    poses[:, 1] = np.linspace(3.0, 7.0, 30)
    np.testing.assert_allclose(smooth_poses(poses, np.arange(30)), poses, atol=1e-3)


@pytest.mark.parametrize("wrong", [[20], [0], [59], [10, 11, 12, 40]])
def test_flipped_frames_are_found_and_put_between_the_others(wrong):
    truth = turning()
    flipped = truth.copy()
    flipped[wrong, :3] = (Rotation.from_rotvec(truth[wrong, :3]) * turn([np.pi] * len(wrong))).as_rotvec()
    assert np.nonzero(jumping_frames(flipped))[0].tolist() == wrong
    inside = [frame for frame in range(60) if frame not in (0, 59) or frame not in wrong]
    assert angles_between(smooth_poses(flipped, np.arange(60))[inside], truth[inside]).max() < 1


def test_a_fast_turn_is_no_jump():
    assert not jumping_frames(turning(60, turns=3)).any()


def test_where_everything_jumps_nothing_is_an_error():
    poses = np.zeros((40, 75))
    poses[::3, 1] = np.pi
    assert not jumping_frames(poses).any()


def test_few_frames_are_left_alone():
    poses = np.random.default_rng(0).standard_normal((FEWEST_FRAMES - 1, 75))
    np.testing.assert_array_equal(smooth_poses(poses, np.arange(len(poses))), poses)


def test_held_out_frames_have_no_say_in_trained_ones():
    poses = torch.from_numpy(turning()).float()
    poses[1::2] += 0.1 * torch.randn(30, 75, generator=torch.Generator().manual_seed(0))
    poses[20, :3] = torch.from_numpy((Rotation.from_rotvec(poses[20, :3].numpy()) * turn([np.pi])).as_rotvec()[0])
    sequence = BodySequence(torch.zeros(10), poses[:, :3], poses[:, 3:72], poses[:, 72:])
    correction, jumped = smoothing_correction(sequence, torch.arange(4, 60, 2))
    result = (poses + correction).numpy()
    assert jumped == [20]
    assert not correction[:4].any() and not correction[59:].any()
    assert angles_between(result[4::2], turning()[4::2]).max() < 1
    assert (
        angles_between(result[5:58:2], turning()[5:58:2]).mean()
        < 0.7 * angles_between(poses[5:58:2].numpy(), turning()[5:58:2]).mean()
    )


@pytest.mark.parametrize(("degrees", "likeness"), [(0.0, 1.0), (4.5, 1 / (1 + 0.3**4)), (15.0, 0.5), (45.0, 1 / 82)])
def test_neighbours_are_less_alike_the_farther_the_person_turns(degrees, likeness):
    orientations = torch.from_numpy(turn(np.radians(degrees) * np.arange(8)).as_rotvec()).float()
    assert likeness_of_neighbours(orientations) == pytest.approx(likeness, rel=1e-3)
    assert likeness_of_neighbours(orientations[:1]) == 1.0


def test_photographs_are_not_smoothed():
    poses = torch.from_numpy(turning(8, turns=7 / 8)).float()
    poses[3, 10] += 0.4
    photographs = BodySequence(torch.zeros(10), poses[:, :3], poses[:, 3:72], poses[:, 72:])
    correction, jumping = smoothing_correction(photographs, torch.arange(8))
    assert not correction.any() and jumping == []
