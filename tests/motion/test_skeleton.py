"""A person's skeleton is known by its shape: whatever the joints are called, the motion is the same."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from skeletons import A_POSE, ARMS_DOWN, CMU, MIXAMO, SOURCES, Skeleton, random_motion, smpl_skeleton, still

from nerfstudio_avatars.bodies.body_model import JOINT_NAMES
from nerfstudio_avatars.bodies.standin import load_standin
from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.motion import read_motion
from nerfstudio_avatars.motion.joint_map import joint_map_of, read_joint_map


def with_bones(source: Skeleton, *bones: tuple[str, str, tuple[float, float, float]]) -> Skeleton:
    """More bones: name, parent, offset."""
    names, parents, offsets = list(source.names), list(source.parents), list(source.offsets)
    for name, parent, offset in bones:
        parents.append(names.index(parent))
        names.append(name)
        offsets.append(np.array(offset, float))
    return Skeleton(names, parents, np.array(offsets))


def halved(source: Skeleton, *names: str) -> Skeleton:
    """A twist bone in the middle of the bones that begin at some joints."""
    result = source
    for name in names:
        joint = result.names.index(name)
        below = next(child for child, parent in enumerate(result.parents) if parent == joint)
        keep = list(range(len(result.names)))
        order = [*keep[:below], len(keep), *keep[below:]]
        parents, offsets = [*result.parents, joint], np.concatenate([result.offsets, result.offsets[[below]] / 2])
        parents[below], offsets[below] = len(keep), offsets[below] / 2
        place = {old: new for new, old in enumerate(order)} | {-1: -1}
        every = [*result.names, f"{name}Twist"]
        result = Skeleton([every[i] for i in order], [place[parents[i]] for i in order], offsets[order])
    return result


SIDES = (("Left", 1), ("Right", -1))
FINGERS = [
    (
        f"{side}{finger}{joint}",
        f"{side}Hand" if joint == 1 else f"{side}{finger}{joint - 1}",
        (s * (8.0 if joint == 1 else 3), 0, z),
    )
    for side, s in SIDES
    for finger, z in (("A", 3.0), ("B", 1.0), ("C", -1.0), ("D", -3.0))
    for joint in (1, 2, 3)
]
FACE = [
    ("Jaw", "Head", (0, 2, 5)),
    ("EyeA", "Head", (3, 7, 8)),
    ("EyeB", "Head", (-3, 7, 8)),
    ("Top", "Head", (0, 18, 0)),
]
TAIL = [(f"Tail{n}", "Hips" if n == 1 else f"Tail{n - 1}", (0, -2, -15)) for n in (1, 2, 3, 4)]
HAIR = [
    (f"{side}Hair{n}", "Head" if n == 1 else f"{side}Hair{n - 1}", (s * 6.0, -8, -4))
    for side, s in SIDES
    for n in (1, 2, 3)
]
SKIRT = [
    (f"{side}Skirt{n}", "Hips" if n == 1 else f"{side}Skirt{n - 1}", (s * 8.0, -12, 2))
    for side, s in SIDES
    for n in (1, 2)
]
ROOT = Skeleton(
    ["Scene", *MIXAMO.names],
    [-1, *(parent + 1 for parent in MIXAMO.parents)],
    np.concatenate([np.zeros((1, 3)), MIXAMO.offsets]),
)
RIGS = {
    "Mixamo": MIXAMO,
    "CMU": CMU,
    "A-pose": A_POSE,
    "arms down": ARMS_DOWN,
    "z up": SOURCES["z up"],
    "z up, facing +x": SOURCES["z up, facing +x"],
    "SMPL": smpl_skeleton(load_standin(), str),
    "metres": Skeleton(MIXAMO.names, MIXAMO.parents, MIXAMO.offsets / 100),
    "fingers": with_bones(MIXAMO, *FINGERS),
    "face": with_bones(MIXAMO, *FACE),
    "tail, hair and skirt": with_bones(MIXAMO, *TAIL, *HAIR, *SKIRT),
    "all of it": with_bones(MIXAMO, *FINGERS, *FACE, *HAIR, *SKIRT),
    "twist bones": halved(
        MIXAMO, *(f"{side}{part}" for side, _ in SIDES for part in ("UpLeg", "Leg", "Arm", "ForeArm"))
    ),
    "a root above the pelvis": ROOT,
}


def renamed(source: Skeleton, how: str) -> Skeleton:
    count = len(source.names)
    order = np.random.default_rng(3).permutation(count)
    names = {
        "numbers only": [str(number) for number in range(count)],
        "anonymous": [f"joint_{number}" for number in range(count)],
        "nonsense": [f"b{number:03d}_x" for number in order],
        "permuted": [source.names[number] for number in order],
        "prefixed and numbered": [f"Rig01|bip {number:02d}" for number in order],
    }[how]
    return Skeleton(names, source.parents, source.offsets)


@pytest.mark.parametrize("how", ["numbers only", "anonymous", "nonsense", "permuted", "prefixed and numbered"])
@pytest.mark.parametrize("name", RIGS)
def test_names_do_not_matter(tmp_path, name, how):
    source = RIGS[name]
    local, root = random_motion(source, 4, 0.4)
    if "Scene" in source.names:
        root = 0 * root
    truth = read_motion(source.write(tmp_path / "named.bvh", local, root))
    motion = read_motion(renamed(source, how).write(tmp_path / "other.bvh", local, root))
    torch.testing.assert_close(motion.sequence.global_orient, truth.sequence.global_orient, atol=1e-5, rtol=0)
    torch.testing.assert_close(motion.sequence.transl, truth.sequence.transl, atol=1e-5, rtol=0)
    # A hand's one finger may be taken for SMPL's hand, which names of fingers forbid.
    ours, theirs = (one.sequence.body_pose.unflatten(1, (23, 3))[:, :21] for one in (motion, truth))
    off = (ours - theirs).abs().amax((0, 2))
    assert off.max() < 1e-4, {JOINT_NAMES[joint + 1]: round(float(value), 3) for joint, value in enumerate(off)}
    assert any("skeleton's shape" in note for note in motion.notes)
    assert not any("skeleton's shape" in note for note in truth.notes)


@pytest.mark.parametrize("name", RIGS)
def test_left_and_right_are_told_apart_by_the_feet(tmp_path, name):
    """The names' sides are the truth; without them the toes tell."""
    source = RIGS[name]
    motion = read_motion(renamed(source, "anonymous").write(tmp_path / "a.bvh", *still(source)))
    found = dict(motion.joints)
    for side, letter in (("left", "l"), ("right", "r")):
        assert source.names[int(found[f"{side}_shoulder"].split("_")[1])].lower().startswith((side, letter))


