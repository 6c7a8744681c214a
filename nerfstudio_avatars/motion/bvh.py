"""BVH files: skeleton and motion capture as text, from CMU, Mixamo, Rokoko, Xsens and most other tools."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.motion.bvh_text import Joint, is_bvh, parse
from nerfstudio_avatars.motion.joint_map import JointMap
from nerfstudio_avatars.motion.motion_file import MotionFile
from nerfstudio_avatars.motion.retarget import retarget
from nerfstudio_avatars.motion.skeleton import SkeletonMotion, SkeletonPose, find_joints

__all__ = ["is_bvh", "read_bvh"]


def read_bvh(
    path: str | Path,
    rest_joints: Float[torch.Tensor, "24 3"] | None = None,
    *,
    person: str | int | None = None,
    joint_map: JointMap | None = None,
) -> MotionFile:
    """Reads a person's motion, retargeted to SMPL's joints by their names or by the shape of the skeleton.

    Channels may have any order and number, with positions on any joint. A position replaces the OFFSET of its joint, as
    written by MotionBuilder and Blender, unless adding it preserves the length of the bone better.

    Args:
        path: the file.
        rest_joints: T-pose joints of the body that will move, `body.rest(betas)[1]`, in metres; by default those of
            the stand-in.
        person: number or name of the ROOT to take, if there are several; by default the first that is a person.
        joint_map: the file's names for SMPL's joints, if they are known.

    Raises:
        DataError: the file is not a complete BVH file (the line is named), or its joints are not those of a person.
    """
    path = Path(path)
    text = parse(path)
    roots = [node for node, joint in enumerate(text.joints) if joint.parent < 0]
    owners: list[int] = []
    for node, joint in enumerate(text.joints):
        owners.append(owners[joint.parent] if joint.parent >= 0 else node)
    rotations, positions = _pose(text.joints, text.table)

    def skeleton(root: int) -> SkeletonMotion:
        nodes = [node for node, owner in enumerate(owners) if owner == root]
        place = {node: index for index, node in enumerate(nodes)} | {-1: -1}
        rest = np.zeros((len(nodes), 3))
        for index, node in enumerate(nodes):
            parent = place[text.joints[node].parent]
            rest[index] = text.joints[node].offset + (rest[parent] if parent >= 0 else 0)
        eye = np.broadcast_to(np.eye(3), (len(nodes), 3, 3)).copy()
        return SkeletonMotion(
            names=tuple(text.joints[node].name for node in nodes),
            parents=tuple(place[text.joints[node].parent] for node in nodes),
            rests=(SkeletonPose(torch.from_numpy(eye), torch.from_numpy(rest)),),
            frames=SkeletonPose(torch.from_numpy(rotations[:, nodes]), torch.from_numpy(positions[:, nodes])),
            fps=text.fps,
        )

    names = [text.joints[root].name for root in roots]
    notes = text.notes
    if person is None:
        number = _first_person([skeleton(root) for root in roots], path, joint_map) if len(roots) > 1 else 0
        if len(roots) > 1:
            known = ", ".join(f"{index} ({name})" for index, name in enumerate(names))
            notes = (*notes, f"person {number} of {known} is used; --person chooses another")
    else:
        wanted = [index for index, name in enumerate(names) if str(person) in (str(index), name)]
        if not wanted:
            known = ", ".join(f"{index} ({name})" for index, name in enumerate(names))
            raise DataError(path, f"no person {person}", f"one of {known}", "name one of them")
        number = wanted[0]
    return retarget(skeleton(roots[number]), path, "BVH", notes, rest_joints, joint_map)


def _first_person(skeletons: list[SkeletonMotion], path: Path, joint_map: JointMap | None) -> int:
    """Number of the first skeleton that is a person, or 0 if none is; props have roots too."""
    for number, skeleton in enumerate(skeletons):
        try:
            find_joints(skeleton, path, joint_map)
        except DataError:
            continue
        return number
    return 0


def _pose(
    joints: list[Joint], table: np.ndarray
) -> tuple[Float[np.ndarray, "frames nodes 3 3"], Float[np.ndarray, "frames nodes 3"]]:
    """Global rotations and positions. Channels rotate one after the other, each about the axes rotated so far."""
    rotations = np.empty((len(table), len(joints), 3, 3))
    positions = np.empty((len(table), len(joints), 3))
    for node, joint in enumerate(joints):
        local, moved = np.eye(3), np.tile(joint.offset, (len(table), 1))
        for kind, axis, column in joint.channels:
            if kind == "r":
                local = local @ _about(axis, np.deg2rad(table[:, column]))
            else:
                moved[:, axis] = table[:, column]
        if joint.parent < 0:
            rotations[:, node], positions[:, node] = local, moved
            continue
        given = np.zeros(3)
        given[[axis for kind, axis, _ in joint.channels if kind == "p"]] = 1
        added = joint.offset + moved * given
        length = np.linalg.norm(joint.offset)
        if abs(np.linalg.norm(added, axis=1) - length).mean() < abs(np.linalg.norm(moved, axis=1) - length).mean():
            moved = added
        before = rotations[:, joint.parent]
        rotations[:, node] = before @ local
        positions[:, node] = positions[:, joint.parent] + (before @ moved[..., None])[..., 0]
    return rotations, positions


def _about(axis: int, angles: Float[np.ndarray, " frames"]) -> Float[np.ndarray, "frames 3 3"]:
    """Rotations about x (0), y (1) or z (2), in radians."""
    matrix = np.zeros((len(angles), 3, 3))
    i, j = (axis + 1) % 3, (axis + 2) % 3
    matrix[:, axis, axis] = 1
    matrix[:, i, i] = matrix[:, j, j] = np.cos(angles)
    matrix[:, j, i], matrix[:, i, j] = np.sin(angles), -np.sin(angles)
    return matrix
