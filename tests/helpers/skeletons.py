"""Skeletons of other tools, their own forward kinematics (numpy, scipy) and what is made of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from nerfstudio_avatars.bodies.body_model import JOINT_NAMES
from nerfstudio_avatars.motion.motion_file import MotionFile

LIMBS = [("hip", "knee"), ("knee", "ankle"), ("shoulder", "elbow"), ("elbow", "wrist")]


@dataclass
class Skeleton:
    names: list[str]
    parents: list[int]
    offsets: np.ndarray

    def global_pose(self, local: Rotation, root: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rotations (frames, joints, 3, 3) and positions (frames, joints, 3) of a motion."""
        turns = local.as_matrix().reshape(len(root), len(self.names), 3, 3)
        places = np.zeros((len(root), len(self.names), 3))
        for joint, parent in enumerate(self.parents):
            if parent < 0:
                places[:, joint] = root
                continue
            places[:, joint] = places[:, parent] + turns[:, parent] @ self.offsets[joint]
            turns[:, joint] = turns[:, parent] @ turns[:, joint]
        return turns, places

    def write(self, path: Path, local: Rotation, root: np.ndarray, order: str = "ZYX", step: float = 1 / 30) -> Path:
        """A BVH, as CMU's converters write it: a root with six channels, the rest with three."""
        channels = " ".join(f"{axis}rotation" for axis in order)

        def block(joint: int, indent: str) -> list[str]:
            kind = "ROOT" if self.parents[joint] < 0 else "JOINT"
            position = "6 Xposition Yposition Zposition" if kind == "ROOT" else "3"
            offset = " ".join(f"{value:.9f}" for value in self.offsets[joint])
            lines = [f"{kind} {self.names[joint]}", "{", f"\tOFFSET {offset}", f"\tCHANNELS {position} {channels}"]
            children = [child for child, parent in enumerate(self.parents) if parent == joint]
            for child in children:
                lines += block(child, indent + "\t")
            lines += [] if children else ["\tEnd Site", "\t{", "\t\tOFFSET 0 0.1 0", "\t}"]
            return [indent + line for line in [*lines, "}"]]

        def depth_first(joint: int) -> list[int]:
            children = [child for child, parent in enumerate(self.parents) if parent == joint]
            return [joint, *(below for child in children for below in depth_first(child))]

        angles = local.as_euler(order, degrees=True).reshape(len(root), len(self.names), 3)[:, depth_first(0)]
        table = np.concatenate([root, angles.reshape(len(root), -1)], 1)
        lines = ["HIERARCHY", *block(0, ""), "MOTION", f"Frames: {len(root)}", f"Frame Time: {step:.7f}"]
        path.write_text("\n".join([*lines, *(" ".join(f"{value:.9f}" for value in row) for row in table)]) + "\n")
        return path


def skeleton(text: str) -> Skeleton:
    """`name < parent x y z`, a line each."""
    names, parents, offsets = [], [], []
    for line in text.strip().splitlines():
        name, _, rest = line.strip().partition(" < ")
        parent, *offset = rest.split()
        parents.append(names.index(parent) if parent != "-" else -1)
        names.append(name)
        offsets.append([float(value) for value in offset])
    return Skeleton(names, parents, np.array(offsets))


# Names, order and offsets (in units of 1 / 0.45 inch) as in CMU's own files.
CMU = skeleton("""
    Hips < - 0 0 0
    LHipJoint < Hips 0 0 0
    LeftUpLeg < LHipJoint 1.85590 -1.73949 0.84976
    LeftLeg < LeftUpLeg 2.36836 -6.50702 0
    LeftFoot < LeftLeg 2.53268 -6.95849 0
    LeftToeBase < LeftFoot 0.15935 -0.43781 1.94506
    RHipJoint < Hips 0 0 0
    RightUpLeg < RHipJoint -1.68297 -1.73949 0.84976
    RightLeg < RightUpLeg -2.44709 -6.72334 0
    RightFoot < RightLeg -2.43843 -6.69953 0
    RightToeBase < RightFoot -0.20854 -0.57295 2.02172
    LowerBack < Hips 0 0 0
    Spine < LowerBack -0.01560 2.23971 -0.03712
    Spine1 < Spine 0.05490 2.19225 -0.19086
    Neck < Spine1 0 0 0
    Neck1 < Neck -0.12403 1.43168 0.27585
    Head < Neck1 0.17855 1.46173 -0.32578
    LeftShoulder < Spine1 0 0 0
    LeftArm < LeftShoulder 3.27650 0.85634 0.05396
    LeftForeArm < LeftArm 4.96755 0 0
    LeftHand < LeftForeArm 3.35751 0 0
    LeftFingerBase < LeftHand 0 0 0
    LeftHandIndex1 < LeftFingerBase 0.79697 0 0
    LThumb < LeftHand 0 0 0
    RightShoulder < Spine1 0 0 0
    RightArm < RightShoulder -3.24434 1.02034 0.34688
    RightForeArm < RightArm -5.21859 0 0
    RightHand < RightForeArm -3.36504 0 0
    RightFingerBase < RightHand 0 0 0
    RightHandIndex1 < RightFingerBase -0.62044 0 0
    RThumb < RightHand 0 0 0
""")

