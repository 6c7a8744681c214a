"""Motions by name or path stand upright in the world."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from nerfstudio_avatars.data.body_sequence import BodySequence
from nerfstudio_avatars.data.errors import DataError
from nerfstudio_avatars.data.motion import load_motion, shipped_motions


def test_six_motions_ship_with_their_licence():
    motions = shipped_motions()
    assert {name: len(load_motion(name)) for name in motions} == {
        "walk": 39,
        "run": 25,
        "dance_a": 98,
        "cartwheel": 164,
        "spinkick": 78,
        "crawl": 177,
    }
    licence = next(iter(motions.values())).with_name("LICENSE")
    assert "MIT License" in licence.read_text()


@pytest.mark.parametrize(("name", "frames", "fps"), [("walk", 39, 30), ("run", 25, 30)])
def test_upright_motions_have_the_head_above_the_pelvis_above_the_feet(standin, name, frames, fps):
    motion = load_motion(name)
    assert len(motion) == frames and motion.fps == pytest.approx(fps, rel=1e-3)
    for frame in range(0, frames, 6):
        height = dict(zip(standin.joint_names, standin.pose(motion.state(frame)).joints[:, 2], strict=True))
        assert height["head"] > height["pelvis"] + 0.3
        assert height["pelvis"] > min(height["left_ankle"], height["right_ankle"]) + 0.5


def test_the_walker_faces_and_walks_towards_plus_y_along_level_ground(standin):
    motion = load_motion("walk")
    way = motion.transl[-1] - motion.transl[0]
    assert way[1] > 1 and way[[0, 2]].abs().max() < 0.1
    posed = [standin.pose(motion.state(frame)) for frame in range(0, 39, 3)]
    toes = torch.stack([body.joints[10:12] - body.joints[7:9] for body in posed])
    assert toes[..., 1].mean() > 0.1
    ground = torch.stack([body.vertices[:, 2].min() for body in posed])
    assert ground.max() - ground.min() < 0.03


def test_the_median_pelvis_lies_at_the_origin(standin):
    betas = torch.ones(10)
    pelvis_rest = standin.rest(betas)[1][0]
    motion = load_motion("run", pelvis_rest)
    torch.testing.assert_close(motion.pelvis(pelvis_rest).median(0).values, torch.zeros(3), atol=1e-5, rtol=0)


def standing(path, up: str, **fields) -> None:
    """A person standing upright in a file whose upward axis is `up`; SMPL's own is y."""
    turn = {"y": (0, 0, 0), "-y": (np.pi, 0, 0), "z": (np.pi / 2, 0, 0)}[up]
    poses = np.concatenate([np.tile(Rotation.from_rotvec(turn).as_rotvec(), (3, 1)), np.zeros((3, 69))], 1)
    np.savez(path, poses=poses, trans=np.zeros((3, 3)), **fields)


@pytest.mark.parametrize(
    ("up", "given", "fields"),
    [
        ("y", None, {}),
        ("y", "y", {}),
        ("-y", "-y", {}),
        ("z", "z", {}),
        ("z", None, {"mocap_framerate": 60}),
        ("y", "y", {"mocap_framerate": 60}),
    ],
)
def test_every_upward_axis_ends_up_as_z(tmp_path, standin, up, given, fields):
    standing(tmp_path / "still.npz", up, **fields)
    joints = standin.pose(load_motion(tmp_path / "still.npz", up=given).state(1)).joints
    named = dict(zip(standin.joint_names, joints, strict=True))
    assert named["head"][2] > 0.5 and named["left_foot"][2] < -0.8
    assert named["left_foot"][1] > named["left_ankle"][1] + 0.1, "facing +y"


def test_a_bare_name_is_a_shipped_motion_and_a_path_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert len(load_motion("walk")) == 39
    sequence = BodySequence.load(shipped_motions()["walk"])[:5]
    sequence.save("walk.npz")
    assert len(load_motion("walk.npz")) == 5


@pytest.mark.parametrize(("name", "found"), [("jump", "no such file"), (".", "a folder")])
def test_an_unknown_motion_lists_the_known_ones(name, found):
    with pytest.raises(DataError, match=found) as error:
        load_motion(name)
    assert "cartwheel, crawl, dance_a" in str(error.value)
