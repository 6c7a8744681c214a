"""SLAHMR, TRAM, VIBE, PyMAF-X, WHAM's API, MOYO, and parameters in one file a frame."""

from __future__ import annotations

import json
import pickle

import joblib
import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.motion import read_motion

WHERE = np.random.default_rng(1).normal(size=(6, 3))


def matrices(poses: np.ndarray) -> np.ndarray:
    return Rotation.from_rotvec(poses.reshape(-1, 3)).as_matrix().reshape(*poses.shape[:-1], -1, 3, 3)


def check(motion, poses, transl, smpl, vertices_of, atol=1e-5):
    for frame in range(len(poses)):
        truth = smpl(poses[frame], transl[frame])[0]
        np.testing.assert_allclose(vertices_of(motion.sequence, frame), truth, atol=atol)


@pytest.mark.parametrize("joints", [(63,), (21, 3)])
def test_slahmrs_people_are_apart_and_hidden_frames_filled(tmp_path, lively_poses, smpl, vertices_of, joints):
    poses = np.stack([lively_poses(6), lively_poses(6, 1)])
    poses[..., 66:] = 0
    mask = np.array([[True] * 6, [True, True, False, True, True, False]])
    body = poses[..., 3:66].reshape(2, 6, *joints)
    np.savez(
        tmp_path / "a_000000_world_results.npz", root_orient=poses[..., :3], pose_body=body,
        trans=np.stack([WHERE, -WHERE]), betas=np.ones((2, 16)), track_mask=mask, intrins=np.ones(4),
    )  # fmt: skip
    first, second = (read_motion(tmp_path / "a_000000_world_results.npz", person) for person in (None, 1))
    assert first.format == "SLAHMR" and any("0 (6 frames), 1 (4 frames)" in note for note in first.notes)
    check(first, poses[0], WHERE, smpl, vertices_of)
    assert len(second.sequence) == 5 and any("1 of 5 frames" in note for note in second.notes)
    np.testing.assert_allclose(vertices_of(second.sequence, 3), smpl(poses[1, 3], -WHERE[3])[0], atol=1e-5)


@pytest.mark.parametrize("tensors", [True, False])
def test_trams_tracks_are_read_though_their_tensors_are_pickled(tmp_path, lively_poses, smpl, vertices_of, tensors):
    poses = lively_poses(6)
    fields = {
        "pred_rotmat": matrices(poses).reshape(6, 24, 3, 3),
        "pred_trans": WHERE[:, None],
        "frame": np.arange(4, 10),
    }
    fields |= {"pred_shape": np.zeros((6, 10)), "pred_cam": np.zeros((6, 3))}
    content = {name: torch.from_numpy(value) for name, value in fields.items()} if tensors else fields
    np.save(tmp_path / "hps_track_0.npy", content, allow_pickle=True)
    motion = read_motion(tmp_path / "hps_track_0.npy")
    assert (motion.format, motion.up) == ("TRAM", "-y")
    check(motion, poses, WHERE, smpl, vertices_of)


def vibe(poses: np.ndarray, **changes) -> dict:
    camera = np.concatenate([np.ones((len(poses), 2)), WHERE[: len(poses), :2]], 1)
    return {"pose": poses, "orig_cam": camera, "pred_cam": camera[:, 1:], "betas": np.zeros((len(poses), 10))} | changes


def test_vibes_persons_are_placed_in_the_picture(tmp_path, lively_poses, smpl, vertices_of):
    poses = lively_poses(6)
    joblib.dump({1: vibe(poses), 2: vibe(poses[:2])}, tmp_path / "vibe_output.pkl")
    motion = read_motion(tmp_path / "vibe_output.pkl")
    assert (motion.format, motion.up) == ("VIBE / PyMAF", "-y") and any(
        "weak-perspective" in note for note in motion.notes
    )
    check(motion, poses, WHERE * [1, 1, 0], smpl, vertices_of)
    assert len(read_motion(tmp_path / "vibe_output.pkl", 2).sequence) == 2


def test_pymaf_xs_rows_of_all_persons_are_taken_apart(tmp_path, lively_poses, smpl, vertices_of):
    poses = lively_poses(6)
    params = [{"body_pose": torch.zeros(2, 22, 3, 3), "jaw_pose": torch.zeros(2, 1, 3, 3)} for _ in range(3)]
    content = vibe(
        poses, orig_cam_t=WHERE, person_ids=["a", "b"] * 3, frame_ids=[0, 0, 1, 1, 2, 2], smplx_params=params
    )
    joblib.dump(content, tmp_path / "output.pkl")
    motion = read_motion(tmp_path / "output.pkl", "b")
    assert len(motion.sequence) == 3
    check(motion, poses[1::2], WHERE[1::2], smpl, vertices_of)


