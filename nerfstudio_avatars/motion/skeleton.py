"""Moving skeletons of any kind, and which of their nodes are SMPL's joints."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.motion.joint_map import REQUIRED, JointMap
from nerfstudio_avatars.motion.joint_names import kinds_of, match_joints
from nerfstudio_avatars.motion.skeleton_shape import Shape, match_shape

_FIX = (
    "write a joint map (`ns-avatar inspect FILE --write-joint-map map.json`), correct it and give it with "
    "--joint-map; or rename the joints as CMU, Mixamo, VRM or SMPL do"
)
_CHAINS = (("hip", "knee", "ankle", "foot"), ("collar", "shoulder", "elbow", "wrist", "hand"))


@dataclass(frozen=True)
class SkeletonPose:
    """Global rotations and positions of the nodes of a skeleton, float64, in the axes and the unit of the file."""

    rotations: Float[Tensor, "*batch nodes 3 3"]
    positions: Float[Tensor, "*batch nodes 3"]


@dataclass(frozen=True)
class SkeletonMotion:
    """A moving skeleton of any kind."""

    names: tuple[str, ...]
    """Names of the nodes; empty for nodes that cannot be joints of the person."""
    parents: tuple[int, ...]
    """Parent of each node, -1 for roots; parents come before their children."""
    rests: tuple[SkeletonPose, ...]
    """Rest poses to measure from, best first; the last one has the same axes as the frames."""
    frames: SkeletonPose
    fps: float


@dataclass(frozen=True)
class Matched:
    """SMPL's joints among the nodes of a skeleton."""

    joints: dict[str, int]
    note: str = ""
    """A note on how they were found, unless by their names alone."""


def find_joints(source: SkeletonMotion, path: str | Path, joint_map: JointMap | None = None) -> Matched:
    """Finds SMPL's joints by a joint map, by names that fit the tree, or else by the shape of the skeleton.

    Raises:
        DataError: if the joints are not those of a person, or the map names joints that do not exist.
    """
    given = _mapped(source, path, joint_map or {})
    named = match_joints(source.names) | given
    if _complete(named) and (given or _fits_tree(named, source.parents)):
        return Matched(named, "joints were matched by the joint map" if given else "")
    shaped = None if set(REQUIRED) <= given.keys() else _by_shape(source)
    if shaped is not None:
        joints = shaped | _chains(named, shaped, source.parents) | given
        joints = {joint: node for joint, node in joints.items() if joint in given or node not in given.values()}
        if _complete(joints):
            sure = sum(named.get(joint) == node for joint, node in joints.items())
            how = "the skeleton's shape" if sure < len(joints) / 3 else "the skeleton's shape and the joints' names"
            shown = ", ".join(f"{joint} = {source.names[joints[joint]]}" for joint in REQUIRED)
            return Matched(joints, f"joints were matched by {how}: {shown}")
    if "pelvis" not in named and _complete(named | {"pelvis": 0}):
        named["pelvis"] = _meeting(source.parents, named["left_hip"], named["right_hip"])
    if not _complete(named):
        missing = [name for name in REQUIRED if name not in named]
        names = [name for name in source.names if name]
        found = f"no joint for {', '.join(missing)} among {', '.join(names[:40]) or 'none'}"
        raise DataError(path, found, "the joints of a person, by their names or the skeleton's shape", _FIX)
    return Matched(named)


def _mapped(source: SkeletonMotion, path: str | Path, joint_map: JointMap) -> dict[str, int]:
    joints = {}
    for joint, name in joint_map.items():
        if name not in source.names:
            names = ", ".join(known for known in source.names if known)
            raise DataError(path, f"no joint {name!r}, the joint map's {joint}", f"one of {names}", _FIX)
        joints[joint] = source.names.index(name)
    return joints


def _complete(joints: dict[str, int]) -> bool:
    return all(name in joints for name in REQUIRED) and len({joints[name] for name in REQUIRED}) == len(REQUIRED)


def _above(parents: tuple[int, ...], node: int) -> list[int]:
    way = []
    while node >= 0:
        way.append(node)
        node = parents[node]
    return way


def _fits_tree(joints: dict[str, int], parents: tuple[int, ...]) -> bool:
    """Whether knees are below hips in the tree, and so on, and left and right are different limbs."""
    for chain in _CHAINS:
        for side in ("left", "right"):
            nodes = [joints[f"{side}_{part}"] for part in chain if f"{side}_{part}" in joints]
            if any(a not in _above(parents, b) for a, b in zip(nodes, nodes[1:], strict=False)):
                return False
    hips = [_above(parents, joints[f"{side}_hip"]) for side in ("left", "right")]
    return joints["left_hip"] not in hips[1] and joints["right_hip"] not in hips[0]


def _chains(named: dict[str, int], shaped: dict[str, int], parents: tuple[int, ...]) -> dict[str, int]:
    """Pairs of limbs whose names all exist and fit the tree and the shape; neck and head likewise."""
    found: dict[str, int] = {}
    for chain in _CHAINS:
        parts = [part for part in chain if f"left_{part}" in named and f"right_{part}" in named]
        sides = {f"{side}_{part}": named[f"{side}_{part}"] for side in ("left", "right") for part in parts}
        needed = [part for part in chain if part in ("hip", "knee", "ankle", "shoulder", "elbow")]
        whole = all(part in parts for part in needed)
        # Wrong names may fit the tree by chance.
        middle = [f"{side}_{part}" for side in ("left", "right") for part in ("knee", "elbow") if part in chain]
        same = all(sides.get(joint) == shaped[joint] for joint in middle)
        ordered = all(
            named[f"{side}_{a}"] in _above(parents, named[f"{side}_{b}"])
            for side in ("left", "right")
            for a, b in zip(parts, parts[1:], strict=False)
        )
        if whole and same and ordered:
            found |= sides
    ends = {shaped.get("neck"), shaped.get("head")} & {named.get("neck"), named.get("head")}
    if "neck" in named and "head" in named and named["neck"] in _above(parents, named["head"]) and ends:
        found |= {"neck": named["neck"], "head": named["head"]}
    if "pelvis" in named and all(named["pelvis"] in _above(parents, node) for node in found.values()) and found:
        found["pelvis"] = named["pelvis"]
    return found


def _meeting(parents: tuple[int, ...], first: int, second: int) -> int:
    """The lowest node that is above both."""
    above = _above(parents, second)
    return next((node for node in _above(parents, first) if node in above), first)


def _by_shape(source: SkeletonMotion) -> dict[str, int] | None:
    rest = source.rests[0].positions.double().numpy()
    turns = source.frames.rotations
    frames = source.frames.positions.double()
    step = max(1, len(frames) // 50)
    local = [
        turns[::step, node] if parent < 0 else turns[::step, parent].mT @ turns[::step, node]
        for node, parent in enumerate(source.parents)
    ]
    # The cosine of the angle to the first frame.
    turning = [float((one[:1].mT @ one).diagonal(dim1=-2, dim2=-1).sum(-1).min()) < 3 - 1e-5 for one in local]
    shape = Shape(
        [bool(name) for name in source.names],
        source.parents,
        rest,
        frames[::step].numpy(),
        turning,
        kinds_of(source.names),
    )
    if not np.isfinite(shape.positions).all() or not torch.isfinite(frames).all():
        return None
    return match_shape(shape)
