"""Shots: timing, framing and pixels, with a model that only records what it is asked for."""

import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch

from nerfstudio_avatars.avatars.film import Shot, cameras_around, film, frames
from nerfstudio_avatars.bodies.body_sequence import BodySequence
from nerfstudio_avatars.bodies.standin import load_standin
from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.motion import load_motion
from nerfstudio_avatars.motion.loading import choose_motion

CASES = Path(__file__).parents[1] / "cases"


class RecordingModel:
    """Paints half-transparent red, and keeps cameras and states."""

    def __init__(self):
        self.asked = []

    def render_pose(self, camera, state):
        self.asked.append((camera, state))
        size = int(camera.height), int(camera.width)
        accumulation = torch.full((*size, 1), 0.5)
        return {"premultiplied": accumulation * torch.tensor([0.8, 0.0, 0.0]), "accumulation": accumulation}


@pytest.fixture
def run():
    upright = torch.tensor([[torch.pi / 2, 0.0, 0.0]]).repeat(5, 1)
    subject = BodySequence(
        torch.zeros(10), upright, torch.zeros(5, 69), torch.zeros(5, 3), fps=30.0, gender="neutral", body="standin"
    )
    model = RecordingModel()
    model.person = SimpleNamespace(motion=subject, body=load_standin())
    return SimpleNamespace(model=model)


def _subject(run):
    return run.model.person.motion, run.model.person.body


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
    for view, state in run.model.asked:
        matrix = view.camera_to_worlds[0]
        local = (body.pose(state).joints - matrix[:, 3]) @ matrix[:, :3]
        pixels = local[:, :2] / -local[:, 2:] * view.fx[0]
        assert (local[:, 2] < 0).all()
        assert (pixels[:, 1].abs() < 20).all() and (pixels[:, 0].abs() < 30).all()


@pytest.mark.slow
def test_a_turning_camera_takes_whole_repeats_of_the_motion_and_six_seconds(run):
    walk = len(list(frames(run, Shot(fps=10, height=4, width=4))))
    assert walk < 20
    count = len(list(frames(run, Shot(camera="turning", fps=10, height=4, width=4))))
    assert count % walk == 0 and 60 <= count < 60 + walk
    slow = len(list(frames(run, Shot(camera="turning", fps=10, height=4, width=4, speed=0.1))))
    assert slow == len(list(frames(run, Shot(fps=10, height=4, width=4, speed=0.1))))


def test_a_turning_camera_goes_round_once(run):
    list(frames(run, Shot(motion="still", camera="turning", fps=4, height=8, width=8, seconds=2.0)))
    places = torch.stack([view.camera_to_worlds[0, :2, 3] for view, _ in run.model.asked])
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


def _places(run, *parts):
    """What every state asked for has: pelvis and body pose."""
    return torch.stack([torch.cat([getattr(state, part) for part in parts]) for _, state in run.model.asked])


def test_a_looped_motion_repeats_without_a_jump(run):
    """Without --loop the walk leaps back by its whole way; with it, no step is longer than the walk's own."""
    longest = []
    for options in ({}, {"loop": 8, "root": "in_place"}):
        run.model.asked.clear()
        list(frames(run, Shot(fps=24, height=4, width=4, seconds=3.0, **options)))
        longest.append(_places(run, "transl").diff(dim=0).norm(dim=-1).max().item())
    assert longest[0] > 0.5 and longest[1] < 0.05
    pose = _places(run, "body_pose")
    once = round(38 / 30 * 24) - 8
    torch.testing.assert_close(pose[:once], pose[once : 2 * once])


def test_the_way_from_the_rest_pose_is_shown_once(run):
    list(frames(run, Shot(fps=24, height=4, width=4, seconds=4.0, blend_from_rest=6, loop=4)))
    sizes = _places(run, "body_pose").norm(dim=-1)
    assert sizes[0] == 0 and (sizes[:6].diff() > 0).all() and (sizes[6:] > sizes[5]).all()


