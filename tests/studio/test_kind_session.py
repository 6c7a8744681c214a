"""What is shown of a kind: who, moved by what, in which parts."""

import math

import numpy as np
import pytest
import torch

from nerfstudio_avatars.avatars.driving_clip import DrivingClip, load_curves
from nerfstudio_avatars.avatars.exporting_parts import PartsExport
from nerfstudio_avatars.avatars.identity import Identity
from nerfstudio_avatars.avatars.run import load_run
from nerfstudio_avatars.bodies.rotations import axis_angle_to_matrix
from nerfstudio_avatars.studio.kind_show import OUTPUTS, KindShow
from nerfstudio_avatars.studio.kind_takes import KindFilm, take_curves, take_kind_film, take_kind_picture, take_mesh
from nerfstudio_avatars.studio.parts_panel import hue_name
from nerfstudio_avatars.studio.sight import Sight
from nerfstudio_avatars.unsup_volanim.volumetric_skinning import PartPoses

FRONT = (-1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 10.5, 0.0, 1.0, 0.0, 0.0)


@pytest.fixture(scope="module")
def model(volanim_config):
    return load_run(volanim_config).model


@pytest.fixture
def show(model):
    return KindShow(model)


@pytest.fixture
def session(show):
    return show.session


@pytest.fixture
def sight():
    return Sight(FRONT, 0.2, 1.0)


def test_it_opens_on_the_first_clip_and_whoever_is_in_it(session, model):
    assert session.chosen == model.clips.table[0].name and session.who == model.clips.identities[0]
    assert session.playback.frames == 16 and not session.playback.playing
    assert torch.equal(session.cube(), model.cube_of_identity(0))
    session.playback.seek(5)
    torch.testing.assert_close(session.poses().rotation, model.driving_pose(0, 5).rotation)


def test_between_two_people_lie_their_codes(session, model):
    session.who, session.other, session.share = model.clips.identities[0], model.clips.identities[2], 0.0
    assert torch.equal(session.cube(), model.cube_of_identity(0))
    session.share = 1.0
    torch.testing.assert_close(session.cube(), model.cube_of_identity(2), atol=1e-4, rtol=1e-4)
    session.share = 0.5
    network = model.network
    numbers = torch.tensor([0, 2])
    with torch.no_grad():
        code, detail = network.embedding(numbers).mean(0), network.detail_of(numbers).mean(0)
        expected = network.cubes_of(code[None], detail=detail[None])[0]
    torch.testing.assert_close(session.cube(), expected, atol=1e-4, rtol=1e-4)


def test_somebody_in_a_picture_is_blended_by_voxels_and_somebody_who_does_not_exist_by_code(session, model):
    new = torch.randn_like(model.cube_of_identity(1))
    session.add_person("ada", Identity(new, model.driving_pose(1, 0)))
    assert session.who == "ada" and torch.equal(session.cube(), new) and session.people[0] == "ada"
    session.other, session.share = model.clips.identities[1], 0.25
    torch.testing.assert_close(session.cube(), torch.lerp(new, model.cube_of_identity(1), 0.25))
    session.who, session.other = "random:5", None
    torch.testing.assert_close(session.cube(), model.random_cube(5))
    session.other, session.share = "random:6", 1.0
    torch.testing.assert_close(session.cube(), model.random_cube(6), atol=1e-4, rtol=1e-4)


def test_a_relative_clip_starts_from_the_own_pose(session, model):
    session.who = model.clips.identities[3]
    session.choose(model.clips.table[1].name)
    session.manner = "relative"
    own = model.driving_pose(model.clips.clip_of_identity(3), 0)
    torch.testing.assert_close(session.poses(0).rotation, own.rotation, atol=1e-5, rtol=0)
    back = model.driving_pose(1, 0).inverse()
    wanted = model.driving_pose(1, 7).after(back).after(own)
    torch.testing.assert_close(session.poses(7).translation, wanted.translation, atol=1e-5, rtol=0)
    session.who = "random:1"
    torch.testing.assert_close(session.poses(7).rotation, model.driving_pose(1, 7).rotation)


def test_yaw_and_pitch_turn_it(session, model):
    session.yaw, session.pitch = 20.0, -10.0
    pose, cube = model.driving_pose(0, 0), session.cube()
    middle = model.network.middle_of(cube, pose)
    wanted = pose.turned(math.radians(25), math.radians(-10), middle)
    found = session.turned(session.poses(0), cube, swing=5.0)
    torch.testing.assert_close(found.rotation, wanted.rotation)
    torch.testing.assert_close(model.network.middle_of(cube, found), middle)


def test_a_clip_that_is_opened_plays_at_its_own_rate(session, model):
    poses = [model.driving_pose(0, frame) for frame in range(4)]
    session.open_clip("nod.json", DrivingClip(poses, 8.0))
    assert session.names[0] == "nod.json" and session.playback.playing
    session.playback.advance(0.25)
    assert session.playback.shown == 2
    torch.testing.assert_close(session.poses().rotation, poses[2].rotation)


