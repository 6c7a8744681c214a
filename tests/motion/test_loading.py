"""Motions by name or path stand upright in the world."""

from __future__ import annotations

import itertools
import math
import pickle

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from nerfstudio_avatars.bodies.body_model import JOINT_NAMES
from nerfstudio_avatars.bodies.body_sequence import BodySequence
from nerfstudio_avatars.bodies.standin import load_standin
from nerfstudio_avatars.errors import DataError, UserError
from nerfstudio_avatars.motion import load_motion, shipped_motions
from nerfstudio_avatars.motion.loading import choose_motion, stage
from nerfstudio_avatars.motion.npz import read_npz


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
    sequence = read_npz(shipped_motions()["walk"])[:5]
    sequence.save("walk.npz")
    assert len(load_motion("walk.npz")) == 5


@pytest.mark.parametrize(("name", "found"), [("jump", "no such file"), (".", "a folder")])
def test_an_unknown_motion_lists_the_known_ones(name, found):
    with pytest.raises(DataError, match=found) as error:
        load_motion(name)
    assert "cartwheel, crawl, dance_a" in str(error.value)


QUARTER = math.pi / 2
FROM_Y_UP = {
    "z": torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]]),
    "-y": torch.tensor([[1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, -1.0]]),
}


@pytest.fixture(scope="module")
def body():
    return load_standin()


@pytest.fixture(scope="module")
def subject():
    return BodySequence(
        betas=torch.linspace(-1, 1, 10),
        global_orient=torch.tensor([[QUARTER, 0.0, 0.0]]).repeat(7, 1),
        body_pose=torch.zeros(7, 69),
        transl=torch.zeros(7, 3),
    )


@pytest.mark.parametrize("name", ["walk", "run", "dance_a", "cartwheel", "spinkick", "crawl"])
def test_shipped_motions_are_upright_and_have_the_persons_shape(name, subject, body):
    motion = choose_motion(name, subject, body)
    joints = torch.stack([body.pose(motion.state(frame)).joints for frame in range(len(motion))])
    assert joints[:, 0].median(dim=0).values.abs().max() < 1e-4
    if name in ("walk", "run"):
        assert (joints[:, 15, 2] - joints[:, [10, 11], 2].amin(dim=1) > 1.2).all()
    torch.testing.assert_close(motion.betas, subject.betas)


def test_walk_faces_the_camera_at_azimuth_zero(subject, body):
    """The camera stands at +y; toes lie before ankles."""
    joints = body.pose(choose_motion("walk", subject, body).state(0)).joints
    assert (joints[[10, 11], 1] > joints[[7, 8], 1]).all()


@pytest.mark.parametrize("up", FROM_Y_UP)
def test_a_file_with_other_axes_gives_the_same_motion(up, subject, body, tmp_path):
    stored = read_npz(shipped_motions()["walk"])
    pelvis = body.rest(stored.betas)[1][0]
    stored.in_frame(FROM_Y_UP[up], torch.tensor([0.3, 0.2, 0.1]), pelvis).save(tmp_path / "motion.npz")
    motion, expected = (choose_motion(name, subject, body) for name in (str(tmp_path / "motion.npz"), "walk"))
    for frame in (0, 10, 30):
        torch.testing.assert_close(
            body.pose(motion.state(frame)).joints, body.pose(expected.state(frame)).joints, atol=2e-3, rtol=0
        )


def test_the_persons_own_poses_and_the_held_first_one(subject, body):
    assert choose_motion("training", subject, body) is subject
    assert len(choose_motion("still", subject, body)) == 1


def test_an_unknown_motion_is_told_with_what_there_is(subject, body):
    with pytest.raises(DataError, match="walk"):
        choose_motion("moonwalk", subject, body)


