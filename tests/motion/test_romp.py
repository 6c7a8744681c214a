"""simple-ROMP's, BEV's and TRACE's npz files."""

from __future__ import annotations

import numpy as np
import pytest

from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.motion import read_motion

WHERE = np.random.default_rng(2).normal(size=(5, 3)) + [0, 0, 3]


def outputs(poses, where, ids=None, **changes) -> dict:
    """What ROMP says of one frame with some persons."""
    poses, where = np.atleast_2d(poses).astype(np.float32), np.atleast_2d(where).astype(np.float32)
    fields = dict(
        cam=np.ones((len(poses), 3), np.float32),
        smpl_thetas=poses,
        smpl_betas=np.zeros((len(poses), 10), np.float32),
        cam_trans=where,
        verts=np.zeros((len(poses), 20, 3), np.float32),
        center_confs=np.full(len(poses), 0.8, np.float32),
    )
    if ids is not None:
        fields["track_ids"] = np.array(ids, np.int32)
    return {**fields, **changes}


def write(tmp_path, frames: dict, **others):
    path = tmp_path / "video_results.npz"
    np.savez(path, results=frames, sequence_results={}, **others)
    return path


def hips_at(where, posed):
    """ROMP's `root_align`: the middle of the hips is moved to the origin, then to `cam_trans`."""
    vertices, joints = posed
    return vertices - joints[1:3].mean(0) + where


def test_a_video_has_the_hips_where_romp_puts_them(tmp_path, lively_poses, smpl, vertices_of):
    poses = lively_poses(5)
    frames = {f"{t:08d}.jpg": outputs(poses[t], WHERE[t], [1]) for t in (3, 0, 1, 2, 4)}
    motion = read_motion(write(tmp_path, frames))
    assert (motion.format, motion.up, len(motion.sequence)) == ("ROMP", "-y", 5)
    for t in range(5):
        np.testing.assert_allclose(vertices_of(motion.sequence, t), hips_at(WHERE[t], smpl(poses[t])), atol=1e-5)


def test_one_image_is_a_motion_of_one_frame(tmp_path, lively_poses, smpl, vertices_of):
    poses = lively_poses(1)
    motion = read_motion(write(tmp_path, outputs(poses, WHERE[:1])))
    assert len(motion.sequence) == 1
    np.testing.assert_allclose(vertices_of(motion.sequence, 0), hips_at(WHERE[0], smpl(poses[0])), atol=1e-5)


def test_tracks_are_followed_through_changing_order_and_gaps(tmp_path, lively_poses):
    mine, other = np.zeros((4, 72)), lively_poses(4)
    mine[:, 50] = [0.0, 0.1, 0.2, 0.3]
    frames = {
        "00000010.npz": outputs([mine[0], other[0]], WHERE[:2], [1, 2]),
        "00000011.npz": outputs([other[1], mine[1]], WHERE[:2], [2, 1]),
        "00000012.npz": None,
        "00000013.npz": outputs([mine[3]], WHERE[:1], [1]),
    }
    motion = read_motion(write(tmp_path, frames))
    np.testing.assert_allclose(motion.sequence.body_pose[:, 47], [0.0, 0.1, 0.2, 0.3], atol=1e-6)
    assert "person 1 of 1 (3 frames), 2 (2 frames)" in motion.notes[0] and "1 of 4 frames" in motion.notes[1]
    assert len(read_motion(write(tmp_path, frames), "2").sequence) == 2


def test_untracked_persons_are_said_to_be_told_apart_by_their_order(tmp_path, lively_poses):
    poses = lively_poses(2)
    motion = read_motion(write(tmp_path, {"0.jpg": outputs(poses, WHERE[:2]), "1.jpg": outputs(poses[0], WHERE[0])}))
    assert len(motion.sequence) == 2 and any("no `track_ids`" in note for note in motion.notes)


def test_bevs_child_is_said(tmp_path, lively_poses):
    betas = np.zeros((1, 11))
    betas[0, 10] = 0.9
    motion = read_motion(write(tmp_path, {"0.jpg": outputs(lively_poses(1), WHERE[:1], [1], smpl_betas=betas)}))
    assert any("child" in note for note in motion.notes)


@pytest.mark.parametrize("world", [True, False])
def test_trace_is_read_in_its_world(tmp_path, lively_poses, smpl, vertices_of, world):
    poses, turns = lively_poses(6), lively_poses(6, 1)[:, :3]
    frames = np.array([0, 0, 1, 1, 2, 3])
    where = np.random.default_rng(3).normal(size=(6, 3))
    fields = dict(
        reorganize_idx=frames,
        track_ids=np.array([1, 2, 2, 1, 1, 1]),
        smpl_thetas=poses,
        smpl_betas=np.zeros((6, 10)),
        cam_trans=where if not world else where + 4,
    )
    if world:
        fields.update(world_trans=where, world_global_rots=turns)
    np.savez(tmp_path / "trace.npz", outputs=fields, imgpaths=np.array(["a.jpg"]))
    motion = read_motion(tmp_path / "trace.npz")
    assert (motion.format, motion.up, len(motion.sequence)) == ("TRACE", "-y", 4)
    for frame, row in enumerate((0, 3, 4, 5)):
        pose = np.concatenate([turns[row], poses[row, 3:]]) if world else poses[row]
        truth = hips_at(where[row], smpl(pose))
        np.testing.assert_allclose(vertices_of(motion.sequence, frame), truth, atol=1e-5)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (outputs(np.zeros((2, 72)), WHERE[:1]), "`cam_trans` of 1 frames"),
        (outputs(np.zeros((0, 72)), np.zeros((0, 3))), "no person in any frame"),
        (outputs(np.zeros((1, 72)), np.full((1, 3), np.nan)), "without a single whole pose"),
    ],
)
def test_wrong_content_is_named(tmp_path, frame, message):
    with pytest.raises(DataError, match=message):
        read_motion(write(tmp_path, {"0.jpg": frame}))
