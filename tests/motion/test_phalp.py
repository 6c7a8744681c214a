"""4D-Humans' and PHALP's joblib files."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.motion import read_motion

joblib = pytest.importorskip("joblib")


def smpl_of(pose: np.ndarray, betas=None) -> dict:
    """A person's parameters as HMR2 predicts them: rotation matrices."""
    matrices = Rotation.from_rotvec(pose.reshape(24, 3)).as_matrix().astype(np.float32)
    betas = np.zeros(10) if betas is None else betas
    return {"global_orient": matrices[:1], "body_pose": matrices[1:], "betas": np.float32(betas)}


def frame(time: int, *persons: tuple[int, np.ndarray, np.ndarray, int]) -> dict:
    """One frame with persons (track id, pose, camera, frames since it was seen), and PHALP's other fields."""
    return {
        "time": time,
        "shot": 0,
        "frame_path": f"_DEMO/gymnasts/img/{time + 1:06d}.jpg",
        "tid": [person for person, *_ in persons],
        "tracked_ids": [person for person, *_, unseen in persons if not unseen],
        "tracked_time": [unseen for *_, unseen in persons],
        "bbox": [np.array([1.0, 2, 3, 4]) for _ in persons],
        "smpl": [smpl_of(pose) for _, pose, _, _ in persons],
        "camera": [np.float32(camera) for _, _, camera, _ in persons],
        "mask": [{"size": [720, 1280], "counts": b"\x00\xffabc"} for _ in persons],
        "conf": [np.float32(0.9) for _ in persons],
    }


def write(tmp_path, *frames: dict):
    path = tmp_path / "demo_gymnasts.pkl"
    joblib.dump({each["frame_path"]: each for each in frames}, path)
    return path


def test_matrices_and_the_camera_give_the_drawn_vertices(tmp_path, lively_poses, smpl, vertices_of):
    poses, cameras = lively_poses(4), np.random.default_rng(1).normal(size=(4, 3)) + [0, 0, 30]
    frames = [frame(t, (1, poses[t], cameras[t], 0)) for t in range(4)]
    # Dicts keep the order of writing, which is not the order of time.
    motion = read_motion(write(tmp_path, *frames[::-1]))
    assert (motion.format, motion.up, motion.sequence.fps) == ("4D-Humans / PHALP", "-y", 30)
    for t in range(4):
        truth = smpl(poses[t])[0] + cameras[t]
        np.testing.assert_allclose(vertices_of(motion.sequence, t), truth, atol=2e-5)


def test_repeated_poses_of_hidden_persons_are_replaced(tmp_path, lively_poses):
    """While person 1 is hidden, its last pose is repeated; person 2 comes and goes beside it."""
    poses = np.zeros((5, 72))
    poses[:, 50] = [0, 0.1, 0.1, 0.1, 0.4]
    cameras = np.array([[0, 0, 9], [1, 0, 9], [1, 0, 9], [1, 0, 9], [4, 0, 9.0]])
    other = (2, lively_poses(1)[0], np.array([5, 5, 5]), 0)
    seen = [0, 0, 1, 2, 0]
    frames = [frame(t, *([other] if t in (1, 2) else []), (1, poses[t], cameras[t], seen[t])) for t in range(5)]
    motion = read_motion(write(tmp_path, *frames))
    np.testing.assert_allclose(motion.sequence.body_pose[:, 47], [0, 0.1, 0.2, 0.3, 0.4], atol=1e-6)
    np.testing.assert_allclose(motion.sequence.transl[:, 0], [0, 1, 2, 3, 4], atol=1e-5)
    assert "person 1 of 1 (3 frames), 2 (2 frames)" in motion.notes[0] and "2 of 5 frames" in motion.notes[1]
    assert len(read_motion(write(tmp_path, *frames), person=2).sequence) == 2


def test_frames_before_the_first_and_after_the_last_sight_are_left_out(tmp_path, lively_poses):
    pose, camera = lively_poses(1)[0], np.zeros(3)
    frames = [frame(0), frame(1, (1, pose, camera, 0)), frame(2, (1, pose, camera, 0)), frame(3, (1, pose, camera, 1))]
    motion = read_motion(write(tmp_path, *frames))
    assert len(motion.sequence) == 2 and not any("filled" in note for note in motion.notes)


def broken(**changes) -> dict:
    return {**frame(0, (1, np.zeros(72), np.zeros(3), 0)), **changes}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (frame(0), "no person in any frame"),
        (broken(camera=[]), "1 `tid`, 1 `smpl`, 0 `camera`"),
        (broken(smpl=[{"global_orient": 2 * np.eye(3), "body_pose": np.zeros((23, 3, 3))}]), "no rotations"),
        (broken(smpl=[{"global_orient": np.eye(3), "body_pose": np.zeros((23, 3))}]), "`body_pose` of shape"),
    ],
)
def test_wrong_content_is_named(tmp_path, content, message):
    with pytest.raises(DataError, match=message):
        read_motion(write(tmp_path, content))
