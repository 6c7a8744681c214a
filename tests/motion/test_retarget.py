"""Other skeletons' motions on SMPL's joints."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from skeletons import (
    A_POSE,
    AXES,
    CMU,
    LIMB_NAMES,
    LIMBS,
    MIXAMO,
    SOURCES,
    STYLES,
    Skeleton,
    about,
    cosines,
    posed,
    random_motion,
    smpl_skeleton,
    still,
)

from nerfstudio_avatars.bodies.body_model import JOINT_NAMES
from nerfstudio_avatars.bodies.body_sequence import BodySequence
from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.motion import shipped_motions
from nerfstudio_avatars.motion.bvh import read_bvh
from nerfstudio_avatars.motion.motion_file import MotionFile
from nerfstudio_avatars.motion.npz import read_npz


@pytest.mark.parametrize("name", SOURCES)
def test_posed_limbs_point_along_the_sources_in_every_frame(tmp_path, standin, name):
    source = SOURCES[name]
    local, root = random_motion(source)
    motion = read_bvh(source.write(tmp_path / "random.bvh", local, root))
    found = cosines(standin, motion, source, source.global_pose(local, root)[1], AXES.get(name))
    assert min(cosine.min() for cosine in found.values()) > 0.99999


@pytest.mark.parametrize("name", SOURCES)
def test_a_rest_pose_stands_upright_faces_plus_z_and_has_level_soles(tmp_path, standin, name):
    source = SOURCES[name]
    motion = read_bvh(source.write(tmp_path / "rest.bvh", *still(source)))
    joints = posed(standin, motion)
    assert motion.up == "y"
    trunk = (joints["neck"] - joints["pelvis"])[0]
    assert trunk[1] > 0.99 * np.linalg.norm(trunk)
    for side, left in (("left", 1), ("right", -1)):
        toes = (joints[f"{side}_foot"] - joints[f"{side}_ankle"])[0]
        assert toes[2] > 0.9 * np.linalg.norm(toes), "feet forward"
        assert left * (joints[f"{side}_wrist"] - joints["pelvis"])[0, 0] > 0.15, "left is left"
        # The sole of a wide stance (CMU's) is at a right angle to the shank; all others stand flat.
        ankle = JOINT_NAMES.index(f"{side}_ankle")
        turn = standin.pose(motion.sequence.state(0)).joint_transforms[ankle, :3, :3].numpy()
        lean = np.degrees(np.arccos(turn[1, 1]))
        assert lean == pytest.approx(19 if name == "CMU" else 0, abs=2)


@pytest.mark.parametrize("name", SOURCES)
def test_twist_about_a_bone_is_the_sources(tmp_path, standin, name):
    """Whatever the rest pose: between two frames, a posed limb turns by the source's own rotation."""
    source = SOURCES[name]
    local, root = random_motion(source)
    motion = read_bvh(source.write(tmp_path / "random.bvh", local, root))
    turns, _ = source.global_pose(local, root)
    axes = AXES.get(name, np.eye(3))
    plain = [each.split(":")[-1] for each in source.names]
    states = [motion.sequence.state(frame) for frame in range(len(root))]
    mine = np.stack([standin.pose(state).joint_transforms[:, :3, :3].numpy() for state in states])
    for smpl, theirs in {
        "left_hip": "LeftUpLeg",
        "right_elbow": "RightForeArm",
        "left_ankle": "LeftFoot",
        "right_wrist": "RightHand",
        "head": "Head",
        "pelvis": "Hips",
        "left_collar": "LeftShoulder",
    }.items():
        truth = axes @ turns[:, plain.index(theirs)]
        change = mine[1:, JOINT_NAMES.index(smpl)] @ mine[0, JOINT_NAMES.index(smpl)].T
        np.testing.assert_allclose(change, truth[1:] @ truth[0].T, atol=1e-4)


def test_an_a_pose_raised_to_the_horizontal_is_smpls_t_pose(tmp_path, standin):
    local = Rotation.from_matrix(
        [about("z", {"LeftArm": 50, "RightArm": -50}.get(name, 0)).as_matrix() for name in A_POSE.names]
    )
    sequence = read_bvh(A_POSE.write(tmp_path / "t.bvh", local, A_POSE.offsets[:1])).sequence
    arms = sequence.body_pose.view(23, 3)[[JOINT_NAMES.index(f"left_{name}") - 1 for name in ("shoulder", "elbow")]]
    assert arms.abs().max() < 1e-3


