"""Poses of other tools: which frames they belong to, and where their bodies stand."""

from dataclasses import replace

import joblib
import numpy as np
import pytest
import torch
from turning_bodies import FIELD_OF_VIEW, WHOLE, seen_bodies, turning_states

from nerfstudio_avatars.bodies.body_sequence import BodySequence
from nerfstudio_avatars.bodies.standin import load_standin
from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.process.body_fit import FittedBody
from nerfstudio_avatars.process.given_poses import GivenPoses, landmarks_of

FRAMES = 12
CAMERA = WHOLE.camera_matrix(FIELD_OF_VIEW)


@pytest.fixture(scope="module")
def body():
    return load_standin()


@pytest.fixture(scope="module")
def turn():
    states = turning_states(FRAMES)
    parts = {
        name: torch.stack([getattr(one, name) for one in states]) for name in ("global_orient", "body_pose", "transl")
    }
    return BodySequence(states[0].betas, **parts)


@pytest.fixture(scope="module")
def seen():
    return seen_bodies(turning_states(FRAMES))


def read(path, body, frames=FRAMES, fps=30.0, person=None):
    return GivenPoses.read(path, person, body, frames, fps)


def wham(folder, turn, first=0, **more):
    """What WHAM writes: the pose in a world, where y is up, and in the camera."""
    pose = torch.cat([turn.global_orient, turn.body_pose], 1).numpy()
    person = {
        "pose": pose, "trans": turn.transl.numpy(), "pose_world": 0 * pose, "trans_world": 0 * turn.transl.numpy(),
        "betas": np.zeros((len(turn), 10)), "frame_ids": first + np.arange(len(turn)),
    } | more  # fmt: skip
    joblib.dump({0: person}, folder / "wham_output.pkl")
    return folder / "wham_output.pkl"


def test_poses_that_fit_stay_where_their_file_has_them(tmp_path, body, turn, seen):
    turn.save(tmp_path / "poses.npz")
    poses = read(tmp_path / "poses.npz", body)
    masks = [one.person for one in seen]
    fitted, told = poses.fitted(range(FRAMES), masks, body, CAMERA)
    assert told.startswith("The bodies are where the file") and fitted.overlaps.min() > 0.999
    torch.testing.assert_close(fitted.motion.transl, turn.transl)
    torch.testing.assert_close(fitted.motion.betas, turn.betas)


def test_bodies_of_another_camera_are_put_where_the_masks_are(tmp_path, body, turn, seen):
    wrong = replace(turn, transl=turn.transl * torch.tensor([1.0, 1.0, 7.0]) + torch.tensor([0.5, 0.0, 0.0]))
    wrong.save(tmp_path / "poses.npz")
    poses = read(tmp_path / "poses.npz", body)
    fitted, told = poses.fitted([0, 4, 7], [seen[frame].person for frame in (0, 4, 7)], body, CAMERA)
    assert told.startswith("The bodies are put where the masks are") and fitted.overlaps.min() > 0.95
    off = (fitted.motion.transl - turn.transl[[0, 4, 7]]).abs()
    # A pixel is 1.2 cm there; depth follows from heights in pixels.
    assert off[:, :2].max() < 0.015 and off[:, 2].max() < 0.06


def test_landmarks_are_where_a_perfect_network_sees_them(body, turn, seen):
    fitted = FittedBody(turn, None, [], np.ones(FRAMES))
    found = landmarks_of(fitted, [one.mask for one in seen], body, CAMERA)
    for ours, true in zip(found, seen, strict=True):
        known = true.visibility > 0
        np.testing.assert_array_equal(ours.visibility, true.visibility)
        np.testing.assert_allclose(ours.points[known], true.points[known], atol=1e-3)
        np.testing.assert_allclose(ours.places[known], true.places[known], atol=1e-5)


def test_a_file_of_camera_and_world_gives_the_camera(tmp_path, body, turn):
    poses = read(wham(tmp_path, turn, first=3), body, frames=20)
    torch.testing.assert_close(poses.motion.transl, turn.transl)
    assert poses.rows == {3 + row: row for row in range(FRAMES)}
    assert poses.focal is None and poses.field_of_view(100, 200) is None
    assert "They are for 12 of the video's 20 frames." in poses.told
    # SMPL's coefficients mean nothing to the stand-in.
    assert any("another one, so the body has its mean shape" in one for one in poses.told)


def test_the_lens_of_the_file_is_taken(tmp_path, body, turn):
    def group(offset):
        parts = {
            "global_orient": turn.global_orient,
            "body_pose": turn.body_pose[:, :63],
            "transl": turn.transl + offset,
        }
        return parts | {"betas": torch.zeros(FRAMES, 10)}

    lens = torch.diag(torch.tensor([150.0, 150.0, 1.0])).repeat(FRAMES, 1, 1)
    torch.save({"smpl_params_incam": group(0), "smpl_params_global": group(9), "K_fullimg": lens}, tmp_path / "r.pt")
    poses = read(tmp_path / "r.pt", body)
    assert poses.focal == 150 and poses.field_of_view(200, 300) == pytest.approx(90)
    torch.testing.assert_close(poses.motion.transl, turn.transl)


def test_poses_of_half_the_rate_belong_to_the_video_by_time(tmp_path, body, turn):
    poses = read(wham(tmp_path, turn), body, frames=2 * FRAMES, fps=60.0)
    assert [poses.rows[frame] for frame in (0, 2, 10)] == [0, 1, 5]
    assert "They are 30 per second, and the video has 60." in poses.told


def test_poses_of_a_world_or_of_a_longer_video_are_refused(tmp_path, body, turn):
    upright = turn.in_frame(torch.diag(torch.tensor([1.0, -1.0, -1.0])), torch.zeros(3), torch.zeros(3))
    upright.save(tmp_path / "poses.npz")
    with pytest.raises(DataError, match=r"a world whose axis y points up[\s\S]*camera's axes"):
        read(tmp_path / "poses.npz", body)
    with pytest.raises(DataError, match="poses up to frame 12[\\s\\S]*a video of 5 frames"):
        read(wham(tmp_path, turn), body, frames=5)