OTHER_NAMES = {
    "Rigify": "spine spine.001 spine.002 spine.003 spine.004 spine.006 shoulder.L upper_arm.L forearm.L hand.L thumb.L "
    "palm.L shoulder.R upper_arm.R forearm.R hand.R palm.R thigh.L shin.L foot.L toe.L thigh.R shin.R foot.R toe.R",
    "MakeHuman": "root spine05 spine03 spine01 neck01 head clavicle.L upperarm01.L lowerarm01.L wrist.L finger1-1.L "
    "finger3-1.L clavicle.R upperarm01.R lowerarm01.R wrist.R finger3-1.R upperleg01.L lowerleg01.L foot.L toe1-1.L "
    "upperleg01.R lowerleg01.R foot.R toe1-1.R",
    "SOMA": "Hips Spine1 Spine2 Chest Neck1 Head LeftShoulder LeftArm LeftForeArm LeftHand LeftHandThumb1 "
    "LeftHandMiddle1 RightShoulder RightArm RightForeArm RightHand RightHandMiddle1 LeftLeg LeftShin LeftFoot "
    "LeftToeBase RightLeg RightShin RightFoot RightToeBase",
    "Biped": "Bip01 Bip01_Spine Bip01_Spine1 Bip01_Spine2 Bip01_Neck Bip01_Head Bip01_L_Clavicle Bip01_L_UpperArm "
    "Bip01_L_Forearm Bip01_L_Hand Bip01_L_Finger0 Bip01_L_Finger1 Bip01_R_Clavicle Bip01_R_UpperArm Bip01_R_Forearm "
    "Bip01_R_Hand Bip01_R_Finger1 Bip01_L_Thigh Bip01_L_Calf Bip01_L_Foot Bip01_L_Toe0 Bip01_R_Thigh Bip01_R_Calf "
    "Bip01_R_Foot Bip01_R_Toe0",
    "Japanese": "センター 上半身 上半身2 上半身3 首 頭 左肩 左腕 左ひじ 左手首 左親指 左中指 "
    "右肩 右腕 右ひじ 右手首 右中指 左足 左ひざ "
    "左足首 左つま先 右足 右ひざ 右足首 右つま先",
    "MHR": "root c_spine0 c_spine1 c_spine2 c_neck c_head l_clavicle l_uparm l_lowarm l_wrist l_thumb0 l_middle1 "
    "r_clavicle r_uparm r_lowarm r_wrist r_middle1 l_upleg l_lowleg l_foot l_ball r_upleg r_lowleg r_foot r_ball",
}


