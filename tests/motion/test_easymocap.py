"""EasyMocap's folders of JSON files and ZJU-MoCap's of npy files."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.motion import load_motion, read_motion

SHIFTS = np.random.default_rng(4).normal(size=(12, 3))


def fields(poses: np.ndarray, frame: int, /, **changes) -> dict:
    """A person of a frame: the orientation in `Rh`, none in `poses`."""
    rest = np.concatenate([np.zeros(3), poses[frame, 3:]])
    found = dict(Rh=poses[None, frame, :3], Th=SHIFTS[None, frame], poses=rest[None], shapes=np.zeros((1, 10)))
    return {**found, **changes}


def drawn(poses: np.ndarray, frame: int, smpl) -> np.ndarray:
    """EasyMocap's own rule: skin the body without its root's turn, then turn it about the origin, then shift it."""
    vertices, _ = smpl(np.concatenate([np.zeros(3), poses[frame, 3:]]))
    return Rotation.from_rotvec(poses[frame, :3]).apply(vertices) + SHIFTS[frame]


def write_json(folder, poses, /, annots=False, **changes):
    folder.mkdir()
    for frame in range(len(poses)):
        persons = [
            {"id": 0, **{name: np.array(value).tolist() for name, value in fields(poses, frame, **changes).items()}}
        ]
        (folder / f"{frame:06d}.json").write_text(json.dumps({"annots": persons} if annots else persons))
    return folder


def write_npy(folder, poses, /, **changes):
    folder.mkdir()
    for frame in range(len(poses)):
        np.save(folder / f"{frame}.npy", fields(poses, frame, **changes))
    return folder


@pytest.mark.parametrize("write", [write_json, write_npy])
def test_the_body_turns_about_the_origin(tmp_path, lively_poses, smpl, vertices_of, write):
    poses = lively_poses(12)
    motion = read_motion(write(tmp_path / "smpl", poses))
    assert (motion.format, len(motion.sequence)) == ("EasyMocap / ZJU-MoCap", 12)
    for frame in range(12):
        np.testing.assert_allclose(vertices_of(motion.sequence, frame), drawn(poses, frame, smpl), atol=1e-5)


def test_a_turn_inside_the_pose_is_about_the_pelvis(tmp_path, lively_poses, smpl, vertices_of):
    """Older files carry a second rotation in `poses`."""
    poses, inner = lively_poses(2), lively_poses(2, 1)
    motion = read_motion(write_npy(tmp_path / "params", poses, poses=inner[:1]))
    truth = Rotation.from_rotvec(poses[1, :3]).apply(smpl(inner[0])[0]) + SHIFTS[1]
    np.testing.assert_allclose(vertices_of(motion.sequence, 1), truth, atol=1e-5)


@pytest.mark.parametrize(("angles", "noted"), [(69, False), (78, True), (87, True)])
def test_other_widths_of_poses(tmp_path, lively_poses, smpl, vertices_of, angles, noted):
    """Newer versions leave out the root's zeros; SMPL-H and SMPL-X bring hands and a face."""
    poses = lively_poses(1)
    poses[:, 66:] *= angles == 69
    wide = poses[0, 3:] if angles == 69 else np.concatenate([np.zeros(3), poses[0, 3:66], np.ones(angles - 66)])
    motion = read_motion(write_json(tmp_path / "smpl", poses, annots=True, poses=wide[None]))
    np.testing.assert_allclose(vertices_of(motion.sequence, 0), drawn(poses, 0, smpl), atol=1e-5)
    assert noted == any("hands" in note for note in motion.notes)
    assert (angles == 87) == any("SMPL-X's rest pelvis" in note for note in motion.notes)


def test_one_file_may_hold_the_whole_motion(tmp_path, lively_poses, smpl, vertices_of):
    poses = lively_poses(12)
    whole = dict(Rh=poses[:, :3], Th=SHIFTS, poses=poses * (np.arange(72) > 2), shapes=np.zeros((1, 10)))
    np.save(tmp_path / "motion.npy", whole)
    motion = read_motion(tmp_path / "motion.npy")
    np.testing.assert_allclose(vertices_of(motion.sequence, 7), drawn(poses, 7, smpl), atol=1e-5)


def test_missing_files_and_several_persons(tmp_path, lively_poses):
    folder = write_json(tmp_path / "smpl", lively_poses(6))
    (folder / "000003.json").unlink()
    second = json.loads((folder / "000004.json").read_text())
    (folder / "000004.json").write_text(json.dumps([*second, {**second[0], "id": 5}]))
    motion = read_motion(folder)
    assert len(motion.sequence) == 6 and "1 of 6 frames" in motion.notes[1]
    assert len(read_motion(folder, 5).sequence) == 1


def test_a_folder_can_be_loaded_into_the_world(tmp_path, standin):
    upright = np.zeros((3, 72))
    upright[:, 0] = np.pi / 2
    motion = load_motion(write_npy(tmp_path / "params", upright))
    joints = dict(zip(standin.joint_names, standin.pose(motion.state(1)).joints, strict=True))
    assert joints["head"][2] - joints["left_ankle"][2] > 1


def test_a_folder_without_frames_is_named(tmp_path):
    with pytest.raises(DataError, match="a folder without JSON or npy files"):
        read_motion(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [(dict(Rh=np.zeros((2, 3))), "`Rh` of 2 frames"), (dict(poses=np.zeros((1, 30))), "`poses` of shape")],
)
def test_wrong_content_is_named(tmp_path, lively_poses, changes, message):
    with pytest.raises(DataError, match=message):
        read_motion(write_npy(tmp_path / "params", lively_poses(2), **changes))
