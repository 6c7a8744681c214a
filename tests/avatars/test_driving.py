"""Identities moved by clips: where the motion comes from, whom it moves, and what is refused."""

import json
import math
from dataclasses import replace

import av
import numpy as np
import pytest
import torch
from PIL import Image

from nerfstudio_avatars.avatars.driving import DrivenShot, _frames, drive, driving_poses, relative_motion
from nerfstudio_avatars.avatars.identity import find_identity, save_identity
from nerfstudio_avatars.avatars.run import load_run
from nerfstudio_avatars.bodies.rotations import axis_angle_to_matrix
from nerfstudio_avatars.errors import DataError, UserError
from nerfstudio_avatars.media.frame_writer import FrameWriter
from nerfstudio_avatars.unsup_volanim.data import loose_clip
from nerfstudio_avatars.unsup_volanim.volumetric_skinning import PartPoses

SIZE = 24


@pytest.fixture(scope="module")
def run(volanim_config):
    return load_run(volanim_config)


@pytest.fixture
def shot(names):
    return DrivenShot(driving=names[1], height=SIZE, width=SIZE + 6)


@pytest.fixture
def output(tmp_path):
    return tmp_path / "out"


@pytest.fixture(scope="module")
def names(run):
    return run.model.clips.identities


@pytest.fixture(scope="module")
def picture(head_clips):
    """Of somebody never trained on."""
    return sorted((head_clips / "test").glob("*/*.png"))[0]


def pictures(folder):
    return [np.asarray(Image.open(file)).astype(int) for file in sorted(folder.glob("*.png"))]


def random_poses(seed, count):
    torch.manual_seed(seed)
    return [
        PartPoses(axis_angle_to_matrix(0.4 * torch.randn(1, 2, 3)), 0.1 * torch.randn(1, 2, 3)) for _ in range(count)
    ]


def test_relative_motion_starts_at_the_source_and_moves_as_the_driver():
    driving, (source,) = random_poses(0, 4), random_poses(1, 1)
    moved = relative_motion(driving, source)
    torch.testing.assert_close(moved[0].rotation, source.rotation, atol=1e-5, rtol=0)
    torch.testing.assert_close(moved[0].translation, source.translation, atol=1e-5, rtol=0)
    for ours, theirs in zip(moved, driving, strict=True):
        step = ours.after(source.inverse())
        expected = theirs.after(driving[0].inverse())
        torch.testing.assert_close(step.rotation, expected.rotation, atol=1e-5, rtol=0)
        torch.testing.assert_close(step.translation, expected.translation, atol=1e-5, rtol=0)
    itself = relative_motion(driving, driving[0])
    torch.testing.assert_close(itself[3].rotation, driving[3].rotation, atol=1e-5, rtol=0)


def test_poses_are_fitted_where_who_is_seen_is_known(run, names, tmp_path):
    found, fitted = (driving_poses(run.model, names[1], 0.1, rounds).joined() for rounds in (0, 2))
    assert len(found.rotation) == len(fitted.rotation) == 2
    assert not torch.equal(found.rotation, fitted.rotation)
    assert not fitted.rotation.requires_grad
    with pytest.raises(UserError, match="expected a clip of the data set as --driving, but elsewhere.mp4 is none"):
        driving_poses(run.model, "elsewhere.mp4", fit_rounds=2)


def test_a_clip_of_the_data_moves_somebody_of_the_data(run, shot, output, names):
    assert drive(run, replace(shot, identity=names[0]), output) == 16
    frames = pictures(output)
    assert len(frames) == 16 and frames[0].shape == (SIZE, SIZE, 3)
    model = run.model
    from nerfstudio_avatars.unsup_volanim.data.clip_cameras import clip_cameras

    camera = clip_cameras(model.clips.table, torch.tensor([[0, 0]]), SIZE)
    expected = model.render_identity(camera, model.cube_of_identity(0), model.driving_pose(1, 5))["rgb"]
    assert np.abs(frames[5] - expected.numpy() * 255).max() < 1


def test_seconds_cut_the_clip_at_its_own_rate(run, shot, output, names):
    assert drive(run, replace(shot, identity=names[0], seconds=0.2), output) == 5
    assert drive(run, replace(shot, identity=names[0], seconds=0.001), output) == 1