def test_a_held_pose_can_be_blended_into(run):
    subject, _ = _subject(run)
    subject.body_pose[:, 0] = 1.0
    pictures = list(frames(run, Shot(motion="still", fps=4, height=4, width=4, blend_from_rest=4, seconds=3.0)))
    assert len(pictures) == 12
    angle = _places(run, "body_pose")[:, 0]
    torch.testing.assert_close(angle, torch.tensor([0.0, 0.25, 0.5, 0.75] + 8 * [1.0]))


def test_on_ground_the_lowest_point_is_at_zero(run):
    list(frames(run, Shot(motion="cartwheel", fps=10, height=4, width=4, root="on_ground")))
    body = _subject(run)[1]
    lowest = min(body.pose(state).vertices[:, 2].min().item() for _, state in run.model.asked)
    assert lowest == pytest.approx(0, abs=0.01)


def test_the_motions_own_rate_can_be_corrected(run):
    count = len(list(frames(run, Shot(fps=30, height=4, width=4))))
    assert len(list(frames(run, Shot(fps=30, height=4, width=4, source_fps=60)))) == count // 2


def test_more_than_ten_minutes_ask_for_the_length(run, camera_file):
    """At so low a rate the walk's 39 frames last longer; a camera path says itself how long it is."""
    frames_of = partial(Shot, fps=1, height=4, width=4)
    with pytest.raises(
        UserError, match=r"39 frames at 0\.06 frames per second last 11 minutes.*--seconds.*--source-fps"
    ):
        next(frames(run, frames_of(source_fps=0.06)))
    with pytest.raises(UserError, match="--seconds"):
        next(frames(run, frames_of(source_fps=0.1, speed=0.5)))
    assert next(frames(run, frames_of(source_fps=0.06, seconds=5.0)))[0] == 5
    assert next(frames(run, frames_of(source_fps=0.06, camera=camera_file())))[0] == 1


def test_a_joint_map_corrects_what_is_filmed(run, tmp_path):
    """The left forearm turns by 50 degrees, the hand does not: with the hand for the elbow, less is seen of it."""
    path = str(CASES / "bvh_rigify_metarig" / "a.bvh")
    (tmp_path / "map.json").write_text(json.dumps({"left_elbow": "hand.L", "left_wrist": None}))
    turned = []
    for joint_map in (None, tmp_path / "map.json"):
        run.model.asked.clear()
        list(frames(run, Shot(path, fps=30, height=4, width=4, joint_map=joint_map)))
        pose = _places(run, "body_pose").reshape(-1, 23, 3)
        turned.append((pose[-1] - pose[0]).norm(dim=-1)[[17, 18]])
    assert turned[0][0] > 0.7 and turned[1][0] < 0.5
    torch.testing.assert_close(turned[0][1], turned[1][1])


@pytest.fixture
def camera_file(tmp_path):
    """Five cameras over one second, 30 x 20 pixels: side by side, turning about z by 20 degrees each."""

    def write(**render_times):
        cameras = []
        for index in range(5):
            angle = torch.deg2rad(torch.tensor(20.0 * index))
            matrix = torch.eye(4)
            matrix[:2, :2] = torch.tensor([[angle.cos(), -angle.sin()], [angle.sin(), angle.cos()]])
            matrix[0, 3] = index
            camera = {"camera_to_world": matrix.flatten().tolist(), "fov": 40.0 + index, "aspect": 1.5}
            cameras.append(camera | {name: values[index] for name, values in render_times.items()})
        content = {"render_height": 20, "render_width": 30, "seconds": 1.0, "camera_path": cameras}
        (tmp_path / "path.json").write_text(json.dumps(content))
        return str(tmp_path / "path.json")

    return write


def test_an_exported_camera_path_is_followed_as_nerfstudio_reads_it(run, camera_file):
    from nerfstudio.cameras.camera_paths import get_path_from_json

    path = camera_file()
    pictures = list(frames(run, Shot(camera=path, fps=5)))
    assert len(pictures) == 5 and pictures[0][1].shape == (20, 30, 3)
    with open(path, encoding="utf8") as file:
        expected = get_path_from_json(json.load(file))
    for (view, _), matrix, focal in zip(run.model.asked, expected.camera_to_worlds, expected.fx, strict=True):
        torch.testing.assert_close(view.camera_to_worlds[0], matrix)
        torch.testing.assert_close(view.fx[0], focal.float())


