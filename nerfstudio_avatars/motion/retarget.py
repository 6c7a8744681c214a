"""Retargets motions of other skeletons to SMPL's 24 joints, by joint names and bone directions.

The change of each joint's global rotation since a reference pose is transferred, so joints that SMPL does not have
(CMU's LHipJoint, a fourth spine joint) are folded into their descendants. Twist is kept.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from nerfstudio_avatars.bodies.body_model import JOINT_NAMES
from nerfstudio_avatars.bodies.body_sequence import BodySequence
from nerfstudio_avatars.bodies.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from nerfstudio_avatars.bodies.standin import load_standin
from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.motion.joint_map import JointMap
from nerfstudio_avatars.motion.motion_file import MotionFile
from nerfstudio_avatars.motion.skeleton import SkeletonMotion, SkeletonPose, find_joints

_FINGER = re.compile(r"thumb|index|middle|mid\d|ring|pinky|little|finger", re.IGNORECASE)
_LIMBS = [(f"{s}_{a}", f"{s}_{b}") for s in ("left", "right") for a, b in (("hip", "knee"), ("knee", "ankle"))]
_LIMBS += [(f"{s}_{a}", f"{s}_{b}") for s in ("left", "right") for a, b in (("shoulder", "elbow"), ("elbow", "wrist"))]

_WIDE = 12.0  # degrees
_OTHER = {"left": "right", "right": "left"}
_SWAP = re.compile("^(left|right)(?=_)")


def retarget(
    source: SkeletonMotion,
    path: str | Path,
    layout: str,
    notes: tuple[str, ...] = (),
    rest_joints: Float[Tensor, "24 3"] | None = None,
    joint_map: JointMap | None = None,
) -> MotionFile:
    """Retargets a motion to SMPL's joints, in metres, y up; forward at rest is +z.

    Thighs, shanks, upper arms and forearms point along those of the source in every frame.

    Args:
        source: the skeleton and its motion.
        path: the path, for errors.
        layout: the `format` of the result.
        notes: notes of the reader.
        rest_joints: joints of the T-pose of the body that will move, in metres; by default those of the stand-in.
        joint_map: the file's names for SMPL's joints, if they are known.

    Raises:
        DataError: the joints or the bones are not those of a person.
    """
    standin = load_standin()
    rest = (standin.rest(torch.zeros(10))[1] if rest_joints is None else rest_joints).detach().cpu().double()
    target = dict(zip(JOINT_NAMES, rest, strict=True))
    _check_numbers(source, path)
    matched = find_joints(source, path, joint_map)
    joints = matched.joints
    if not _leg(source.frames.positions, joints) > 0:
        raise DataError(path, "legs of no length", "offsets between hip, knee and ankle", "export the skeleton again")
    reference = _reference(source, joints, target)
    joints = reference.joints
    turns = _global_turns(source, reference, target)
    stacked = torch.stack([turns[name] for name in JOINT_NAMES], 1)
    angles = matrix_to_axis_angle(torch.cat([stacked[:, :1], stacked[:, standin.parents[1:]].mT @ stacked[:, 1:]], 1))

    length, wanted = _leg(source.frames.positions, joints), _leg(rest, {n: i for i, n in enumerate(JOINT_NAMES)})
    hips = _middle(source.frames.positions, joints, "hip") @ reference.world.T * (wanted / length)
    pelvis = target["pelvis"]
    from_pelvis = (target["left_hip"] + target["right_hip"]) / 2 - pelvis
    sequence = BodySequence(
        betas=torch.zeros(10),
        global_orient=angles[:, 0],
        body_pose=angles[:, 1:].flatten(1),
        transl=hips - stacked[:, 0] @ from_pelvis - pelvis,
        fps=source.fps,
    )
    scale = (
        f"lengths are multiplied by {wanted / length:.4g}: legs of {length:.4g} units become the body's {wanted:.2f} m"
    )
    found = (matched.note,) if matched.note else ()
    notes = (*notes, scale, *found, *reference.notes, *_left_out(source, joints))
    named = tuple((name, source.names[joints[name]]) for name in JOINT_NAMES if name in joints)
    return MotionFile(sequence, layout, "y", notes, "rest pose", named)


def _check_numbers(source: SkeletonMotion, path: str | Path) -> None:
    if not (torch.isfinite(source.frames.positions).all() and torch.isfinite(source.frames.rotations).all()):
        raise DataError(path, "joints at NaN or infinity", "finite numbers", "export the motion again")


def _left_out(source: SkeletonMotion, joints: dict[str, int]) -> list[str]:
    used = set(joints.values())
    fingers = sum(bool(_FINGER.search(name)) for node, name in enumerate(source.names) if node not in used)
    missing = [name.replace("_", " ") for name in JOINT_NAMES if name not in joints and "spine" not in name]
    missing = [name for name in missing if "hand" not in name]
    notes = [f"{fingers} finger joints are dropped: SMPL has none"] if fingers else []
    return notes + ([f"no joint for {', '.join(missing)}: moved with the joint before"] if missing else [])


@dataclass(frozen=True)
class _Reference:
    """The reference pose that rotations are measured from."""

    joints: dict[str, int]
    pose: SkeletonPose
    own: Float[Tensor, "3 3"]
    """Rotation from the axes of the pose to those of SMPL (x left, y up, z forward)."""
    world: Float[Tensor, "3 3"]
    """Rotation from the axes of the frames to those of SMPL."""
    standing: bool
    """Whether it is a rest pose, with straight legs and level feet, instead of a frame of the motion."""
    notes: tuple[str, ...]


def _reference(source: SkeletonMotion, joints: dict[str, int], target: dict[str, Tensor]) -> _Reference:
    standing = [rest for rest in source.rests if _stands(rest.positions, joints)]
    notes = []
    if standing:
        pose = standing[0]
        own = _axes(pose.positions, joints)
        toes = torch.stack([_foot(source, pose, joints, side) for side in ("left", "right")]).sum(0) @ own.T
        if toes[2] < -0.5 * toes.norm():
            joints = {_SWAP.sub(lambda side: _OTHER[side[0]], name): node for name, node in joints.items()}
            own = _axes(pose.positions, joints)
            notes.append("the toes point backwards, so left and right were taken to be swapped in the names")
    frames = source.frames
    trunk = _middle(frames.positions, joints, "shoulder") - _middle(frames.positions, joints, "hip")
    up = _snapped(trunk.median(0).values)
    if standing and standing[-1] is source.rests[-1]:
        world = _axes(standing[-1].positions, joints)
        lean = float(torch.rad2deg((F.normalize(trunk, dim=-1) @ world[1]).clamp(-1, 1).acos()).median())
        if lean > 60:
            notes.append(
                f"the body lies in most frames, {lean:.0f} degrees from upright: give the up axis if it should not"
            )
    else:
        world = _axes(frames.positions[0], joints, up, snap=True)
    if not standing:
        every = torch.stack([_axes(positions, joints, up) for positions in frames.positions])
        likeness = sum(
            (_bone(frames.positions, joints, *bone)[:, None] @ every.mT)[:, 0]
            @ _direction(target[bone[1]] - target[bone[0]])
            for bone in _LIMBS
            if bone[1] in joints
        ) + 2 * (F.normalize(trunk, dim=-1) * up).sum(-1)
        best = int(torch.as_tensor(likeness).argmax())
        pose, own = SkeletonPose(frames.rotations[best], frames.positions[best]), every[best]
        notes.append(f"the rest pose does not stand; measured from frame {best}, the most like a T-pose")
    return _Reference(joints, pose, own, world, bool(standing), tuple(notes))


def _global_turns(source: SkeletonMotion, reference: _Reference, target: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rotation from rest to pose for each SMPL joint, (frames, 3, 3), in the axes of SMPL."""
    joints, pose = reference.joints, reference.pose
    rest = pose.positions @ reference.own.T
    posed = source.frames.positions @ reference.world.T

    def change(node: int) -> Tensor:
        before = reference.own @ pose.rotations[node]
        return reference.world @ source.frames.rotations[:, node] @ before.mT

    turns = {"pelvis": change(joints["pelvis"])}
    chain = [turns["pelvis"], *map(change, _spine(source.parents, joints))]
    for number in (1, 2, 3):
        place = number / 3 * (len(chain) - 1)
        first = min(int(place + 1e-6), len(chain) - 1)
        turns[f"spine{number}"] = _between(chain[first], chain[min(first + 1, len(chain) - 1)], place - first)
    head = change(joints["head"]) if "head" in joints else None
    chest = turns["spine3"]
    turns["neck"] = (
        change(joints["neck"]) if "neck" in joints else chest if head is None else _between(chest, head, 0.5)
    )
    turns["head"] = turns["neck"] if head is None else head
    for side in ("left", "right"):
        turns[f"{side}_collar"] = change(joints[f"{side}_collar"]) if f"{side}_collar" in joints else chest
        align: dict[str, Tensor] = {}
        for limb in (("hip", "knee", "ankle"), ("shoulder", "elbow", "wrist")):
            for begin, end in zip(limb, limb[1:], strict=False):
                a, b = f"{side}_{begin}", f"{side}_{end}"
                if b not in joints:
                    align[begin] = align["shoulder"]
                    turns[a] = change(joints[a]) @ align[begin]
                    continue
                bone = target[b] - target[a]
                align[begin] = _rotation(bone, rest[joints[b]] - rest[joints[a]])
                aligned = change(joints[a]) @ align[begin]
                # Nothing needs to turn, unless roll joints between the two bend, or the offset of the bone moves.
                turns[a] = _rotation(aligned @ bone, posed[:, joints[b]] - posed[:, joints[a]]) @ aligned
        wrist, hand, ankle, foot = (f"{side}_{name}" for name in ("wrist", "hand", "ankle", "foot"))
        # Hands continue the forearm in a straight line.
        turns[wrist] = change(joints[wrist]) @ align["elbow"] if wrist in joints else turns[f"{side}_elbow"]
        turns[hand] = change(joints[hand]) @ align["elbow"] if hand in joints else turns[wrist]
        toes = _foot(source, pose, joints, side) @ reference.own.T
        sole = _sole(target[foot] - target[ankle], toes, align["knee"], reference.standing)
        turns[ankle] = change(joints[ankle]) @ sole
        turns[foot] = change(joints[foot]) @ sole if foot in joints else turns[ankle]
    return turns