def test_hidden_parts_are_left_out(session):
    assert session.visible() is None
    session.hidden.add(1)
    assert session.visible().tolist() == [1.0, 0.0]


def test_a_slider_moves_its_part_along_its_own_way_and_no_other(session, model, monkeypatch):
    """The first clip's second part opens by a skewed angle about x: so does the slider."""
    angles = torch.tensor([0.0, 0.0, 0.0, 0.1, 0.4])
    turns = torch.zeros(5, 2, 3)
    turns[:, 1, 0] = angles

    def pose(clip, frame):
        index = min(frame * 5 // model.clips.table[0].frames, 4)
        return PartPoses(axis_angle_to_matrix(turns[index : index + 1]), torch.zeros(1, 2, 3))

    monkeypatch.setattr(type(model), "driving_pose", lambda self, clip, frame: pose(clip, frame))
    session.moves.amounts[1] = 1.0
    rest = PartPoses(torch.eye(3).expand(1, 2, 3, 3), torch.zeros(1, 2, 3))
    moved = session.moves.applied(rest)
    assert torch.equal(moved.rotation[0, 0], torch.eye(3))
    opened = torch.atan2(moved.rotation[0, 1, 2, 1], moved.rotation[0, 1, 1, 1])
    assert 0.02 < float(opened) < 0.4
    assert float(moved.rotation[0, 1, 0, 0]) == pytest.approx(1.0, abs=1e-3), "about x alone"
    session.moves.amounts[1] = -1.0
    back = session.moves.applied(rest).rotation[0, 1]
    torch.testing.assert_close(back, moved.rotation[0, 1].mT, atol=2e-2, rtol=0)


def test_every_output_is_drawn(show, sight):
    seen = {}
    for show.output in OUTPUTS:
        seen[show.output] = show.draw(sight, 24, lambda: False)
        assert seen[show.output].shape == (24, 24, 3)
    assert len({picture.tobytes() for picture in seen.values()}) == len(OUTPUTS)
    assert show.draw(sight, 24, lambda: True) is None


def test_what_is_nearer_has_another_colour(show, sight):
    """A head is round: its depth has many colours, and where nobody is, none."""
    show.output = "depth"
    depth = show.draw(sight, 64, lambda: False)
    show.output = "accumulation"
    covered = show.draw(sight, 64, lambda: False).max(-1)
    assert np.ptp(depth[covered > 200].astype(int), axis=0).max() > 100
    assert depth[covered < 20].max(initial=0) < 60


def test_what_is_learnt_is_shown(show, sight):
    first = show.draw(sight, 16, lambda: False)
    model = show.model
    with torch.no_grad():
        before = model.network.embedding.table.clone()
        model.network.embedding.table.add_(torch.randn_like(before))
    try:
        assert np.array_equal(show.draw(sight, 16, lambda: False), first)
        model.forget_pictures()
        show.learnt()
        assert not np.array_equal(show.draw(sight, 16, lambda: False), first)
    finally:
        model.network.embedding.table.data.copy_(before)
        model.forget_pictures()


def test_pictures_are_drawn_while_something_else_gives_way(show):
    with show.shared.using():
        assert not show.shared.lock.acquire(blocking=False)
        show.shared.give_way()
        assert not show.shared.lock.acquire(blocking=False)
    assert show.shared.lock.acquire(blocking=False)


def test_what_is_taken_is_what_is_shown(show, sight, tmp_path):
    import av

    assert take_kind_picture(show, sight, 32).startswith(b"\x89PNG")
    show.session.choose(show.model.clips.table[2].name)
    done = []
    film = take_kind_film(show, sight, KindFilm("turning", 32), lambda *one: done.append(one), lambda: False)
    (tmp_path / "film.mp4").write_bytes(film)
    with av.open(str(tmp_path / "film.mp4")) as container:
        assert len(list(container.decode(video=0))) == 16 and done[-1] == (16, 16)
    assert take_kind_film(show, sight, KindFilm(side=16), lambda *_: None, lambda: True) is None
    (tmp_path / "motion.json").write_bytes(take_curves(show, ".json"))
    curves = load_curves(tmp_path / "motion.json", show.model)
    torch.testing.assert_close(curves[3].rotation, show.session.poses(3).rotation, atol=1e-5, rtol=0)


@pytest.mark.slow
def test_who_is_shown_is_taken_as_a_mesh(show):
    session, done = show.session, []
    session.who = "random:2"
    sizes = PartsExport(triangles=1000, texture_size=64, picture_size=16)
    mesh = take_mesh(show, ".glb", lambda *one: done.append(one), lambda: False, sizes)
    assert mesh.startswith(b"glTF") and f'"name":"{session.chosen}"'.encode() in mesh
    assert done[-1][0] == done[-1][1] > 10
    assert take_mesh(show, ".html", lambda *_: None, lambda: False, sizes).startswith(b"<!doctype html>")
    assert take_mesh(show, ".glb", lambda *_: None, lambda: True, sizes) is None
    assert show.shared.lock.acquire(blocking=False), "the model is free again"


def test_hues_have_different_names():
    assert len({hue_name(part, 10) for part in range(10)}) == 10
