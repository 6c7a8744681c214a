"""MediaPipe's networks on the drawn person, whose joints and mask are known."""

import h5py
import numpy as np
import pytest
import torch

from nerfstudio_avatars import tflite
from nerfstudio_avatars.bodies.body_model import BodyState
from nerfstudio_avatars.bodies.standin import load_standin
from nerfstudio_avatars.demo import draw_demo_sequence
from nerfstudio_avatars.media.video_file import VideoFile
from nerfstudio_avatars.process.body_fit import JOINTS
from nerfstudio_avatars.process.body_landmarks import BodyLandmarks

needs_runtime = pytest.mark.skipif(not tflite.runtime_is_installed(), reason="the extra `faces` is not installed")
SIZE = 320


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """First picture, joints in it and mask."""
    folder = draw_demo_sequence(tmp_path_factory.mktemp("drawn"), size=SIZE, frames=16)
    picture = VideoFile(folder / f"{folder.name}.mp4").picture(0)
    with h5py.File(folder / "masks.hdf5") as file:
        mask = file["masks"][0] > 0
    with h5py.File(folder / "reconstructed_poses.hdf5") as file:
        pose, trans, betas = (torch.from_numpy(file[name][()]).float() for name in ("pose", "trans", "betas"))
    body = load_standin()
    joints = body.pose(BodyState(betas.flatten(), pose[0, :3], pose[0, 3:], trans[0])).joints.numpy()
    from nerfstudio_avatars.instant_avatar.data.people_snapshot import PeopleSnapshotDataParserConfig

    cameras = PeopleSnapshotDataParserConfig(data=folder, downscale_factor=1).setup().get_dataparser_outputs().cameras
    focal, centre = float(cameras.fx[0]), np.array([float(cameras.cx[0]), float(cameras.cy[0])])
    return picture.rgb, focal * joints[:, :2] / joints[:, 2:] + centre, mask, body


@needs_runtime
def test_the_drawn_person_is_seen(drawn):
    picture, joints, mask, body = drawn
    seen = BodyLandmarks().detect(picture)
    there = seen.mask >= 128
    assert (there & mask).sum() / (there | mask).sum() > 0.88
    true = joints[[body.joint_names.index(name) for name in JOINTS.values()]]
    away = np.linalg.norm(seen.points[list(JOINTS)] - true, axis=-1)
    height = np.ptp(np.nonzero(mask)[0])
    assert np.median(away) < 0.04 * height and away.max() < 0.12 * height
    assert (seen.visibility[list(JOINTS)] > 0.5).all()
    # The person faces the camera: their left is on the picture's right, up is -y, metres.
    assert seen.places[11, 0] > seen.places[12, 0] + 0.1 and seen.places[11, 1] < -0.2


@needs_runtime
def test_the_person_is_found_anywhere_in_a_large_picture(drawn):
    picture, *_ = drawn
    seen = BodyLandmarks().detect(picture)
    large = np.full((600, 900, 3), picture[2, 2], np.uint8)
    large[250 : 250 + SIZE, 480 : 480 + SIZE] = picture
    again = BodyLandmarks().detect(large)
    assert np.abs(again.points - (480, 250) - seen.points).max() < 0.05 * SIZE
    assert again.mask.shape == (600, 900) and not again.mask[:200].any()


@needs_runtime
def test_nobody_is_found_where_nobody_is():
    assert BodyLandmarks().detect(np.full((120, 160, 3), 200, np.uint8)) is None


def test_without_the_runtime_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(tflite, "RUNTIME", "no_such_runtime_of_models")
    with pytest.raises(tflite.RuntimeMissing, match="Landmarks of people.*pip install 'nerfstudio-avatars"):
        BodyLandmarks()


@needs_runtime
def test_of_two_people_the_one_asked_for_is_seen(drawn):
    picture, _, mask, _ = drawn
    two = np.concatenate([picture, picture[:, ::-1]], 1)
    find = BodyLandmarks()
    left, right = find.people(two)
    truth = np.argwhere(mask).mean(0)[::-1]
    np.testing.assert_allclose(left, truth, atol=0.03 * SIZE)
    np.testing.assert_allclose(right, [2 * SIZE - truth[0], truth[1]], atol=0.03 * SIZE)
    for near, true in ((left, np.pad(mask, ((0, 0), (0, SIZE)))), (right, np.pad(mask[:, ::-1], ((0, 0), (SIZE, 0))))):
        seen = find.detect(two, near)
        assert seen.others == 1
        assert (seen.person & true).sum() / (seen.person | true).sum() > 0.85
        # The landmarks are the person's own, too.
        rows, columns = np.nonzero(true)
        low, high = (columns.min(), rows.min()), (columns.max(), rows.max())
        assert (seen.points[11:17] > np.array(low) - 0.05 * SIZE).all()
        assert (seen.points[11:17] < np.array(high) + 0.05 * SIZE).all()
    assert find.detect(picture).others == 0