def _sole(
    bone: Float[Tensor, "3"], toes: Float[Tensor, "3"], shank: Float[Tensor, "3 3"], standing: bool
) -> Float[Tensor, "3 3"]:
    """The rotation from SMPL's rest foot to that of a reference pose.

    In a rest pose, soles are level and only turn to where the toes point, however high the tool puts the toe joint; but
    with legs spread as wide as in CMU (20 degrees), they are at a right angle to the shank.
    """
    if not standing:
        return _rotation(bone, toes)
    spread = math.degrees(math.asin(min(1.0, abs(float(shank[0, 1])))))
    leg = shank if spread > _WIDE else torch.eye(3, dtype=bone.dtype)
    level = torch.tensor([1.0, 0.0, 1.0], dtype=bone.dtype)
    toes = leg.T @ toes
    heading = _rotation(bone * level, toes * level)
    return leg @ heading if (toes * level).norm() > 0.3 * toes.norm() else leg


def _spine(parents: tuple[int, ...], joints: dict[str, int]) -> list[int]:
    """The nodes above the pelvis up to the one that carries both arms."""
    left, right, below = (ancestors(parents, joints[name]) for name in ("left_shoulder", "right_shoulder", "pelvis"))
    return [node for node in left if node in right and node not in below]


def ancestors(parents: tuple[int, ...], node: int) -> list[int]:
    """The nodes from the root to the node itself."""
    way = []
    while node >= 0:
        way.append(node)
        node = parents[node]
    return way[::-1]