@pytest.mark.parametrize("style", STYLES.values(), ids=STYLES)
def test_smpls_own_skeleton_comes_back_exactly(tmp_path, standin, style):
    source, rng = smpl_skeleton(standin, style), np.random.default_rng(0)
    poses, transl = 0.5 * rng.normal(size=(5, 24, 3)), rng.normal(size=(5, 3))
    path = source.write(
        tmp_path / "smpl.bvh", Rotation.from_rotvec(poses.reshape(-1, 3)), transl + source.offsets[0], "ZXY", 1 / 60
    )
    sequence = read_bvh(path).sequence
    np.testing.assert_allclose(sequence.global_orient.numpy(), poses[:, 0], atol=1e-5)
    np.testing.assert_allclose(sequence.body_pose.numpy(), poses[:, 1:].reshape(5, 69), atol=1e-5)
    np.testing.assert_allclose(sequence.transl.numpy(), transl, atol=1e-5)
    assert sequence.fps == 60


def cmu_walk(body, path: Path) -> tuple[Path, BodySequence]:
    """The shipped walk on a skeleton with CMU's names, rest pose (legs spread by 20 degrees) and unit."""
    walk = read_npz(shipped_motions()["walk"])
    rest = body.rest(torch.zeros(10))[1].double().numpy()
    states = [walk.state(frame) for frame in range(len(walk))]
    turns = np.stack([body.pose(state).joint_transforms[:, :3, :3].numpy() for state in states])
    chain = dict(LowerBack="spine1", Spine="spine2", Spine1="spine3", Neck="neck", Neck1="neck", Head="head")
    for short, side in (("L", "Left"), ("R", "Right")):
        chain[f"{short}HipJoint"] = "pelvis"
        chain |= {side + theirs: f"{side.lower()}_{ours}" for ours, theirs in LIMB_NAMES.items()}
        chain |= {f"{side}Shoulder": f"{side.lower()}_collar", f"{side}ToeBase": f"{side.lower()}_foot"}
        chain |= dict.fromkeys((f"{side}FingerBase", f"{side}HandIndex1", f"{short}Thumb"), f"{side.lower()}_wrist")
    ours = np.array([JOINT_NAMES.index(chain.get(name, "pelvis")) for name in CMU.names])
    spread = np.stack([np.eye(3)] * 24)
    for side, angle in (("left", 20), ("right", -20)):
        for name in ("hip", "knee", "ankle", "foot"):
            spread[JOINT_NAMES.index(f"{side}_{name}")] = about("z", angle).as_matrix()
    unit = 0.0254 / 0.45
    offsets = np.zeros((len(CMU.names), 3))
    for joint, parent in enumerate(CMU.parents):
        if parent >= 0:
            offsets[joint] = spread[ours[parent]] @ (rest[ours[joint]] - rest[ours[parent]]) / unit
    source = Skeleton(CMU.names, CMU.parents, offsets)
    wanted = turns[:, ours] @ spread[ours].swapaxes(-1, -2)
    above = np.stack([wanted[:, parent] if parent >= 0 else np.eye(3) + 0 * wanted[:, 0] for parent in CMU.parents], 1)
    local = Rotation.from_matrix((above.swapaxes(-1, -2) @ wanted).reshape(-1, 3, 3))
    return source.write(path, local, (walk.transl.double().numpy() + rest[0]) / unit), walk


def test_the_shipped_walk_survives_cmus_names_rest_pose_and_unit(tmp_path, standin):
    path, walk = cmu_walk(standin, tmp_path / "walk.bvh")
    motion = read_bvh(path)
    ours, truth = posed(standin, motion), posed(standin, MotionFile(walk, "npz"))
    error = np.stack([np.linalg.norm(ours[name] - truth[name], axis=-1) for name in JOINT_NAMES])
    assert error.mean() < 0.005 and error.max() < 0.02
    assert any("0.05644" in note for note in motion.notes), motion.notes


