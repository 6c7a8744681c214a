"""Body parameters over time, checked by posing the body."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation, Slerp

from nerfstudio_avatars.bodies.body_model import BodyState
from nerfstudio_avatars.bodies.body_sequence import BodySequence
from nerfstudio_avatars.motion.npz import read_npz


@pytest.fixture
def sequence() -> BodySequence:
    """Five random frames."""
    generator = torch.Generator().manual_seed(0)
    betas, orient, body, transl = (torch.randn(*size, generator=generator) for size in ((10,), (5, 3), (5, 69), (5, 3)))
    return BodySequence(betas, orient, 0.5 * body, transl, fps=24.0, gender="female", body="smpl")


def rotation_and_shift(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    matrix = Rotation.random(random_state=seed).as_matrix()
    return torch.from_numpy(matrix).float(), torch.from_numpy(rng.normal(size=3)).float()


def assert_same(one: BodySequence, other: BodySequence) -> None:
    for name, value in vars(one).items():
        if isinstance(value, torch.Tensor):
            torch.testing.assert_close(value, getattr(other, name))
        else:
            assert value == getattr(other, name)


@pytest.mark.parametrize("seed", range(3))
def test_the_body_moves_rigidly_with_the_frame(standin, sequence, seed):
    """Vertices of the moved sequence are the moved vertices: the root turns about the rest pelvis."""
    rotation, shift = rotation_and_shift(seed)
    pelvis_rest = standin.rest(sequence.betas)[1][0]
    moved = sequence.in_frame(rotation, shift, pelvis_rest)
    for frame in range(len(sequence)):
        expected = standin.pose(sequence.state(frame)).vertices @ rotation.T + shift
        torch.testing.assert_close(standin.pose(moved.state(frame)).vertices, expected, atol=1e-5, rtol=0)


def test_forgetting_the_pelvis_would_show(standin, sequence):
    """The test above can tell: pivoting about the origin puts the body elsewhere."""
    upside_down = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    pelvis_rest = standin.rest(sequence.betas)[1][0]
    right = sequence.in_frame(upside_down, torch.zeros(3), pelvis_rest)
    wrong = sequence.in_frame(upside_down, torch.zeros(3), torch.zeros(3))
    assert (right.transl - wrong.transl).norm(dim=-1).min() > 0.4


def test_the_pelvis_is_where_the_body_has_it(standin, sequence):
    pelvis = sequence.pelvis(standin.rest(sequence.betas)[1][0])
    expected = torch.stack([standin.pose(sequence.state(frame)).joints[0] for frame in range(len(sequence))])
    torch.testing.assert_close(pelvis, expected, atol=1e-5, rtol=0)


def test_halfway_between_frames_is_scipys_slerp(sequence):
    state = sequence.at((1 + 0.5) / 4)
    ends = [torch.cat([sequence.global_orient[frame], sequence.body_pose[frame]]).view(24, 3) for frame in (1, 2)]
    ours = torch.cat([state.global_orient, state.body_pose]).view(24, 3)
    for joint in range(24):
        between = Slerp([0, 1], Rotation.from_rotvec(np.stack([end[joint].numpy() for end in ends])))(0.5)
        assert (Rotation.from_rotvec(ours[joint].numpy()) * between.inv()).magnitude() < 1e-5
    torch.testing.assert_close(state.transl, sequence.transl[1:3].mean(0))


@pytest.mark.parametrize(("time", "frame"), [(0.0, 0), (0.25, 1), (1.0, 4), (-3.0, 0), (7.0, 4)])
def test_at_a_frames_own_time_the_frame_is_met(sequence, time, frame):
    met, own = sequence.at(time), sequence.state(frame)
    for name in ("betas", "global_orient", "body_pose", "transl"):
        a, b = getattr(met, name), getattr(own, name)
        if name in ("global_orient", "body_pose"):  # Angles beyond a half turn may come back the other way round.
            a, b = (torch.from_numpy(Rotation.from_rotvec(part.view(-1, 3).numpy()).as_matrix()) for part in (a, b))
        torch.testing.assert_close(a, b, atol=1e-5, rtol=0)


def test_a_sequence_of_one_frame_has_one_pose(sequence):
    torch.testing.assert_close(sequence[3:4].at(0.7).transl, sequence.transl[3])


def test_slices_keep_the_shape_and_the_speed(sequence):
    every_other = sequence[1::2]
    assert len(every_other) == 2 and every_other.fps == 12.0 and torch.equal(every_other.betas, sequence.betas)
    assert torch.equal(every_other.transl, sequence.transl[[1, 3]])
    assert torch.equal(sequence[-1].transl, sequence.transl[4]), "a single frame is a pose"
    with pytest.raises(IndexError):
        sequence[5]


def test_resampling_keeps_the_duration_and_the_ends(sequence):
    faster = sequence.resampled(48.0)
    assert len(faster) == 9 and faster.fps == 48.0
    torch.testing.assert_close(faster.transl[::2], sequence.transl)


def test_a_saved_sequence_comes_back(tmp_path, sequence):
    sequence.save(tmp_path / "new" / "poses.npz")
    assert_same(read_npz(tmp_path / "new" / "poses.npz"), sequence)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["poses.npz"]


def test_a_deep_copy_is_equal(sequence):
    assert_same(copy.deepcopy(sequence), sequence)


def test_wrong_shapes_are_named():
    # jaxtyping, where it is switched on, raises a TypeError before the class itself can.
    with pytest.raises((ValueError, TypeError), match="body_pose"):
        BodySequence(torch.zeros(10), torch.zeros(2, 3), torch.zeros(2, 63), torch.zeros(2, 3))


def test_states_are_float32():
    doubles = [torch.zeros(*size, dtype=torch.float64) for size in ((10,), (2, 3), (2, 69), (2, 3))]
    state = BodySequence(*doubles).state(1)
    assert isinstance(state, BodyState) and state.body_pose.dtype == torch.float32