def test_between_a_paths_cameras_there_are_others(run, camera_file):
    """Ten frames for five cameras: every second one lies half way; each picture is as large as asked for."""
    pictures = list(frames(run, Shot(camera=camera_file(), fps=10, height=40, width=40)))
    assert len(pictures) == 10 and pictures[0][1].shape == (40, 40, 3)
    matrices = torch.cat([view.camera_to_worlds for view, _ in run.model.asked])
    torch.testing.assert_close(matrices[:9, 0, 3], torch.arange(9) / 2)
    angles = torch.atan2(matrices[:9, 1, 0], matrices[:9, 0, 0]).rad2deg()
    torch.testing.assert_close(angles, 10.0 * torch.arange(9), atol=1e-3, rtol=0)


def test_render_times_say_which_moment_is_shown(run, camera_file):
    subject, _ = _subject(run)
    subject.transl[:, 0] = torch.arange(5.0)
    list(frames(run, Shot(motion="training", camera=camera_file(render_time=[0.0, 0.25, 0.5, 1.0, 0.0]), fps=5)))
    torch.testing.assert_close(_places(run, "transl")[:, 0], torch.tensor([0.0, 1.0, 2.0, 4.0, 0.0]))


@pytest.mark.parametrize(
    ("text", "message"),
    [("[1", "no camera path"), ("{}", "render_height"), ('{"render_height": 2, "render_width": 2}', "camera_path")],
)
def test_a_file_that_is_no_camera_path_is_told(text, message, tmp_path):
    (tmp_path / "path.json").write_text(text)
    with pytest.raises(UserError, match=message):
        Shot(camera=str(tmp_path / "path.json")).check()


def test_a_camera_path_of_pictures_too_small_is_told(camera_file, tmp_path):
    content = json.loads(Path(camera_file()).read_text("utf8"))
    (tmp_path / "path.json").write_text(json.dumps(content | {"render_height": 1}))
    with pytest.raises(UserError, match="30x1 pixels"):
        Shot(camera=str(tmp_path / "path.json")).check()
    Shot(camera=str(tmp_path / "path.json"), height=2).check()


def test_the_smallest_pictures_make_a_video(run, tmp_path):
    assert film(run, Shot(fps=2, height=2, width=3, seconds=1.0), tmp_path / "small.mp4") == 2
    with av.open(str(tmp_path / "small.mp4")) as container:
        assert (container.streams.video[0].height, container.streams.video[0].width) == (2, 2)


def test_an_unknown_camera_is_told_with_what_there_is():
    with pytest.raises(UserError, match="`still`, `turning`"):
        Shot(camera="spinning").check()


@pytest.mark.parametrize(
    "option",
    [
        {"height": 0},
        {"height": 1},
        {"width": 1},
        {"fps": -1},
        {"speed": 0.0},
        {"seconds": 0.0},
        {"elevation": 90.0},
        {"loop": -1},
        {"source_fps": float("nan")},
        {"blend_from_rest": -2},
    ],
)
def test_values_that_make_no_picture_are_refused(option):
    with pytest.raises(UserError, match=f"--{next(iter(option))}".replace("_", "-")):
        Shot(**option).check()


@pytest.mark.parametrize("azimuth", [0.0, 90.0, 200.0])
def test_the_whole_body_stands_in_the_middle_of_the_picture(standin, azimuth):
    """Every vertex, projected by hand; as much room over the head as below the feet."""
    motion = load_motion("walk")
    states = [motion[frame] for frame in (0, 10, 20)]
    cameras = cameras_around(standin, states, Shot(azimuth=azimuth, elevation=0.0, height=200, width=200))
    rows = []
    for state, matrix in zip(states, cameras.camera_to_worlds, strict=True):
        local = (standin.pose(state).vertices - matrix[:, 3]) @ matrix[:, :3]
        x, y = (cameras.fx[0] * local[:, axis] / -local[:, 2] for axis in (0, 1))
        assert x.abs().max() < 100 and y.abs().max() < 100
        rows.append((float(y.max()), float(-y.min())))
    over, below = np.array(rows).max(0)
    assert over == pytest.approx(below, abs=6) and over > 80