@pytest.mark.parametrize("tool", OTHER_NAMES)
def test_names_of_other_tools_give_mixamos_motion(tmp_path, tool):
    local, root = random_motion(MIXAMO, 4, 0.4)
    truth = read_motion(MIXAMO.write(tmp_path / "mixamo.bvh", local, root)).sequence
    source = Skeleton(OTHER_NAMES[tool].split(), MIXAMO.parents, MIXAMO.offsets)
    motion = read_motion(source.write(tmp_path / "other.bvh", local, root)).sequence
    torch.testing.assert_close(motion.global_orient, truth.global_orient, atol=1e-5, rtol=0)
    torch.testing.assert_close(motion.body_pose[:, :63], truth.body_pose[:, :63], atol=1e-4, rtol=0)


def test_a_joint_map_is_written_corrected_and_obeyed(tmp_path):
    source = renamed(MIXAMO, "anonymous")
    local, root = random_motion(MIXAMO, 4, 0.4)
    path = source.write(tmp_path / "a.bvh", local, root)
    motion = read_motion(path)
    (tmp_path / "map.json").write_text(json.dumps(joint_map_of(dict(motion.joints))), "utf8")
    again = read_motion(path, joint_map=read_joint_map(tmp_path / "map.json"))
    assert torch.equal(again.sequence.body_pose, motion.sequence.body_pose)
    assert any("joint map" in note for note in again.notes)
    partial = read_motion(path, joint_map={"head": dict(motion.joints)["neck"]})
    assert dict(partial.joints)["head"] == dict(motion.joints)["neck"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "JSONDecodeError"),
        ("[1]", "a list"),
        ('{"pelvis": 3}', "other values"),
        ('{"tail": "Hips"}', "`tail`"),
        ("[" * 100_000, "RecursionError|JSONDecodeError"),
        (" " * 2_000_000, "1 MB"),
    ],
)
def test_what_is_no_joint_map_is_named(tmp_path, text, message):
    (tmp_path / "map.json").write_text(text)
    with pytest.raises(DataError, match=message):
        read_joint_map(tmp_path / "map.json")


def test_a_map_of_joints_that_are_not_there_is_named(tmp_path):
    path = MIXAMO.write(tmp_path / "a.bvh", *still(MIXAMO))
    with pytest.raises(DataError, match="no joint 'Pelvis', the joint map's pelvis"):
        read_motion(path, joint_map={"pelvis": "Pelvis"})


def test_a_quadruped_or_a_spider_is_no_person(tmp_path):
    rows = [("a", 1, 9), ("b", -1, 9), ("c", 1, 3), ("d", -1, 3), ("e", 1, -3), ("f", -1, -3)]
    legs = [
        (f"{leg}{n}", "Body" if n == 0 else f"{leg}{n - 1}", (s * 5.0, -3, z)) for leg, s, z in rows for n in (0, 1)
    ]
    spider = with_bones(Skeleton(["Body"], [-1], np.zeros((1, 3))), *legs)
    with pytest.raises(DataError, match="no joint for"):
        read_motion(spider.write(tmp_path / "spider.bvh", *still(spider)))