def test_an_mp4_moves_as_well_and_gives_its_rate(run, shot, output, names, head_clips, tmp_path):
    video = tmp_path / "driver.mp4"
    with FrameWriter(video, 10) as writer:
        for file in sorted((head_clips / "train" / names[2]).iterdir())[:6]:
            writer.write(np.asarray(Image.open(file)))
    output = tmp_path / "driven.mp4"
    assert drive(run, replace(shot, driving=str(video), identity=names[0]), output) == 6
    with av.open(str(output)) as container:
        assert float(container.streams.video[0].average_rate) == 10
        assert len(list(container.decode(video=0))) == 6


def test_a_folder_moves_as_the_clip_in_it_does(run, shot, output, names, head_clips):
    by_name, by_folder = output / "name", output / "folder"
    drive(run, replace(shot, identity=names[0], seconds=0.1), by_name)
    folder = str(head_clips / "train" / names[1])
    drive(run, replace(shot, driving=folder, identity=names[0], seconds=0.1), by_folder)
    for ours, theirs in zip(pictures(by_name), pictures(by_folder), strict=True):
        assert np.abs(ours - theirs).max() <= 1


def test_pictures_of_somebody_new_are_moved_absolutely_or_relatively(run, shot, output, names, picture, monkeypatch):
    drawn = []
    model = run.model

    def remember(camera, cube, poses, **_):
        drawn.append(poses)
        return {"rgb": torch.zeros(2, 2, 3)}

    monkeypatch.setattr(model, "render_identity", remember)
    new = replace(shot, image=(picture,), seconds=0.1)
    drive(run, new, output)
    absolute, own = drawn[0], model.pose_of_picture(torch.from_numpy(np.array(Image.open(picture))).float() / 255)
    torch.testing.assert_close(absolute.rotation, model.driving_pose(1, 0).rotation, atol=1e-5, rtol=0)
    drawn.clear()
    drive(run, replace(new, relative=True), output)
    torch.testing.assert_close(drawn[0].rotation, own.rotation, atol=1e-4, rtol=0)
    torch.testing.assert_close(drawn[0].translation, own.translation, atol=1e-4, rtol=0)


@pytest.mark.parametrize("kept", [False, True])
def test_known_identities_too_are_moved_relatively(run, shot, output, names, picture, tmp_path, monkeypatch, kept):
    model, drawn = run.model, []
    own, identity = model.driving_pose(0, 0), names[0]
    if kept:
        found = find_identity(run, (picture,))
        own, identity = found.pose, str(tmp_path / "new.npz")
        save_identity(found, tmp_path / "new.npz")

    def remember(camera, cube, poses, **_):
        drawn.append(poses)
        return {"rgb": torch.zeros(2, 2, 3)}

    monkeypatch.setattr(model, "render_identity", remember)
    drive(run, replace(shot, identity=identity, relative=True, seconds=0.05), output)
    torch.testing.assert_close(drawn[0].rotation, own.rotation, atol=1e-4, rtol=0)
    torch.testing.assert_close(drawn[0].translation, own.translation, atol=1e-4, rtol=0)


def test_a_camera_path_is_followed(run, shot, output, names, tmp_path):
    views = [[-1, 0, 0, 0, 0, 0, 1, 10.5 + away, 0, 1, 0, 0, 0, 0, 0, 1] for away in (0.0, 3.0)]
    cameras = [{"camera_to_world": view, "fov": 10.03, "aspect": 1.0} for view in views]
    path = {"camera_type": "perspective", "render_height": 20, "render_width": 30, "seconds": 1, "camera_path": cameras}
    (tmp_path / "path.json").write_text(json.dumps(path))
    moved = replace(shot, identity=names[0], seconds=0.1, height=None, width=None)
    drive(run, replace(moved, camera=str(tmp_path / "path.json")), tmp_path / "path")
    frames = pictures(tmp_path / "path")
    assert len(frames) == 2 and frames[0].shape == (20, 30, 3)
    assert np.abs(frames[0] - frames[1]).mean() > 1, "the second camera stands further away"