@pytest.mark.parametrize("wrapped", [True, False])
def test_whams_api_gives_matrices(tmp_path, lively_poses, smpl, vertices_of, wrapped):
    poses = lively_poses(6)
    full = matrices(poses).reshape(6, 24, 3, 3)
    person = {
        "poses_body": full[:, 1:],
        "poses_root_world": full[:, :1],
        "trans_world": WHERE,
        "betas": np.zeros((6, 10)),
    }
    person |= {"poses_root_cam": full[:, :1], "verts_cam": np.zeros((6, 5, 3)), "frame_id": np.arange(6)}
    content = ({0: person}, {0: {"bbox": np.zeros(3)}}, np.zeros((6, 7))) if wrapped else {0: person}
    (tmp_path / "wham.pkl").write_bytes(pickle.dumps(content))
    motion = read_motion(tmp_path / "wham.pkl")
    assert (motion.format, motion.up) == ("WHAM", "y")
    for frame in range(6):
        vertices, joints = smpl(poses[frame])
        truth = vertices - joints[1:3].mean(0) + WHERE[frame]
        np.testing.assert_allclose(vertices_of(motion.sequence, frame), truth, atol=1e-4)


def test_moyos_full_poses_are_read(tmp_path, lively_poses, smpl, vertices_of):
    poses = lively_poses(6)
    poses[:, 66:] = 0
    wide = np.concatenate([poses[:, :66], np.ones((6, 99))], 1)
    (tmp_path / "yoga.pkl").write_bytes(
        pickle.dumps({"fullpose": wide, "trans": WHERE, "betas": np.ones(300), "gender": "male"})
    )
    check(read_motion(tmp_path / "yoga.pkl"), poses, WHERE, smpl, vertices_of)


NAMES = [
    ("root_pose", "body_pose", "trans"),
    ("global_orient", "body_pose", "transl"),
    ("smplx_root_pose", "smplx_body_pose", "trans"),
]


@pytest.mark.parametrize("names", NAMES)
@pytest.mark.parametrize("ending", [".json", ".npz", ".pkl"])
def test_one_file_a_frame_is_a_motion(tmp_path, lively_poses, smpl, vertices_of, names, ending):
    """ExAvatar's JSON, SMPLer-X's and SMPLest-X's npz, X-Avatar's pickles; 10 comes after 9."""
    poses = lively_poses(12)
    poses[:, 66:] = 0
    transl = np.concatenate([WHERE, WHERE + 1])
    folder = tmp_path / "smplx_params"
    folder.mkdir()
    for frame in range(12):
        values = dict(zip(names, (poses[frame, :3], poses[frame, 3:66].reshape(21, 3), transl[frame]), strict=True))
        values |= {"jaw_pose": np.zeros(3), "betas": np.ones(10), "expr": np.zeros(50)}
        if ending == ".json":
            (folder / f"{frame}.json").write_text(json.dumps({name: value.tolist() for name, value in values.items()}))
        elif ending == ".npz":
            np.savez(folder / f"{frame}.npz", **values)
        else:
            (folder / f"{frame}.pkl").write_bytes(pickle.dumps(values))
    motion = read_motion(folder)
    assert len(motion.sequence) == 12 and not motion.sequence.betas.any()
    check(motion, poses, transl, smpl, vertices_of)


def test_persons_in_the_names_of_frames_are_not_mixed(tmp_path, lively_poses, smpl, vertices_of):
    """SMPLer-X writes `FRAME_PERSON.npz`; the second person is seen in two of three frames."""
    poses = lively_poses(5)
    poses[:, 66:] = 0
    for row, name in enumerate(["00001_0", "00002_0", "00003_0", "00001_1", "00003_1"]):
        fields = {"global_orient": poses[row : row + 1, :3], "body_pose": poses[row, 3:66].reshape(21, 3)}
        np.savez(tmp_path / f"{name}.npz", **fields, transl=np.full((1, 3), row), betas=np.ones((1, 10)))
    first, second = read_motion(tmp_path), read_motion(tmp_path, person="1")
    assert any("person 0 of 0 (3 frames), 1 (2 frames)" in note for note in first.notes)
    check(first, poses[:3], np.arange(3)[:, None] * np.ones(3), smpl, vertices_of)
    check(second, poses[3:], np.arange(3, 5)[:, None] * np.ones(3), smpl, vertices_of)
    with pytest.raises(DataError, match="no person 2"):
        read_motion(tmp_path, person="2")


def test_a_frame_without_its_pose_is_named(tmp_path):
    for frame in range(3):
        fields = {"root_pose": [0, 0, 0], "body_pose": [0.0] * 63, "trans": [0, 0, 0]}
        if frame == 1:
            del fields["trans"]
        (tmp_path / f"{frame}.json").write_text(json.dumps(fields))
    with pytest.raises(DataError, match="no `trans` in frame 1"):
        read_motion(tmp_path)
