"""The right reader for any contents."""

from __future__ import annotations

import importlib
import logging
import pickle

import numpy as np
import pytest
import torch

from nerfstudio_avatars.bodies.body_sequence import BodySequence
from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.motion import MotionFile, in_world, load_motion, read_motion
from nerfstudio_avatars.motion.readers import READERS

TRANS = np.random.default_rng(1).normal(size=(3, 3))


@pytest.mark.parametrize("container", ["npz", "pickle"])
def test_plain_arrays_are_read_from_any_container(tmp_path, lively_poses, container):
    poses, path = lively_poses(3), tmp_path / "motion"
    fields = dict(poses=poses, trans=TRANS, fps=25, gender="female")
    with path.open("wb") as file:
        np.savez(file, **fields) if container == "npz" else pickle.dump(fields, file)
    motion = read_motion(path)
    assert motion.format == "SMPL arrays" and [note[:7] for note in motion.notes] == ["up axis"]
    assert (motion.sequence.fps, motion.sequence.gender) == (25, "female")
    torch.testing.assert_close(motion.sequence.transl, torch.from_numpy(TRANS).float())


def standing_in_z(angles: int) -> np.ndarray:
    poses = np.zeros((3, angles))
    poses[:, 0] = np.pi / 2
    return poses


@pytest.mark.parametrize(
    "fields",
    [
        dict(poses=standing_in_z(156), mocap_framerate=120.0, dmpls=np.zeros((3, 8))),
        dict(poses=standing_in_z(165), mocap_frame_rate=120, surface_model_type="smplx"),
        dict(root_orient=standing_in_z(3), pose_body=np.zeros((3, 63)), mocap_frame_rate=120.0),
        dict(
            root_orient=standing_in_z(3),
            pose_body=np.zeros((3, 63)),
            pose_hand=np.zeros((3, 90)),
            surface_model_type="smplx",
            mocap_frame_rate=120.0,
            labels=np.array(["C7", None], dtype=object),
        ),
    ],
)
def test_amass_is_known_by_its_keys_and_z_up(tmp_path, fields, caplog):
    np.savez(tmp_path / "a.npz", trans=TRANS, betas=np.ones(16), gender=np.bytes_(b"male"), **fields)
    with caplog.at_level(logging.WARNING):
        motion = read_motion(tmp_path / "a.npz")
    assert (motion.format, motion.up, motion.sequence.fps, motion.sequence.gender) == ("AMASS", "z", 120, "male")
    assert not motion.sequence.betas.any() and caplog.text.count("\n") == 1 and "betas" in caplog.text


def test_a_missing_frame_rate_is_said(tmp_path, lively_poses, caplog):
    np.savez(tmp_path / "a.npz", poses=lively_poses(3), trans=TRANS)
    assert read_motion(tmp_path / "a.npz").notes and "30 frames per second are assumed" in caplog.text


def test_unknown_contents_list_what_was_found_and_what_is_known(tmp_path):
    np.savez(tmp_path / "a.npz", verts=TRANS, faces=TRANS)
    with pytest.raises(DataError, match="a dict with faces, verts") as error:
        read_motion(tmp_path / "a.npz")
    assert all(reader.name in str(error.value) for reader in READERS) and "BVH" in str(error.value)


@pytest.mark.parametrize("content", [np.zeros(3), [1, 2], "text", {}])
def test_what_is_no_dict_of_poses_is_refused(tmp_path, content):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises(DataError, match=r"a (dict|list|str|ndarray)"):
        read_motion(tmp_path / "a.pkl")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (dict(smpl_poses=[[1, 2], [3]], smpl_trans=TRANS), "`smpl_poses`: .*inhomogeneous"),
        (dict(smpl_poses=np.zeros((3, 72)), smpl_trans=TRANS, fps=np.nan), "nan frames per second"),
        (dict(smpl_poses=np.zeros((3, 72)), smpl_trans=1e300 * TRANS), "beyond all bounds"),
    ],
)
def test_values_of_another_kind_give_one_clear_error(tmp_path, fields, message):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(fields))
    with pytest.raises(DataError, match=message):
        read_motion(tmp_path / "a.pkl")


@pytest.mark.parametrize("tool", ["bvh", "gltf"])
def test_scenes_go_to_their_own_readers(tmp_path, monkeypatch, tool):
    module = importlib.import_module(f"nerfstudio_avatars.motion.{tool}")
    sequence = BodySequence(torch.zeros(10), torch.zeros(2, 3), torch.zeros(2, 69), torch.zeros(2, 3))
    monkeypatch.setattr(module, f"is_{tool}", lambda head: head == b"a scene")
    monkeypatch.setattr(module, f"read_{tool}", lambda path, rest_joints, **_: MotionFile(sequence, path.name))
    (tmp_path / "motion.txt").write_bytes(b"a scene")
    assert read_motion(tmp_path / "motion.txt").format == "motion.txt"
    if tool == "gltf":
        with pytest.raises(DataError, match="no person 1"):
            read_motion(tmp_path / "motion.txt", 1)


def test_asking_a_file_of_one_person_for_another_is_refused(tmp_path, lively_poses):
    np.savez(tmp_path / "a.npz", poses=lively_poses(3), trans=TRANS)
    assert len(read_motion(tmp_path / "a.npz", person=0).sequence) == 3
    with pytest.raises(DataError, match="no person 1"):
        read_motion(tmp_path / "a.npz", person=1)


def test_the_person_can_be_chosen_for_the_world_too(tmp_path):
    """A person 2 upside down in the y-down camera stands upright in the world."""
    upright, reclining = np.zeros((2, 72)), np.zeros((3, 72))
    upright[:, 0] = np.pi
    persons = {
        name: dict(pose=poses, trans=np.zeros((len(poses), 3)), betas=np.zeros(10), frame_ids=np.arange(len(poses)))
        for name, poses in ((1, reclining), (2, upright))
    }
    (tmp_path / "wham.pkl").write_bytes(pickle.dumps(persons))
    assert len(load_motion(tmp_path / "wham.pkl")) == 3
    motion = load_motion(tmp_path / "wham.pkl", person=2)
    expected = torch.from_numpy(np.array([0.0, np.sqrt(0.5), np.sqrt(0.5)]) * np.pi).float()
    # x to its left and y up become -x and z: half a turn about the axis between y and z.
    torch.testing.assert_close(motion.global_orient[0].abs(), expected, atol=1e-3, rtol=0)


def test_what_was_read_can_be_stood_upright_without_reading_it_again(tmp_path, lively_poses, standin):
    np.savez(tmp_path / "a.npz", poses=lively_poses(3), trans=TRANS, mocap_framerate=60)
    pelvis_rest = standin.rest(torch.ones(10))[1][0]
    for up in (None, "-y"):
        ours = in_world(read_motion(tmp_path / "a.npz", pelvis_rest=pelvis_rest), pelvis_rest, up)
        truth = load_motion(tmp_path / "a.npz", pelvis_rest, up)
        assert torch.equal(ours.transl, truth.transl) and torch.equal(ours.global_orient, truth.global_orient)
