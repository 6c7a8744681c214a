"""Joints alone: the body library's own joints must come back, whatever moves."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.motion import read_motion, shipped_motions
from nerfstudio_avatars.motion.forward_kinematics import posed_joints
from nerfstudio_avatars.motion.joint_positions import positions_to_poses
from nerfstudio_avatars.motion.mdm import joints_of_features
from nerfstudio_avatars.motion.npz import read_npz
from nerfstudio_avatars.motion.sam3d import smpl_joints


def joints_of(name: str, count: int = 22) -> np.ndarray:
    return posed_joints(read_npz(shipped_motions()[name]))[:, :count].double().numpy()


def test_forward_kinematics_is_the_body_librarys(standin):
    sequence = read_npz(shipped_motions()["cartwheel"])[::20]
    joints = posed_joints(sequence)
    for frame in range(len(sequence)):
        torch.testing.assert_close(joints[frame], standin.pose(sequence.state(frame)).joints, atol=1e-5, rtol=0)


@pytest.mark.parametrize("count", [22, 24])
@pytest.mark.parametrize("name", ["walk", "run", "dance_a", "cartwheel", "spinkick", "crawl"])
def test_joints_come_back_within_a_centimetre(tmp_path, name, count):
    joints = joints_of(name, count)
    np.save(tmp_path / "joints.npy", 100 * joints)
    motion = read_motion(tmp_path / "joints.npy")
    assert any("approximate" in note for note in motion.notes)
    ours = posed_joints(motion.sequence)[:, :count].double().numpy()
    assert np.linalg.norm(ours - joints, axis=-1).max() < 0.012


def test_hips_and_shoulders_turn_as_knees_and_elbows_bend(standin):
    """A squat with turned thighs: the twist is the file's, as the bend shows it."""
    poses = np.zeros((3, 24, 3))
    for joint, sign in ((1, 1), (2, -1)):
        poses[:, joint] = (Rotation.from_euler("y", 30 * sign, True) * Rotation.from_euler("x", -60, True)).as_rotvec()
    poses[:, [4, 5], 0] = 1.5
    poses[:, 18, 1], poses[:, 19, 1] = -1.2, 1.2
    joints = posed_joints(sequence_of(poses))[:, :22].double().numpy()
    found = positions_to_poses(joints)[0].reshape(3, 24, 3)
    np.testing.assert_allclose(found, poses, atol=0.06)


def sequence_of(poses: np.ndarray):
    from nerfstudio_avatars.bodies.body_sequence import BodySequence

    values = torch.from_numpy(poses).float().flatten(1)
    return BodySequence(torch.zeros(10), values[:, :3], values[:, 3:], torch.zeros(len(poses), 3))


def test_mdms_samples_are_persons(tmp_path):
    samples = [joints_of(name)[:25] for name in ("walk", "run", "crawl")]
    motion = np.stack([np.moveaxis(sample, 0, -1) for sample in samples])
    content = {"motion": motion, "text": ["a"] * 3, "lengths": np.array([25, 25, 20]), "num_samples": 1}
    np.save(tmp_path / "results.npy", content, allow_pickle=True)
    for person, frames in ((0, 25), (2, 20)):
        read = read_motion(tmp_path / "results.npy", person)
        assert len(read.sequence) == frames and read.sequence.fps == 20 and read.format.startswith("MDM")
        ours = posed_joints(read.sequence)[:, :22].double().numpy()
        np.testing.assert_allclose(ours, samples[person][:frames], atol=0.012)
    with pytest.raises(DataError, match="no person 3"):
        read_motion(tmp_path / "results.npy", 3)


def test_mdms_fitted_parameters_are_rows_of_matrices(tmp_path, vertices_of, smpl):
    sequence = read_npz(shipped_motions()["dance_a"])[:12]
    poses = torch.cat([sequence.global_orient, sequence.body_pose], 1).numpy().reshape(12, 24, 3)
    matrices = Rotation.from_rotvec(poses.reshape(-1, 3)).as_matrix().reshape(12, 24, 3, 3)
    thetas = np.moveaxis(matrices[..., :2, :].reshape(12, 24, 6), 0, -1)
    transl = sequence.transl.numpy()
    np.save(
        tmp_path / "a_smpl_params.npy",
        {"thetas": thetas, "root_translation": transl.T, "length": 12},
        allow_pickle=True,
    )
    motion = read_motion(tmp_path / "a_smpl_params.npy")
    for frame in (0, 11):
        expected = smpl(poses[frame].ravel(), transl[frame])[0]
        np.testing.assert_allclose(vertices_of(motion.sequence, frame), expected, atol=1e-4)