def test_a_skeleton_twice_as_long_walks_the_same_way_in_metres(tmp_path, standin):
    """Lengths are measured in legs: the unit does not matter."""
    ways = []
    for size in (1.0, 2.0):
        source = Skeleton(MIXAMO.names, MIXAMO.parents, size * MIXAMO.offsets)
        local, root = Rotation.identity(2 * len(source.names)), source.offsets[0] + [[0, 0, 0], [0, 0, 89 * size]]
        sequence = read_bvh(source.write(tmp_path / "step.bvh", local, root)).sequence
        ways.append(sequence.transl[1] - sequence.transl[0])
    torch.testing.assert_close(ways[0], ways[1])
    assert ways[0][2] == pytest.approx(0.885, abs=0.02), "one leg's length, forward"


def test_the_floor_stays_at_zero(tmp_path, standin):
    motion = read_bvh(MIXAMO.write(tmp_path / "rest.bvh", *still(MIXAMO)))
    skin = standin.pose(motion.sequence.state(0)).vertices
    assert abs(skin[:, 1].min()) < 0.04


def test_another_body_gets_angles_of_its_own(tmp_path, standin):
    """Longer legs, bones of other directions: its limbs, too, point along the source's, and it walks its own length."""
    rest = standin.rest(torch.zeros(10))[1].double() + 0.03 * torch.randn(
        24, 3, generator=torch.Generator().manual_seed(0)
    )
    local, root = random_motion(MIXAMO)
    sequence = read_bvh(MIXAMO.write(tmp_path / "random.bvh", local, root), rest).sequence
    offsets = np.stack([(rest[j] - rest[max(up, 0)]).numpy() for j, up in enumerate(standin.parents)])
    angles = np.concatenate([sequence.global_orient[:, None], sequence.body_pose.unflatten(1, (23, 3))], 1)
    body = Skeleton(list(JOINT_NAMES), list(standin.parents), offsets)
    _, places = body.global_pose(
        Rotation.from_rotvec(angles.reshape(-1, 3)), sequence.transl.double().numpy() + rest[0].numpy()
    )
    truth = MIXAMO.global_pose(local, root)[1]
    for side in ("left", "right"):
        for a, b in LIMBS:
            mine = places[:, JOINT_NAMES.index(f"{side}_{b}")] - places[:, JOINT_NAMES.index(f"{side}_{a}")]
            ends = (MIXAMO.names.index(side.capitalize() + LIMB_NAMES[joint]) for joint in (b, a))
            bone = np.subtract(*(truth[:, end] for end in ends))
            cosine = (bone * mine).sum(1) / np.linalg.norm(bone, axis=1) / np.linalg.norm(mine, axis=1)
            assert cosine.min() > 0.99999


def test_a_rest_pose_that_does_not_stand_is_replaced_by_a_frame_that_does(tmp_path, standin):
    """As in LAFAN1: at zero, all bones lie along their own x; what the person looks like is in the frames alone."""
    turns, _ = MIXAMO.global_pose(*still(MIXAMO))
    aims = {}
    for joint, parent in enumerate(MIXAMO.parents):
        if parent > 0:
            axis = MIXAMO.offsets[joint] / np.linalg.norm(MIXAMO.offsets[joint])
            aims.setdefault(parent, Rotation.align_vectors([axis], [[1, 0, 0]])[0])
    local, root = random_motion(MIXAMO, 8, 0.3)
    turns, places = MIXAMO.global_pose(local, root + [0, 100, 0])
    turns[0], places[0] = np.eye(3), MIXAMO.global_pose(*still(MIXAMO))[1][0]
    frame = np.stack([aims.get(joint, Rotation.identity()).as_matrix() for joint in range(len(MIXAMO.names))])
    wanted = turns @ frame
    above = np.stack(
        [wanted[:, parent] if parent >= 0 else np.eye(3) + 0 * turns[:, 0] for parent in MIXAMO.parents], 1
    )
    offsets = np.stack(
        [frame[max(up, 0)].T @ offset for up, offset in zip(MIXAMO.parents, MIXAMO.offsets, strict=True)]
    )
    source = Skeleton(MIXAMO.names, MIXAMO.parents, offsets)
    local = Rotation.from_matrix((above.swapaxes(-1, -2) @ wanted).reshape(-1, 3, 3))
    motion = read_bvh(source.write(tmp_path / "lafan.bvh", local, places[:, 0]))
    assert any("does not stand" in note and "frame 0" in note for note in motion.notes), motion.notes
    truth = source.global_pose(local, places[:, 0])[1]
    np.testing.assert_allclose(truth[0], MIXAMO.global_pose(*still(MIXAMO))[1][0], atol=1e-6)
    found = cosines(standin, motion, source, truth)
    assert min(cosine.min() for cosine in found.values()) > 0.999
    joints = posed(standin, motion)
    assert (joints["neck"] - joints["pelvis"])[0, 1] > 0.45 and (joints["left_foot"] - joints["left_ankle"])[0, 2] > 0.1