def _foot(source: SkeletonMotion, pose: SkeletonPose, joints: dict[str, int], side: str) -> Float[Tensor, "3"]:
    """Vector from ankle to toes, or to any child of the ankle; zero if there is none."""
    ankle = joints[f"{side}_ankle"]
    children = [node for node, parent in enumerate(source.parents) if parent == ankle]
    tip = joints.get(f"{side}_foot", children[0] if children else ankle)
    return pose.positions[tip] - pose.positions[ankle]


def _stands(positions: Float[Tensor, "nodes 3"], joints: dict[str, int]) -> bool:
    """Whether a pose is comparable with SMPL's rest pose: trunk up, legs straight down, left and right apart."""
    up = _direction(_middle(positions, joints, "shoulder") - _middle(positions, joints, "hip"))
    across = _direction(positions[joints["left_hip"]] - positions[joints["right_hip"]])
    legs = [_bone(positions, joints, *bone) @ up for bone in _LIMBS[:4]]
    return bool(across.norm() > 0.5 and abs(across @ up) < 0.5 and max(legs) < -0.7)


def _axes(
    positions: Float[Tensor, "nodes 3"], joints: dict[str, int], up: Tensor | None = None, snap: bool = False
) -> Float[Tensor, "3 3"]:
    """Left, up and forward of the person as rows. Rest poses (no `up` given) follow the axes of their file."""
    left = positions[joints["left_hip"]] - positions[joints["right_hip"]]
    if up is None:
        up = _snapped(_middle(positions, joints, "shoulder") - _middle(positions, joints, "hip"))
        snap = True
    near = _snapped(left)
    if snap and near @ _direction(left) > 0.9 and abs(near @ up) < 0.5:
        left = near
    left = left - (left @ up) * up
    if not left.norm() > 0:
        left = up.roll(1)
    left = _direction(left)
    return torch.stack([left, up, torch.linalg.cross(left, up)])


