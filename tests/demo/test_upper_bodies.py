"""Toy upper bodies: where their joints are seen, what bends with what, and clips as our dataparser reads them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from nerfstudio_avatars.cli.demo_data import DemoData
from nerfstudio_avatars.demo import body_clips
from nerfstudio_avatars.demo.body_clips import draw_body_clips, read_body_truth
from nerfstudio_avatars.demo.upper_bodies import PARTS, ArmPose, BodyPose, ToyBody, gesturing_poses
from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.unsup_volanim.data.dataparsers import TedxPeopleDataParserConfig

SIZE, FRAMES = 24, 4
HAND, ELBOW = np.array([0.0, 0.28 + 0.25, 0.0]), np.array([0.0, 0.28, 0.0])
"""From the shoulder, at rest."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return draw_body_clips(tmp_path_factory.mktemp("bodies") / "tedx", 2, FRAMES, SIZE, test_identities=1)


def middle(shares):
    """(x, y) of what shares of pixels show, in half pictures."""
    steps = (np.arange(len(shares)) + 0.5) / len(shares) * 2 - 1
    return np.array([(shares.sum(0) * steps).sum(), (shares.sum(1) * steps).sum()]) / shares.sum()


def test_arms_turn_about_shoulders_and_elbows():
    """Raised sideways by a right angle, an arm is level; bent by another one, its hand is above the elbow."""
    body = ToyBody(3)
    level = body.motions(BodyPose(right=ArmPose(raised=np.pi / 2, bent=np.pi / 2)))
    upper, lower, shoulder = level[4], level[5], body.shoulders[1]

    def moved(motion, point):
        return motion.rotation @ (shoulder + point) + motion.shift - shoulder

    np.testing.assert_allclose(moved(upper, 0 * ELBOW), 0, atol=1e-12)
    np.testing.assert_allclose(moved(upper, ELBOW), [0.28, 0, 0], atol=1e-12)
    np.testing.assert_allclose(moved(lower, ELBOW), [0.28, 0, 0], atol=1e-12)
    np.testing.assert_allclose(moved(lower, HAND), [0.28, -0.25, 0], atol=1e-12)
    forward = body.motions(BodyPose(right=ArmPose(forward=np.pi / 2)))[5]
    np.testing.assert_allclose(moved(forward, HAND), [0, 0, -0.53], atol=1e-12)


def test_left_is_left_and_only_what_moves_moves():
    body = ToyBody(1)
    still, waving = (
        body.render(pose, 48) for pose in (BodyPose(), BodyPose(left=ArmPose(raised=0.8), right=ArmPose(bent=1.2)))
    )
    left, right = (PARTS.index(f"{side} lower arm") for side in ("left", "right"))
    assert middle(still.parts[..., left])[0] < -0.2 < 0.2 < middle(still.parts[..., right])[0]
    assert middle(waving.parts[..., left])[0] < middle(still.parts[..., left])[0] - 0.2
    assert middle(waving.parts[..., right])[1] < middle(still.parts[..., right])[1] - 0.08
    head = PARTS.index("head")
    np.testing.assert_array_equal(waving.parts[..., head], still.parts[..., head])
    np.testing.assert_allclose(still.parts.sum(-1), still.mask)


def test_the_head_turns_by_itself_and_with_the_chest():
    body = ToyBody(2)
    ahead, by_neck, by_chest = (
        body.motions(pose)[1].rotation if pose.yaw == 0 else pose.rotation @ body.motions(pose)[1].rotation
        for pose in (BodyPose(), BodyPose(head_yaw=0.4), BodyPose(yaw=0.4))
    )
    np.testing.assert_allclose(ahead, np.eye(3))
    np.testing.assert_allclose(by_neck, by_chest)
    assert (by_neck @ [0, 0, -1])[0] > 0.3, "the nose goes to the right of the picture"


def test_gestures_are_smooth_and_wide_and_stay_in_the_picture():
    poses = gesturing_poses(5, 48)
    raised = np.degrees([pose.left.raised for pose in poses])
    bent = np.degrees([pose.right.bent for pose in poses])
    assert raised.min() > 5 and raised.max() < 85 and np.ptp(raised) > 45 and np.ptp(bent) > 70
    assert np.abs(np.diff(raised)).max() < 25
    heights = [middle(ToyBody(5).render(poses[frame], 24).parts[..., 1]) for frame in (0, 20, 40)]
    assert np.abs(heights).max() < 0.8


def test_clips_are_read_as_tedx_people_and_truth_shows_the_same(folder):
    parser = TedxPeopleDataParserConfig(data=folder, image_size=SIZE, eval_frame_interval=2).setup()
    clips = parser.get_dataparser_outputs("train").metadata["clips"].table
    assert [(clip.split, clip.frames, clip.fps) for clip in clips] == [("train", FRAMES, 10.0)] * 2 + [
        ("test", FRAMES, 10.0)
    ]
    name = sorted((folder / "train").iterdir())[0].name
    assert name == f"toytalk00001#000000#{FRAMES:06d}"
    truth = read_body_truth(folder / "truth" / "train" / f"{name}.npz")
    again = truth.render(2)
    picture = cv2.cvtColor(cv2.imread(str(folder / "train" / name / "0000002.png")), cv2.COLOR_BGR2RGB)
    np.testing.assert_allclose(picture / 255, again.rgb, atol=0.5 / 255 + 1e-9)
    np.testing.assert_allclose(truth.part_masks[2] / 255, again.parts, atol=0.5 / 255 + 1e-9)
    assert truth.turns.shape == (FRAMES, len(PARTS), 3, 3)
    broken = folder.parent / "broken.npz"
    np.savez(broken, yaw=np.zeros(3))
    with pytest.raises(DataError, match="toy bodies"):
        read_body_truth(broken)


def test_the_command_line_draws_them(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(body_clips, "draw_body_clips", lambda *args, **options: calls.append((args, options)))
    DemoData(tmp_path, format="tedx-people", people=3).run()
    assert calls == [((tmp_path,), {"identities": 3, "size": 64, "seed": 0, "test_identities": 2})]
