"""The width of a frame tells what a pose is, for every number of frames."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.motion import read_motion
from nerfstudio_avatars.motion.rotation_fields import whole_body

FRAMES = (1, 3, 9, 21, 22, 23, 24, 46, 55, 63, 66, 69, 72)


def draw(frames: int) -> np.ndarray:
    poses = 0.3 * np.random.default_rng(frames).normal(size=(frames, 24, 3))
    poses[:, [4, 5], 0] = abs(poses[:, [4, 5], 0]) + 0.3  # knees
    return poses


def written(poses: np.ndarray, kind: str) -> np.ndarray:
    """(frames, joints, 3) as scipy writes it."""
    turns = Rotation.from_rotvec(poses.reshape(-1, 3))
    matrix = turns.as_matrix()
    values = {
        "axis-angle": poses,
        "matrices": matrix,
        "wxyz": np.roll(turns.as_quat(), 1, 1),
        "xyzw": turns.as_quat(),
        "columns": np.concatenate([matrix[..., 0], matrix[..., 1]], -1),
        "rows": np.concatenate([matrix[:, 0], matrix[:, 1]], -1),
        "interleaved": matrix[..., :2].reshape(-1, 6),
    }[kind]
    return values.reshape(*poses.shape[:2], *values.shape[(2 if kind == "axis-angle" else 1) :])


@pytest.mark.parametrize("flat", [True, False])
@pytest.mark.parametrize("kind", ["axis-angle", "matrices", "wxyz", "xyzw", "columns", "rows", "interleaved"])
@pytest.mark.parametrize("joints", [21, 22, 23, 24, 52, 55])
def test_every_width_is_read_for_every_number_of_frames(joints, kind, flat):
    for frames in FRAMES:
        poses = draw(frames)
        first = 1 if joints in (21, 23) else 0
        inner = poses[:, first : min(first + joints, 22 if joints != 24 and joints != 23 else 24)]
        given = np.concatenate([inner, 0.1 * np.ones((frames, joints - inner.shape[1], 3))], 1)
        value = written(given, kind)
        value = value.reshape(frames, -1) if flat else value
        found, notes, own = whole_body("a.npz", "poses", value)
        expected = poses.copy()
        expected[:, 22:] *= own
        if first:
            expected[:, 0] = 0
        np.testing.assert_allclose(found.reshape(frames, 24, 3), expected, atol=1e-6)
        assert own == (joints in (23, 24)) and any("read from" in note for note in notes) == (kind != "axis-angle")


@pytest.mark.parametrize("kind", ["axis-angle", "matrices", "wxyz", "columns", "rows"])
@pytest.mark.parametrize("joints", [21, 23])
def test_root_and_body_apart_are_read_alike(tmp_path, joints, kind):
    for frames in FRAMES:
        poses = draw(frames)
        poses[:, 1 + joints :] = 0
        fields = {"global_orient": written(poses[:, :1], kind), "body_pose": written(poses[:, 1 : 1 + joints], kind)}
        np.savez(tmp_path / "a.npz", transl=np.zeros((frames, 3)), **fields)
        sequence = read_motion(tmp_path / "a.npz").sequence
        found = np.concatenate([sequence.global_orient, sequence.body_pose], 1).reshape(frames, 24, 3)
        np.testing.assert_allclose(found, poses, atol=1e-5)


@pytest.mark.parametrize("shape", [(5, 60), (5, 71), (72, 5), (5, 24, 5), (0, 72), (5,)])
def test_other_widths_are_named(shape):
    with pytest.raises(DataError, match="`poses` of shape"):
        whole_body("a.npz", "poses", np.ones(shape))


def test_a_matrix_that_mirrors_or_stretches_is_no_rotation():
    for factor in (-1.0, 1.1):
        with pytest.raises(DataError, match="`poses` of shape"):
            whole_body("a.npz", "poses", np.tile(factor * np.eye(3), (4, 24, 1, 1)))