# Mixamo's names and T-pose, an adult's lengths in centimetres.
MIXAMO = skeleton("""
    Hips < - 0 104 0
    Spine < Hips 0 9.9 -1.2
    Spine1 < Spine 0 11.7 0
    Spine2 < Spine1 0 13.5 0
    Neck < Spine2 0 15 0.9
    Head < Neck 0 10.3 3.1
    LeftShoulder < Spine2 6.1 9.1 0.8
    LeftArm < LeftShoulder 12.9 -0.3 -0.6
    LeftForeArm < LeftArm 27.4 0 0
    LeftHand < LeftForeArm 27.6 0 0
    LeftHandThumb1 < LeftHand 3 -2 3
    LeftHandMiddle1 < LeftHand 12.8 0 0
    RightShoulder < Spine2 -6.1 9.1 0.8
    RightArm < RightShoulder -12.9 -0.3 -0.6
    RightForeArm < RightArm -27.4 0 0
    RightHand < RightForeArm -27.6 0 0
    RightHandMiddle1 < RightHand -12.8 0 0
    LeftUpLeg < Hips 9.1 -6.7 -0.6
    LeftLeg < LeftUpLeg 0 -44.4 0.3
    LeftFoot < LeftLeg 0 -44.6 -2.2
    LeftToeBase < LeftFoot 0 -8 14
    RightUpLeg < Hips -9.1 -6.7 -0.6
    RightLeg < RightUpLeg 0 -44.4 0.3
    RightFoot < RightLeg 0 -44.6 -2.2
    RightToeBase < RightFoot 0 -8 14
""")
LIMB_NAMES = {"hip": "UpLeg", "knee": "Leg", "ankle": "Foot", "shoulder": "Arm", "elbow": "ForeArm", "wrist": "Hand"}


def prefixed(source: Skeleton, prefix: str) -> Skeleton:
    return Skeleton([prefix + name for name in source.names], source.parents, source.offsets)


def turned(source: Skeleton, turns: dict[str, Rotation]) -> Skeleton:
    """The same skeleton with another rest pose: subtrees turned, then zeroed."""
    local = Rotation.from_matrix([turns.get(name, Rotation.identity()).as_matrix() for name in source.names])
    turn, _ = source.global_pose(local, np.zeros((1, 3)))
    offsets = source.offsets.copy()
    for joint, parent in enumerate(source.parents):
        if parent >= 0:
            offsets[joint] = turn[0, parent] @ source.offsets[joint]
    return Skeleton(source.names, source.parents, offsets)


def about(axis: str, degrees: float) -> Rotation:
    return Rotation.from_euler(axis, degrees, degrees=True)


def random_motion(source: Skeleton, frames: int = 6, size: float = 0.5) -> tuple[Rotation, np.ndarray]:
    rng = np.random.default_rng(len(source.names))
    turns = size * rng.normal(size=(frames, len(source.names), 3))
    return Rotation.from_rotvec(turns.reshape(-1, 3)), 10 * rng.normal(size=(frames, 3))


def still(source: Skeleton) -> tuple[Rotation, np.ndarray]:
    return Rotation.identity(len(source.names)), source.offsets[:1]


def posed(body, motion: MotionFile) -> dict[str, np.ndarray]:
    joints = np.stack([body.pose(motion.sequence.state(frame)).joints.numpy() for frame in range(len(motion.sequence))])
    return {name: joints[:, joint] for joint, name in enumerate(JOINT_NAMES)}


def cosines(body, motion: MotionFile, source: Skeleton, places: np.ndarray, axes: np.ndarray | None = None) -> dict:
    """Of each limb bone of the posed body with the source's, per frame."""
    ours, result = posed(body, motion), {}
    plain = [name.split(":")[-1] for name in source.names]
    for side in ("left", "right"):
        for a, b in LIMBS:
            begin, end = (plain.index(side.capitalize() + LIMB_NAMES[joint]) for joint in (a, b))
            bone = (places[:, end] - places[:, begin]) @ (np.eye(3) if axes is None else axes).T
            mine = ours[f"{side}_{b}"] - ours[f"{side}_{a}"]
            cosine = (bone * mine).sum(1) / np.linalg.norm(bone, axis=1) / np.linalg.norm(mine, axis=1)
            result[side, a] = cosine
    return result


A_POSE = turned(MIXAMO, {"LeftArm": about("z", -50), "RightArm": about("z", 50)})
ARMS_DOWN = turned(MIXAMO, {"LeftArm": about("z", -90), "RightArm": about("z", 90)})
SOURCES = {
    "CMU": CMU,
    "Mixamo": prefixed(MIXAMO, "mixamorig:"),
    "A-pose": A_POSE,
    "arms down": ARMS_DOWN,
    "z up": turned(Skeleton(MIXAMO.names, MIXAMO.parents, MIXAMO.offsets @ about("x", 90).as_matrix().T), {}),
    "z up, facing +x": Skeleton(MIXAMO.names, MIXAMO.parents, MIXAMO.offsets @ about("xz", [90, 90]).as_matrix().T),
}
AXES = {"z up": about("x", -90).as_matrix(), "z up, facing +x": about("xz", [90, 90]).inv().as_matrix()}

STYLES = {
    "smplx": lambda name: name,
    "SMPL": lambda name: "_".join(
        part.capitalize()[:1] if part in ("left", "right") else part for part in name.split("_")
    ),
    "Maya": lambda name: "m_avg_" + name.replace("left", "L").replace("right", "R").title(),
    "spaces": lambda name: name.replace("_", " ").upper(),
}


def smpl_skeleton(body, style) -> Skeleton:
    rest = body.rest(torch.zeros(10))[1].double().numpy()
    parents = list(body.parents)
    offsets = np.stack([rest[joint] - (rest[parent] if parent >= 0 else 0) for joint, parent in enumerate(parents)])
    return Skeleton([style(name) for name in JOINT_NAMES], parents, offsets)
