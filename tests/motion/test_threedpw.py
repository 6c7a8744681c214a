"""3DPW's Python-2 pickles."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.motion import read_motion

BETAS = [np.random.default_rng(seed).normal(size=10) for seed in (0, 1)]


def write(tmp_path: Path, poses, protocol: int = 2, **changes) -> Path:
    """A recording with 3DPW's fields. At protocol 2 arrays' bytes are latin1 text, as Python 2 wrote them."""
    frames = len(poses[0])
    fields = dict(
        sequence="downtown_walking_00",
        poses=poses,
        trans=[np.random.default_rng(person).normal(size=(len(each), 3)) for person, each in enumerate(poses)],
        poses_60Hz=[np.repeat(each, 2, 0) for each in poses],
        trans_60Hz=[np.zeros((2 * len(each), 3)) for each in poses],
        betas=BETAS[: len(poses)],
        genders=["m", "f"][: len(poses)],
        cam_poses=np.tile(np.eye(4), (frames, 1, 1)),
        cam_intrinsics=np.eye(3),
        campose_valid=[np.ones(frames, bool) for _ in poses],
        img_frame_ids=2 * np.arange(frames),
    )
    path = tmp_path / "downtown_walking_00.pkl"
    path.write_bytes(pickle.dumps({**fields, **changes}, protocol))
    return path


@pytest.mark.parametrize("protocol", [0, 2])
@pytest.mark.parametrize(("person", "gender"), [(0, "male"), ("1", "female")])
def test_a_person_is_read_in_the_world_at_the_videos_rate(
    tmp_path, lively_poses, smpl, vertices_of, person, gender, protocol
):
    poses = [lively_poses(4, seed) for seed in (0, 1)]
    motion = read_motion(write(tmp_path, poses, protocol), person)
    assert (motion.format, motion.up) == ("3DPW", "y")
    assert (len(motion.sequence), motion.sequence.fps, motion.sequence.gender) == (4, 30, gender)
    number = int(person)
    trans = np.random.default_rng(number).normal(size=(4, 3))
    for frame in range(4):
        truth, _ = smpl(poses[number][frame], trans[frame], BETAS[number])
        np.testing.assert_allclose(vertices_of(motion.sequence, frame), truth, atol=1e-5)


def test_the_person_in_most_frames_is_the_default_and_said(tmp_path, lively_poses, caplog):
    motion = read_motion(write(tmp_path, [lively_poses(3), lively_poses(5)]))
    assert len(motion.sequence) == 5 and motion.sequence.gender == "female"
    assert caplog.text.count("\n") == 1 and "person 1 of 0 (3 frames), 1 (5 frames) is used" in caplog.text


def test_uncertain_cameras_are_said_and_keep_their_frames(tmp_path, lively_poses):
    valid = [np.array([True, False, False, True])]
    motion = read_motion(write(tmp_path, [lively_poses(4)], campose_valid=valid))
    assert len(motion.sequence) == 4 and "uncertain in 2 frames" in motion.notes[0]


@pytest.mark.parametrize(
    ("changes", "person", "message"),
    [
        (dict(), 2, r"no person 2(.|\n)*0 \(4 frames\), 1 \(4 frames\)"),
        (dict(trans=[np.zeros((4, 3))]), None, "`poses` of 2 persons, `trans` of 1"),
        (dict(trans=[np.zeros((3, 3))] * 2), None, "`trans` of 3 frames"),
    ],
)
def test_wrong_content_is_named(tmp_path, lively_poses, changes, person, message):
    with pytest.raises(DataError, match=message):
        read_motion(write(tmp_path, [lively_poses(4), lively_poses(4, 1)], **changes), person)