def test_joints_between_mapped_ones_are_folded_in(tmp_path, standin):
    """A roll joint in the middle of the upper arm bends; the posed bone still points to the elbow."""
    names, parents, offsets = list(MIXAMO.names), list(MIXAMO.parents), MIXAMO.offsets.copy()
    arm, fore = names.index("LeftArm"), names.index("LeftForeArm")
    names.append("LeftArmRoll")
    parents.append(arm)
    offsets = np.concatenate([offsets, offsets[fore : fore + 1] / 2])
    order = [*range(fore), len(names) - 1, *range(fore, len(names) - 1)]
    parents[fore], offsets[fore] = len(names) - 1, offsets[fore] / 2
    place = {old: new for new, old in enumerate(order)} | {-1: -1}
    source = Skeleton([names[i] for i in order], [place[parents[i]] for i in order], offsets[order])
    local, root = random_motion(source)
    motion = read_bvh(source.write(tmp_path / "roll.bvh", local, root))
    found = cosines(standin, motion, source, source.global_pose(local, root)[1])
    assert min(cosine.min() for cosine in found.values()) > 0.99999


def test_swapped_sides_are_seen_by_the_toes(tmp_path, standin):
    names = [name.replace("Left", "#").replace("Right", "Left").replace("#", "Right") for name in MIXAMO.names]
    source = Skeleton(names, MIXAMO.parents, MIXAMO.offsets)
    motion = read_bvh(source.write(tmp_path / "mirror.bvh", *still(source)))
    assert any("swapped" in note for note in motion.notes)
    joints = posed(standin, motion)
    assert joints["left_wrist"][0, 0] > 0.5 and joints["left_foot"][0, 2] > joints["left_ankle"][0, 2]


def test_a_body_that_lies_most_of_the_time_is_told(tmp_path):
    local = Rotation.from_matrix(
        [about("x", 90 if name == "Hips" else 0).as_matrix() for _ in range(3) for name in MIXAMO.names]
    )
    motion = read_bvh(MIXAMO.write(tmp_path / "lying.bvh", local, np.zeros((3, 3))))
    assert any("90 degrees from upright" in note for note in motion.notes)


def test_what_is_dropped_is_told(tmp_path):
    motion = read_bvh(CMU.write(tmp_path / "cmu.bvh", *still(CMU)))
    assert any("6 finger joints" in note for note in motion.notes), motion.notes
    keep = [joint for joint, name in enumerate(MIXAMO.names) if not any(x in name for x in ("Toe", "Hand", "Head"))]
    parents = [keep.index(MIXAMO.parents[joint]) if MIXAMO.parents[joint] >= 0 else -1 for joint in keep]
    source = Skeleton([MIXAMO.names[joint] for joint in keep], parents, MIXAMO.offsets[keep])
    motion = read_bvh(source.write(tmp_path / "short.bvh", *still(source)))
    assert any("no joint for left foot, right foot, head, left wrist, right wrist" in note for note in motion.notes)


def test_a_skeleton_of_no_person_is_named(tmp_path):
    snake = Skeleton([f"Bone{number}" for number in range(4)], [-1, 0, 1, 2], np.ones((4, 3)))
    with pytest.raises(DataError, match="no joint for pelvis, left_hip.*among Bone0, Bone1") as error:
        read_bvh(snake.write(tmp_path / "snake.bvh", *still(snake)))
    assert "rename the joints" in str(error.value)


def test_legs_without_length_are_named(tmp_path):
    flat = Skeleton(MIXAMO.names, MIXAMO.parents, 0 * MIXAMO.offsets)
    with pytest.raises(DataError, match="legs of no length"):
        read_bvh(flat.write(tmp_path / "flat.bvh", *still(flat)))