def features_of(joints: np.ndarray) -> np.ndarray:
    """HumanML3D's features, written down from its description: the world in the root's heading, frame by frame."""
    across = joints[:, 1] - joints[:, 2] + joints[:, 16] - joints[:, 17]
    ahead = np.cross(across, [0, 1, 0])
    heading = Rotation.from_rotvec(
        np.stack([0 * ahead[:, 0], -np.arctan2(ahead[:, 0], ahead[:, 2]), 0 * ahead[:, 0]], 1)
    )
    features = np.zeros((len(joints), 263))
    # Half angles of the turn from one frame to the next, about y.
    features[:-1, 0] = (heading[1:] * heading[:-1].inv()).as_rotvec()[:, 1] / 2
    root = joints[:, 0]
    features[:-1, 1:3] = heading[1:].apply(np.diff(root, axis=0))[:, [0, 2]]
    features[:, 3] = root[:, 1]
    local = joints[:, 1:] - root[:, None] * [1, 0, 1]
    turned = np.stack([turn.apply(frame) for turn, frame in zip(heading, local, strict=True)])
    features[:, 4:67] = turned.reshape(len(joints), 63)
    return features


@pytest.mark.parametrize("name", ["walk", "dance_a", "cartwheel"])
def test_humanml3ds_features_give_the_joints_in_the_first_frames_heading(tmp_path, name):
    joints = joints_of(name)
    features = features_of(joints)
    ours = joints_of_features(features)
    # Bones and paths are the same up to one turn about y and a shift.
    turn, _ = Rotation.align_vectors((joints - joints[:1, :1]).reshape(-1, 3), (ours - ours[:1, :1]).reshape(-1, 3))
    assert abs(turn.as_rotvec()[[0, 2]]).max() < 1e-3
    moved = np.stack([turn.apply(frame) for frame in ours - ours[:1, :1]])
    np.testing.assert_allclose(moved, joints - joints[:1, :1], atol=1e-3)
    np.save(tmp_path / "new_joint_vecs.npy", features.astype(np.float32))
    motion = read_motion(tmp_path / "new_joint_vecs.npy")
    assert motion.up == "y" and len(motion.sequence) == len(joints)


def test_normalised_features_are_told(tmp_path):
    np.save(tmp_path / "a.npy", np.random.default_rng(0).normal(size=(30, 263)).astype(np.float32))
    assert any("Std.npy" in note for note in read_motion(tmp_path / "a.npy").notes)


def test_kit_has_another_skeleton(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((30, 251)))
    with pytest.raises(DataError, match="KIT-ML"):
        read_motion(tmp_path / "a.npy")


def test_sam_3d_bodys_keypoints_move_the_limbs(tmp_path):
    """Keypoints put where the walker's joints are, in a camera (y down)."""
    joints = joints_of("walk", 24) * [1, -1, -1]
    places = {5: 16, 6: 17, 7: 18, 8: 19, 9: 1, 10: 2, 11: 4, 12: 5, 13: 7, 14: 8, 62: 20, 41: 21, 69: 12, 3: 15, 4: 15}
    points = np.zeros((len(joints), 70, 3))
    for point, joint in places.items():
        points[:, point] = joints[:, joint]
    for foot, toes in ((10, (15, 16)), (11, (18, 19))):
        points[:, toes] = (joints[:, foot - 3] + (joints[:, foot] - joints[:, foot - 3]) / 0.7)[:, None]
    found = smpl_joints(points)
    limbs = [1, 2, 4, 5, 7, 8, 10, 11, 12, 15, 16, 17, 18, 19, 20, 21]
    np.testing.assert_allclose(found[:, limbs], joints[:, limbs], atol=1e-9)
    frames = [[{"pred_keypoints_3d": point, "pred_cam_t": np.array([0.0, 0.0, 4.0])}] for point in points]
    np.save(tmp_path / "a.npy", np.array(frames, dtype=object)[:, 0], allow_pickle=True)
    import pickle

    (tmp_path / "a.pkl").write_bytes(pickle.dumps(frames))
    motion = read_motion(tmp_path / "a.pkl")
    assert (motion.format, motion.up, len(motion.sequence)) == ("SAM 3D Body", "-y", len(joints))
    ours = posed_joints(motion.sequence).double().numpy()
    for a, b in ((1, 4), (4, 7), (16, 18), (18, 20)):
        mine, theirs = ours[:, b] - ours[:, a], joints[:, b] - joints[:, a]
        cosine = (mine * theirs).sum(1) / np.linalg.norm(mine, axis=1) / np.linalg.norm(theirs, axis=1)
        assert cosine.min() > 0.999
