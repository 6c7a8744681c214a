"""AIST++'s pickles."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.motion import load_motion, read_motion

TRANS = np.random.default_rng(1).normal(scale=90, size=(5, 3))


def write(tmp_path, **fields):
    path = tmp_path / "gBR_sBM_cAll_d04_mBR0_ch01.pkl"
    path.write_bytes(pickle.dumps(fields, 4))
    return path


@pytest.mark.parametrize("joints", [False, True])
def test_translations_are_divided_by_the_scaling(tmp_path, lively_poses, smpl, vertices_of, joints):
    poses = lively_poses(5)
    stored = poses.reshape(5, 24, 3) if joints else poses
    path = write(tmp_path, smpl_poses=stored, smpl_trans=TRANS, smpl_scaling=np.array([93.78]), smpl_loss=0.1)
    motion = read_motion(path)
    assert (motion.format, motion.up, len(motion.notes), motion.sequence.fps) == ("AIST++", "y", 1, 60)
    # AIST++'s own viewer draws the body at `smpl_trans` in centimetres, enlarged by the scaling.
    for frame in range(5):
        drawn = smpl(poses[frame])[0] * 93.78 + TRANS[frame]
        np.testing.assert_allclose(vertices_of(motion.sequence, frame) * 93.78, drawn, atol=1e-3)


def test_a_dance_keeps_its_length_and_stands_upright_in_the_world(tmp_path, standin):
    path = write(tmp_path, smpl_poses=np.zeros((7, 72)), smpl_trans=np.zeros((7, 3)), smpl_scaling=np.ones(1))
    motion = load_motion(path)
    joints = dict(zip(standin.joint_names, standin.pose(motion.state(3)).joints, strict=True))
    assert len(motion) == 7 and joints["head"][2] > 0.5


def test_a_file_without_scaling_says_that_it_guesses(tmp_path, lively_poses):
    motion = read_motion(write(tmp_path, smpl_poses=lively_poses(5), smpl_trans=TRANS))
    torch.testing.assert_close(motion.sequence.transl, torch.from_numpy(TRANS).float())
    assert "read as metres" in motion.notes[0]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (dict(smpl_poses=np.zeros((5, 72)), smpl_trans=TRANS, smpl_scaling=np.zeros(1)), "`smpl_scaling` 0"),
        (dict(smpl_poses=np.zeros((4, 72)), smpl_trans=TRANS), "`smpl_poses` of 4 frames, `smpl_trans` of 5 frames"),
        (dict(smpl_poses=np.zeros((5, 60)), smpl_trans=TRANS), r"`smpl_poses` of shape \(5, 60\)"),
        (dict(smpl_poses=np.full((5, 72), np.nan), smpl_trans=TRANS), "without a single whole pose"),
        (dict(smpl_poses="dance", smpl_trans=TRANS), "`smpl_poses`"),
    ],
)
def test_wrong_content_is_named(tmp_path, fields, message):
    with pytest.raises(DataError, match=message):
        read_motion(write(tmp_path, **fields))