def test_render_times_of_a_camera_path_say_which_moment_is_shown(run, shot, output, tmp_path, monkeypatch):
    model = run.model
    poses = [model.driving_pose(1, frame) for frame in range(3)]
    view = [-1, 0, 0, 0, 0, 0, 1, 10.5, 0, 1, 0, 0, 0, 0, 0, 1]
    cameras = [{"camera_to_world": view, "fov": 10.03, "aspect": 1.0, "render_time": time} for time in (1.0, 0.5, 0.0)]
    path = {"camera_type": "perspective", "render_height": 8, "render_width": 8, "seconds": 1, "camera_path": cameras}
    (tmp_path / "path.json").write_text(json.dumps(path))
    shown = []
    monkeypatch.setattr(
        PartPoses, "turned", lambda pose, *_: shown.append([pose is one for one in poses].index(True)) or pose
    )
    list(_frames(model, model.cube_of_identity(0), poses, replace(shot, camera=str(tmp_path / "path.json"))))
    assert shown == [2, 1, 0]


def test_slow_clips_make_a_video_nevertheless(run, shot, output, names, tmp_path, monkeypatch):
    frame = torch.zeros(2, 32, 32, 3, dtype=torch.uint8)
    monkeypatch.setattr(loose_clip, "read_loose_clip", lambda *_: (frame, 0.25))
    drive(run, replace(shot, driving="slow.gif", identity=names[0]), tmp_path / "slow.mp4")
    with av.open(str(tmp_path / "slow.mp4")) as container:
        assert float(container.streams.video[0].average_rate) == 1


def test_an_identity_file_is_shown(run, shot, output, names, picture, tmp_path):
    found = find_identity(run, (picture,))
    save_identity(found, tmp_path / "new.npz")
    assert drive(run, replace(shot, identity=str(tmp_path / "new.npz"), seconds=0.05), output) == 1
    from nerfstudio_avatars.unsup_volanim.data.clip_cameras import clip_cameras

    model = run.model
    camera = clip_cameras(model.clips.table, torch.tensor([[0, 0]]), SIZE)
    expected = model.render_identity(camera, found.cube, model.driving_pose(1, 0))["rgb"]
    assert np.abs(pictures(output)[0] - expected.numpy() * 255).max() < 1


def test_people_who_do_not_exist_are_moved_and_their_number_says_who(run, shot, output, names):
    for folder, number in (("a", 1), ("b", 1), ("c", 2)):
        drive(run, replace(shot, identity=f"random:{number}", seconds=0.05), output / folder)
    (first,), (again,), (other,) = (pictures(output / folder) for folder in "abc")
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert (run.model.random_cube(1) != run.model.cube_of_identity(0)).any()


def test_yaw_and_a_turning_camera_turn_the_head(run, shot, output, monkeypatch):
    model = run.model
    turns = []
    monkeypatch.setattr(PartPoses, "turned", lambda pose, yaw, pitch, middle: turns.append((yaw, pitch)) or pose)
    poses = [model.driving_pose(0, frame) for frame in range(4)]
    cube = model.cube_of_identity(0)
    list(_frames(model, cube, poses, replace(shot, yaw=30.0, pitch=-10.0)))
    assert turns == [pytest.approx((math.radians(30), math.radians(-10)))] * 4
    turns.clear()
    list(_frames(model, cube, poses, replace(shot, camera="turning")))
    assert [yaw for yaw, _ in turns] == pytest.approx([0.0, math.radians(25), 0.0, -math.radians(25)])


def test_mistakes_are_told_with_what_was_expected(run, shot, output, names, picture):
    for wrong, match in (
        ({}, "--identity None: expected"),
        ({"identity": "nobody"}, "--identity nobody: expected .*--image"),
        ({"identity": "random:1", "relative": True}, "--relative: a random identity has no picture"),
        ({"identity": "random:one"}, "--identity random:one: expected .*random:NUMBER"),
        ({"identity": names[0], "image": (picture,)}, "expected only one of them"),
        ({"identity": names[0], "rounds": 20}, "--rounds: expected --image as well"),
        ({"image": (picture,), "rounds": -2}, "--rounds -2: expected 0 or more"),
        ({"identity": names[0], "yaw": math.nan}, "--yaw nan: expected an angle in degrees"),
        ({"identity": names[0], "pitch": math.inf}, "--pitch inf: expected an angle in degrees"),
        ({"identity": names[0], "height": 0}, "--height 0: expected a number above zero"),
    ):
        with pytest.raises(UserError, match=match):
            drive(run, replace(shot, **wrong), output)
    with pytest.raises(DataError, match="no such file"):
        drive(run, replace(shot, driving="nowhere.mp4", identity=names[0]), output)
    with pytest.raises(DataError, match="no such file"):
        drive(run, replace(shot, identity="nowhere.npz"), output)
    assert not output.exists(), "nothing is begun that cannot be done"
