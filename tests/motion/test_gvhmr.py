"""GVHMR's torch files."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.motion import read_motion

WHERE = np.random.default_rng(3).normal(size=(4, 3))


def write(tmp_path, groups: dict, **others):
    path = tmp_path / "hmr4d_results.pt"
    torch.save({**groups, "K_fullimg": torch.eye(3).repeat(4, 1, 1), **others}, path)
    return path


def group(poses: np.ndarray, where: np.ndarray, **changes) -> dict:
    """SMPL-X parameters as GVHMR's `hmr4d_results.pt` has them."""
    fields = dict(global_orient=poses[:, :3], body_pose=poses[:, 3:66], transl=where, betas=np.ones((len(poses), 10)))
    return {name: torch.from_numpy(np.array(value)).float() for name, value in {**fields, **changes}.items()}


def test_the_world_motion_is_smpls_with_straight_hands(tmp_path, lively_poses, smpl, vertices_of):
    poses = lively_poses(4)
    groups = {
        "smpl_params_global": group(poses, WHERE),
        "smpl_params_incam": group(lively_poses(4, 1), WHERE + 5),
        "net_outputs": {"static_conf_logits": torch.zeros(1, 4, 6)},
    }
    motion = read_motion(write(tmp_path, groups))
    assert (motion.format, motion.up, motion.sequence.fps) == ("GVHMR", "y", 30)
    assert not motion.sequence.betas.any() and "13 cm" in motion.notes[0]
    poses[:, 66:] = 0
    for frame in range(4):
        truth, _ = smpl(poses[frame], WHERE[frame])
        np.testing.assert_allclose(vertices_of(motion.sequence, frame), truth, atol=1e-5)


def test_the_camera_motion_is_taken_where_there_is_no_other(tmp_path, lively_poses):
    motion = read_motion(write(tmp_path, {"smpl_params_incam": group(lively_poses(4), WHERE)}))
    assert motion.up == "-y"
    np.testing.assert_allclose(motion.sequence.transl, WHERE, atol=1e-6)


def test_a_frame_with_nan_is_filled_in(tmp_path, lively_poses):
    broken = WHERE.copy()
    broken[2] = np.nan
    motion = read_motion(write(tmp_path, {"smpl_params_global": group(lively_poses(4), broken)}))
    np.testing.assert_allclose(motion.sequence.transl[2], (WHERE[1] + WHERE[3]) / 2, atol=1e-6)
    assert motion.notes[0].startswith("1 of 4 frames")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(transl=WHERE[:3]), "`transl` of 3 frames"),
        (dict(body_pose=np.zeros((4, 60))), r"`smpl_params_global.body_pose` of shape \(4, 60\)"),
    ],
)
def test_wrong_content_is_named(tmp_path, lively_poses, changes, message):
    with pytest.raises(DataError, match=message):
        read_motion(write(tmp_path, {"smpl_params_global": group(lively_poses(4), WHERE, **changes)}))