def _snapped(vector: Float[Tensor, "3"]) -> Float[Tensor, "3"]:
    """The nearest of the six axes."""
    axis = torch.zeros_like(vector)
    best = vector.abs().argmax()
    axis[best] = torch.where(vector[best] < 0, -1.0, 1.0)
    return axis


def _rotation(start: Float[Tensor, "*batch 3"], end: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """The smallest rotation from one direction to another; the identity if one of them is zero."""
    a, b = torch.broadcast_tensors(_direction(start), _direction(end))
    cross, cosine = torch.linalg.cross(a, b), (a * b).sum(-1, keepdim=True)
    sine = cross.norm(dim=-1, keepdim=True)
    # Opposite directions: any axis at a right angle will do.
    other = torch.zeros_like(a).scatter_(-1, a.abs().argmin(-1, keepdim=True), 1.0)
    axis = torch.where((sine < 1e-12) & (cosine < 0), torch.linalg.cross(a, other), cross)
    return axis_angle_to_matrix(_direction(axis) * torch.atan2(sine, cosine))


def _between(first: Float[Tensor, "*batch 3 3"], last: Float[Tensor, "*batch 3 3"], share: float) -> Tensor:
    """The rotation at a given share of the way from one to another."""
    return first @ axis_angle_to_matrix(share * matrix_to_axis_angle(first.mT @ last))


def _direction(vector: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
    return F.normalize(vector, dim=-1, eps=1e-30)


def _bone(positions: Tensor, joints: dict[str, int], begin: str, end: str) -> Float[Tensor, "*batch 3"]:
    return _direction(positions[..., joints[end], :] - positions[..., joints[begin], :])


def _middle(positions: Tensor, joints: dict[str, int], part: str) -> Float[Tensor, "*batch 3"]:
    return (positions[..., joints[f"left_{part}"], :] + positions[..., joints[f"right_{part}"], :]) / 2


def _leg(positions: Float[Tensor, "*batch nodes 3"], joints: dict[str, int]) -> float:
    """Length of thigh and shank: mean of both legs, median over the frames."""
    ends = [[positions[..., joints[name], :] for name in bone] for bone in _LIMBS[:4]]
    return float(sum((a - b).norm(dim=-1).median() for a, b in ends)) / 2
