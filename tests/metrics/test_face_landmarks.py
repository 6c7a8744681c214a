"""Landmarks on a photograph that scikit-image brings, on drawings, and on real clips where this machine has some."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage

from nerfstudio_avatars import tflite
from nerfstudio_avatars.metrics.face_landmarks import FaceLandmarks
from nerfstudio_avatars.metrics.head_pose import head_pose

ROOT = Path(__file__).parents[2]
HEADS = sorted(path for folder in (ROOT, ROOT.parent) for path in (folder / "shared" / "data" / "heads").glob("*.mp4"))
NOSE, CHIN, RIGHT_EYE, LEFT_EYE = 1, 152, 33, 263

needs_runtime = pytest.mark.skipif(not tflite.runtime_is_installed(), reason="the extra `faces` is not installed")


@pytest.fixture(scope="module")
def finder():
    return FaceLandmarks()


@pytest.fixture(scope="module")
def portrait():
    """Eileen Collins, NASA, public domain; inside scikit-image."""
    data = pytest.importorskip("skimage.data")
    return np.ascontiguousarray(data.astronaut()[:320, 60:380])


@needs_runtime
def test_the_face_is_where_another_detector_sees_it(finder, portrait):
    """scikit-image's cascade (local binary patterns) is the other one."""
    import skimage.data
    from skimage.feature import Cascade

    boxes = Cascade(skimage.data.lbp_frontal_face_cascade_filename()).detect_multi_scale(
        portrait, scale_factor=1.2, step_ratio=1, min_size=(60, 60), max_size=(200, 200)
    )
    box = max(boxes, key=lambda found: found["width"])
    landmarks = finder.detect(portrait)
    assert landmarks is not None and landmarks.shape == (468, 3)
    inside = (landmarks[:, 0] > box["c"]) & (landmarks[:, 0] < box["c"] + box["width"])
    assert inside.float().mean() > 0.9
    assert box["r"] < landmarks[NOSE, 1] < box["r"] + box["height"]
    assert landmarks[RIGHT_EYE, 0] < landmarks[NOSE, 0] < landmarks[LEFT_EYE, 0]
    assert landmarks[RIGHT_EYE, 1] < landmarks[NOSE, 1] < landmarks[CHIN, 1]
    # The nose is nearer to the camera than the face's outline.
    assert landmarks[NOSE, 2] < landmarks[[234, 454], 2].min()


@needs_runtime
def test_torch_and_numpy_pictures_are_the_same(finder, portrait):
    torch.testing.assert_close(finder.detect(portrait), finder.detect(torch.from_numpy(portrait)))


@needs_runtime
def test_landmarks_move_with_the_picture(finder, portrait):
    still = finder.detect(portrait)
    shifted = finder.detect(np.pad(portrait, ((7, 33), (30, 10), (0, 0)), mode="edge"))
    eyes = (still[RIGHT_EYE] - still[LEFT_EYE]).norm()
    moved = still[:, :2] + torch.tensor([30.0, 7.0])
    assert (shifted[:, :2] - moved).norm(dim=-1).mean() < 0.03 * eyes
    doubled = finder.detect(portrait.repeat(2, axis=0).repeat(2, axis=1))
    assert (doubled[:, :2] / 2 - still[:, :2]).norm(dim=-1).mean() < 0.03 * eyes


@needs_runtime
@pytest.mark.parametrize("degrees", [-25, 15])
def test_a_turned_picture_rolls_the_head(finder, portrait, degrees):
    """scipy turns counter-clockwise for a positive angle, as one sees the picture."""
    turned = ndimage.rotate(portrait, -degrees, reshape=False, order=1, mode="nearest")
    roll = [head_pose(finder.detect(picture))[2].item() for picture in (portrait, turned)]
    assert roll[1] - roll[0] == pytest.approx(degrees, abs=2)


@needs_runtime
def test_a_mirrored_face_has_the_mirrored_pose(finder, portrait):
    yaw, pitch, roll = head_pose(finder.detect(portrait)).tolist()
    mirrored = head_pose(finder.detect(portrait[:, ::-1].copy()))
    assert mirrored.tolist() == pytest.approx([-yaw, pitch, -roll], abs=3)


def _drawing():
    """A house under a sun."""
    picture = np.full((256, 256, 3), (150, 190, 230), np.uint8)
    picture[180:] = (90, 150, 70)
    picture[110:200, 70:190] = (180, 80, 60)
    picture[130:160, 90:110] = picture[130:160, 150:170] = (240, 240, 200)
    rows, columns = np.mgrid[:256, :256]
    picture[(rows - 50) ** 2 + (columns - 210) ** 2 < 25**2] = (250, 220, 60)
    return picture


@needs_runtime
def test_a_picture_without_a_face_has_no_landmarks(finder, portrait):
    assert finder.detect(_drawing()) is None
    assert finder.detect(np.zeros((64, 96, 3), np.uint8)) is None
    small = portrait[32:288, 32:288]
    found = finder.detect_all(np.stack([_drawing(), small]))
    assert found[0].isnan().all()
    torch.testing.assert_close(found[1], finder.detect(small))


def test_without_the_runtime_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(tflite, "RUNTIME", "no_such_runtime_of_models")
    with pytest.raises(tflite.RuntimeMissing, match="pip install 'nerfstudio-avatars\\[faces\\]'"):
        FaceLandmarks()


@pytest.mark.slow
@needs_runtime
@pytest.mark.skipif(not HEADS, reason="no real clips on this machine")
def test_real_faces_are_found_and_mirrored_ones_turn_the_other_way(finder):
    import av

    poses = []
    for path in HEADS:
        with av.open(str(path)) as video:
            pictures = np.stack([frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)][::20])
        poses.append(torch.stack([head_pose(finder.detect_all(p)) for p in (pictures, pictures[:, :, ::-1].copy())]))
    seen, mirrored = torch.cat(poses, dim=1)
    assert seen.isfinite().all()
    assert (seen * torch.tensor([-1, 1, -1]) - mirrored).abs().max() < 8
    turned = seen[:, 0].abs() > 6
    assert turned.sum() > 5 and (seen[turned, 0] * mirrored[turned, 0] < 0).all()