def write_bvh(path, body, betas, frames=3):
    """The body's own skeleton in centimetres, walking 10 cm a frame along z, its left elbow bent by 90 degrees."""
    rest = 100 * body.rest(betas)[1].numpy()
    visited = []

    def block(joint):
        visited.append(joint)
        offset = rest[joint] - (rest[body.parents[joint]] if joint else 0)
        children = [child for child, parent in enumerate(body.parents) if parent == joint]
        return [
            f"{'JOINT' if joint else 'ROOT'} {JOINT_NAMES[joint]} {{",
            "OFFSET {} {} {}".format(*offset),
            f"CHANNELS {3 if joint else '6 Xposition Yposition Zposition'} Zrotation Yrotation Xrotation",
            *itertools.chain(*map(block, children)),
            *([] if children else ["End Site {", "OFFSET 0 10 0", "}"]),
            "}",
        ]

    def values(joint, frame):
        place = [] if joint else [*(rest[0] + [0, 0, 10.0 * frame])]
        return [*place, 0, 90 if JOINT_NAMES[joint] == "left_elbow" else 0, 0]

    lines = ["HIERARCHY", *block(0), "MOTION", f"Frames: {frames}", "Frame Time: 0.05"]
    rows = [itertools.chain(*(values(joint, frame) for joint in visited)) for frame in range(frames)]
    path.write_text("\n".join([*lines, *(" ".join(map(str, row)) for row in rows)]) + "\n")


def test_a_bvh_moves_the_avatars_own_joints(subject, body, tmp_path, caplog):
    """Drawn with the avatar's shape, so its bones are the avatar's: every joint must be where the file has it."""
    write_bvh(tmp_path / "walk.bvh", body, subject.betas)
    motion = choose_motion(str(tmp_path / "walk.bvh"), subject, body)
    assert len(motion) == 3 and motion.fps == pytest.approx(20)
    joints = torch.stack([body.pose(motion.state(frame)).joints for frame in range(3)])
    rest = body.rest(subject.betas)[1]
    # The file's y is up and its z ahead; here z is up and y ahead. The left elbow bends about y: the forearm goes back.
    expected = (rest - rest[0]) @ torch.tensor([[-1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0]]).T
    still = [joint for joint, name in enumerate(JOINT_NAMES) if name not in ("left_wrist", "left_hand")]
    for frame, ahead in enumerate((-0.1, 0.0, 0.1)):
        shifted = expected + torch.tensor([0.0, ahead, 0.0])
        torch.testing.assert_close(joints[frame, still], shifted[still], atol=2e-3, rtol=0)
    forearm = joints[0, JOINT_NAMES.index("left_wrist")] - joints[0, JOINT_NAMES.index("left_elbow")]
    assert forearm[1] < -0.9 * forearm.norm()
    assert not [record for record in caplog.records if "lengths are multiplied" in record.message]


def test_one_of_several_persons_moves(subject, body, tmp_path):
    poses = [np.zeros((3, 72)), np.zeros((5, 72))]
    fields = {"poses": poses, "trans": [np.zeros((3, 3)), np.zeros((5, 3))], "cam_poses": np.zeros((5, 4, 4))}
    (tmp_path / "two.pkl").write_bytes(pickle.dumps(fields))
    lengths = [len(choose_motion(str(tmp_path / "two.pkl"), subject, body, person=who)) for who in (None, "0", "1")]
    assert lengths == [5, 3, 5]


def test_the_bodys_up_axis_can_be_overruled(subject, body, tmp_path):
    """A body that stands along y, in a file with AMASS's names."""
    poses = np.zeros((2, 156))
    np.savez(tmp_path / "amass.npz", poses=poses, trans=np.zeros((2, 3)), mocap_framerate=60.0)
    standing = choose_motion(str(tmp_path / "amass.npz"), subject, body)
    lying = choose_motion(str(tmp_path / "amass.npz"), subject, body, "z")
    heights = [body.pose(motion.state(0)).joints[:, 2] for motion in (lying, standing)]
    reach = [float(height.max() - height.min()) for height in heights]
    assert reach[0] < 0.5 < 1.4 < reach[1]


def test_a_motion_too_short_for_a_loop_is_told_with_the_options(subject, body):
    with pytest.raises(UserError, match="--loop 20"):
        stage(choose_motion("walk", subject, body), body, 24.0, loop=20)


def test_staging_resamples_first_so_that_frames_are_the_videos(subject, body):
    walk = choose_motion("walk", subject, body)
    assert len(stage(walk, body, 60.0)) == 2 * (len(walk) - 1) + 1
    assert len(stage(walk, body, 60.0, loop=10, blend_from_rest=5)) == 2 * (len(walk) - 1) + 1 - 10 + 5
