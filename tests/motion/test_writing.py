"""Motions that are written are read again as they were, by our readers and by plain numpy and scipy."""

import json
import struct

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from nerfstudio_avatars.bodies.body_model import JOINT_NAMES
from nerfstudio_avatars.bodies.body_sequence import BodySequence
from nerfstudio_avatars.bodies.rotations import axis_angle_to_matrix
from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.motion import load_motion
from nerfstudio_avatars.motion.forward_kinematics import posed_joints
from nerfstudio_avatars.motion.writing import write_motion

FILES = {"bvh": ("a.bvh", "instant-avatar"), "glb": ("a.glb", "instant-avatar")}
FILES |= {"npz": ("a.npz", "instant-avatar"), "amass": ("a.npz", "amass")}


@pytest.fixture(scope="module")
def tall(standin):
    """Joints of a body that is not the mean one."""
    return standin.rest(torch.tensor([1.5, -1.0, 0.5, *[0.0] * 7]))[1]


@pytest.fixture(scope="module")
def dance(tall):
    """Straight hands: AMASS has no place for SMPL's."""
    motion = load_motion("spinkick", rest_joints=tall)[:40]
    motion.body_pose[:, 63:] = 0
    # A reader puts the median pelvis at the origin.
    return motion.in_frame(torch.eye(3), -motion.pelvis(tall[0]).median(0).values, tall[0])


@pytest.mark.parametrize("kind", FILES)
def test_what_is_written_is_read_again_as_it_was(kind, dance, tall, tmp_path):
    name, npz = FILES[kind]
    read = load_motion(write_motion(dance, tmp_path / name, tall, npz), rest_joints=tall)
    assert read.fps == pytest.approx(dance.fps, rel=1e-4) and len(read) == len(dance)
    for part in ("global_orient", "body_pose"):
        found, truth = (axis_angle_to_matrix(getattr(one, part).unflatten(1, (-1, 3))) for one in (read, dance))
        torch.testing.assert_close(found, truth, atol=1e-3, rtol=0)
    torch.testing.assert_close(posed_joints(read, tall), posed_joints(dance, tall), atol=1e-3, rtol=0)


def test_a_bvh_has_its_joints_where_the_body_has_them(dance, tall, tmp_path):
    """Forward kinematics of the file's own text: y up, centimetres, forward is +z."""
    text = write_motion(dance, tmp_path / "a.bvh", tall).read_text()
    head, _, table = text.partition("MOTION\n")
    names, parents, offsets, open_joints = [], [], [], []
    for line in head.splitlines():
        words = line.split()
        if words[0] in ("ROOT", "JOINT", "End"):
            parents.append(open_joints[-1] if open_joints else -1)
            open_joints.append(len(names))
            names.append(words[1])
        elif words[0] == "OFFSET":
            offsets.append([float(word) for word in words[1:]])
        elif words[0] == "}":
            open_joints.pop()
    rows = np.array([[float(word) for word in row.split()] for row in table.splitlines()[2:]])
    assert [name for name in names if name != "Site"].sort() == sorted(JOINT_NAMES).sort()
    turns, places, column = {}, {}, 3
    for node, (name, parent) in enumerate(zip(names, parents, strict=True)):
        if name == "Site":
            continue
        local = Rotation.from_euler("ZXY", rows[:, column : column + 3], degrees=True)
        column += 3
        turns[node] = turns[parent] * local if parent >= 0 else local
        places[name] = places[names[parent]] + turns[parent].apply(offsets[node]) if parent >= 0 else rows[:, :3]
    assert column == rows.shape[1]
    x, y, z = posed_joints(dance, tall).unbind(-1)  # World: z up, forward is +y.
    truth = 100 * torch.stack([-x, z, y], -1).numpy()
    found = np.stack([places[name] for name in JOINT_NAMES], 1)
    np.testing.assert_allclose(found, truth, atol=0.01)
    assert np.abs(np.diff(rows[:, 3:], axis=0)).max() < 180.001, "no angle jumps by a whole turn"


def test_angles_are_right_where_two_axes_fall_together(tall, tmp_path):
    poses = torch.zeros(3, 69)
    poses[:, 3 * JOINT_NAMES.index("left_knee") - 3] = torch.pi / 2
    motion = BodySequence(torch.zeros(10), torch.tensor([[torch.pi / 2, 0, 0]] * 3), poses, torch.zeros(3, 3))
    read = load_motion(write_motion(motion, tmp_path / "a.bvh", tall), rest_joints=tall, up="y")
    found = posed_joints(read, tall) - posed_joints(read, tall)[:, :1]
    truth = posed_joints(motion, tall) - posed_joints(motion, tall)[:, :1]
    torch.testing.assert_close(found, truth, atol=1e-3, rtol=0)


def test_an_amass_file_has_amass_fields_and_axes(dance, tall, tmp_path):
    with np.load(write_motion(dance, tmp_path / "a.npz", tall, "amass"), allow_pickle=False) as file:
        assert {name: file[name].shape for name in file} == {
            "poses": (40, 156), "trans": (40, 3), "betas": (16,), "gender": (), "mocap_framerate": (),
        }  # fmt: skip
        height = posed_joints(dance, tall)[:, 0, 2].numpy()
        np.testing.assert_allclose(file["trans"][:, 2] + tall[0, 2].item(), height, atol=1e-5)


def test_quaternions_do_not_jump(dance, tall, tmp_path):
    data = write_motion(dance, tmp_path / "a.glb", tall).read_bytes()
    (length,) = struct.unpack_from("<I", data, 12)
    content, binary = json.loads(data[20 : 20 + length]), data[28 + length :]
    assert [node["name"] for node in content["nodes"]] == list(JOINT_NAMES)
    for channel in content["animations"][0]["channels"]:
        accessor = content["accessors"][content["animations"][0]["samplers"][channel["sampler"]]["output"]]
        start = content["bufferViews"][accessor["bufferView"]]["byteOffset"]
        values = np.frombuffer(binary, np.float32, 40 * (3 + (channel["target"]["path"] == "rotation")), start)
        if channel["target"]["path"] == "rotation":
            values = values.reshape(40, 4)
            assert (values[1:] * values[:-1]).sum(-1).min() > 0.5


def test_other_endings_are_refused(dance, tall, tmp_path):
    with pytest.raises(UserError, match=r"ends in \.bvh, \.npz or \.glb"):
        write_motion(dance, tmp_path / "a.fbx", tall)
