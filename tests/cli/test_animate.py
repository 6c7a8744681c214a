"""Shots: timing, framing and pixels, with a model that only records what it is asked for."""

from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch

from nerfstudio_avatars.bodies.standin import load_standin
from nerfstudio_avatars.cli import main
from nerfstudio_avatars.cli.animate import Shot, film, frames
from nerfstudio_avatars.cli.errors import UserError
from nerfstudio_avatars.cli.motion import choose_motion
from nerfstudio_avatars.data.body_sequence import BodySequence


class RecordingModel:
    """Paints half-transparent red, and keeps cameras and states."""

    def __init__(self):
        self.asked = []

    def render_state(self, camera, state):
        self.asked.append((camera, state))
        size = int(camera.height), int(camera.width)
        alpha = torch.full((*size, 1), 0.5)
        return {"premultiplied": alpha * torch.tensor([0.8, 0.0, 0.0]), "accumulation": alpha}


@pytest.fixture
def run():
    upright = torch.tensor([[torch.pi / 2, 0.0, 0.0]]).repeat(5, 1)
    subject = BodySequence(
        torch.zeros(10), upright, torch.zeros(5, 69), torch.zeros(5, 3), fps=30.0, gender="neutral", body="standin"
    )
    outputs = SimpleNamespace(metadata={"body": subject, "body_model": load_standin()})
    pipeline = SimpleNamespace(model=RecordingModel(), datamanager=SimpleNamespace(train_dataparser_outputs=outputs))
    return SimpleNamespace(pipeline=pipeline)


def _subject(run):
    metadata = run.pipeline.datamanager.train_dataparser_outputs.metadata
    return metadata["body"], metadata["body_model"]


def test_a_motion_is_shown_once_at_its_own_speed(run):
    motion = choose_motion("walk", *_subject(run))
    pictures = list(frames(run, Shot(fps=10, height=8, width=8)))
    assert len(pictures) == round((len(motion) - 1) / motion.fps * 10) == pictures[0][0]


def test_slow_motion_takes_longer_and_seconds_cut_or_repeat(run):
    count = len(list(frames(run, Shot(fps=10, height=8, width=8))))
    assert len(list(frames(run, Shot(fps=10, height=8, width=8, speed=0.5)))) == pytest.approx(2 * count, abs=1)
    assert len(list(frames(run, Shot(fps=10, height=8, width=8, seconds=7.0)))) == 70


@pytest.mark.parametrize(("camera", "motion"), [("turning", "still"), ("still", "cartwheel"), ("turning", "walk")])
def test_every_joint_stays_in_the_picture(run, camera, motion):
    """Joints projected by nerfstudio's own camera: a ray through each pixel, the nearest one taken."""
    list(frames(run, Shot(motion=motion, camera=camera, fps=4, height=40, width=60, seconds=2.0)))
    body = _subject(run)[1]
    for view, state in run.pipeline.model.asked:
        matrix = view.camera_to_worlds[0]
        local = (body.pose(state).joints - matrix[:, 3]) @ matrix[:, :3]
        pixels = local[:, :2] / -local[:, 2:] * view.fx[0]
        assert (local[:, 2] < 0).all()
        assert (pixels[:, 1].abs() < 20).all() and (pixels[:, 0].abs() < 30).all()


def test_a_turning_camera_goes_round_once(run):
    list(frames(run, Shot(motion="still", camera="turning", fps=4, height=8, width=8, seconds=2.0)))
    places = torch.stack([view.camera_to_worlds[0, :2, 3] for view, _ in run.pipeline.model.asked])
    places = places - places.mean(dim=0)
    angles = torch.atan2(places[:, 1], places[:, 0])
    steps = (angles.diff() + torch.pi) % (2 * torch.pi) - torch.pi
    torch.testing.assert_close(steps, torch.full((7,), 2 * torch.pi / 8), atol=1e-4, rtol=0)


def test_the_background_is_laid_once_and_transparent_colour_is_straight(run):
    shot = {"fps": 1, "height": 4, "width": 4, "seconds": 1.0}
    pixel = {
        name: next(frames(run, Shot(**shot, **options)))[1][0, 0].tolist()
        for name, options in {
            "white": {},
            "black": {"background": "black"},
            "transparent": {"transparent": True},
        }.items()
    }
    assert pixel == {"white": [230, 128, 128], "black": [102, 0, 0], "transparent": [204, 0, 0, 128]}


def test_film_writes_a_video_of_all_frames(run, tmp_path):
    assert film(run, Shot(fps=10, height=16, width=32, seconds=1.0), tmp_path / "walk.mp4") == 10
    with av.open(str(tmp_path / "walk.mp4")) as container:
        decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(decoded) == 10 and np.abs(decoded[3].astype(int) - (230, 128, 128)).max() < 8


@pytest.mark.parametrize("option", [{"height": 0}, {"fps": -1}, {"speed": 0.0}, {"seconds": 0.0}, {"elevation": 90.0}])
def test_values_that_make_no_picture_are_refused(option):
    with pytest.raises(UserError, match=f"--{next(iter(option))}"):
        Shot(**option).check()


def test_a_missing_run_is_told(tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        main(["animate", "--load-config", str(tmp_path / "nowhere.yml")])
    assert end.value.code == 2
    assert "nowhere.yml: no such file" in capsys.readouterr().err
